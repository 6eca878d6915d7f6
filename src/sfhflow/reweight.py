r"""Another prior without another training: weights for the samples of a posterior.

A posterior under a new prior of one quantity :math:`q` follows from samples under the old one with the weights

.. math:: w_i \propto \frac{p_{\mathrm{new}}(q_i)}{p_{\mathrm{old}}(q_i)}, \qquad
          n_{\mathrm{eff}} = \frac{(\sum_i w_i)^2}{\sum_i w_i^2} ,

since everything else that the prior says, and the likelihood, cancels.  The old density of :math:`q` at the
redshift of the galaxy is measured from draws, by a histogram whose bins are merged where draws are few.  If few
samples are effective, the new prior lives where the old one, or the spectrum, has put next to nothing: then the
answer is refused, and a model has to be trained with that prior.

Source: importance sampling, e.g. Robert & Casella 2004, "Monte Carlo Statistical Methods", section 3.3;
Kong, Liu & Wong 1994, JASA 89, 278 (the effective number).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sfhflow.errors import InputError
from sfhflow.posterior import Posterior
from sfhflow.prior import Prior
from sfhflow.prior_samples import prior_samples

__all__ = ["NewPrior", "Reweighted", "flat", "gaussian", "reweighted"]

_DRAWS = 20_000
_BINS = 80
_LEAST_DRAWS = 40
# fewer effective samples than this say nothing about quantiles
_LEAST_EFFECTIVE = 50
_ARRAYS = ("times", "metallicity", "a_v", "sigma_kms")


@dataclass(frozen=True)
class NewPrior:
    """A prior of one quantity that takes the place of the one the model was trained with.

    Parameters
    ----------
    name : str
        Quantity: a column of `Posterior.columns`, such as t50, mh or a_v.
    shape : {"flat", "gaussian"}
        Kind of density.
    first, second : float
        Lower and upper end of a flat prior, mean and standard deviation of a Gaussian, in the unit of the
        quantity; times are cosmic times in Gyr.

    Raises
    ------
    InputError
        If the numbers make no sense.
    """

    name: str
    shape: Literal["flat", "gaussian"]
    first: float
    second: float

    def __post_init__(self) -> None:
        numbers = np.isfinite(self.first) and np.isfinite(self.second)
        if self.shape not in ("flat", "gaussian"):
            raise InputError(f"prior of {self.name} is {self.shape!r}, expected flat or gaussian; choose one")
        if self.shape == "flat" and not (numbers and self.first < self.second):
            raise InputError(
                f"flat prior of {self.name} runs from {self.first:g} to {self.second:g}, expected two rising "
                "numbers; correct them"
            )
        if self.shape == "gaussian" and not (numbers and self.second > 0):
            raise InputError(
                f"Gaussian prior of {self.name} has a mean of {self.first:g} and a width of {self.second:g}, "
                "expected numbers, the width positive; correct them"
            )

    def __str__(self) -> str:
        if self.shape == "flat":
            return f"{self.name} flat from {self.first:g} to {self.second:g}"
        return f"{self.name} Gaussian, {self.first:g} ± {self.second:g}"

    def density(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Density at values (n,), up to a constant."""
        if self.shape == "flat":
            return ((values >= self.first) & (values <= self.second)).astype(float)
        return np.exp(-0.5 * ((values - self.first) / self.second) ** 2)


class Reweighted(NamedTuple):
    """A posterior under another prior.

    Attributes
    ----------
    posterior : Posterior
        Samples of equal weight; the metadata of its spectrum say under which prior.
    effective : float
        Effective number of samples behind them.
    drawn : int
        Number of samples that were weighted.
    """

    posterior: Posterior
    effective: float
    drawn: int


def flat(name: str, low: float, high: float) -> NewPrior:
    """Return a prior that is constant between two values and zero elsewhere."""
    return NewPrior(name, "flat", low, high)


def gaussian(name: str, mean: float, width: float) -> NewPrior:
    """Return a normal prior."""
    return NewPrior(name, "gaussian", mean, width)


def reweighted(
    posterior: Posterior, new: NewPrior, old: Prior, *, n_samples: int = 1000, seed: int = 0
) -> Reweighted:
    """Put another prior of one quantity in the place of the old one.

    Parameters
    ----------
    posterior : Posterior
        Samples under the old prior; take ten times as many as are wanted in the end.
    new : NewPrior
        The prior to have.
    old : Prior
        The prior that the model was trained with, `sfhflow.prior_samples.prior_of` the model.
    n_samples, seed : int
        Number of samples to draw from the weighted ones, with repetition, and the seed of the draws.

    Raises
    ------
    InputError
        If there is no such quantity, or fewer than 50 samples are effective.
    """
    values = _column(posterior, new.name)
    drawn = _column(prior_samples(posterior, old, n_samples=_DRAWS, seed=seed), new.name)
    weight = new.density(values) / _density(drawn, values)
    total = weight.sum()
    effective = float(total**2 / np.sum(weight**2)) if total > 0 else 0.0
    if effective < _LEAST_EFFECTIVE:
        raise InputError(
            f"the prior {new} leaves {effective:.0f} effective samples of {len(weight)}, expected at least "
            f"{_LEAST_EFFECTIVE}; the spectrum or the trained prior says otherwise: widen it, take more samples, "
            "or train a model with it"
        )
    rows = np.random.default_rng(seed).choice(len(weight), n_samples, p=weight / total)
    note = f"{new}, by re-weighting: {effective:.0f} of {len(weight)} samples effective"
    spectrum = replace(posterior.spectrum, meta={**posterior.spectrum.meta, "prior": note})
    arrays = {name: getattr(posterior, name)[rows] for name in _ARRAYS}
    return Reweighted(replace(posterior, spectrum=spectrum, **arrays), effective, len(weight))


def _column(posterior: Posterior, name: str) -> NDArray[np.float64]:
    columns = posterior.columns()
    if name not in columns:
        raise InputError(f"quantity {name!r} is unknown, expected one of {', '.join(columns)}; choose one of them")
    return columns[name][0]


def _density(draws: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Density of the draws at values; beyond the draws that of the outermost bin."""
    edges = np.linspace(draws.min(), draws.max(), _BINS + 1)
    # a bin ends where its draws are enough: the number of draws below each edge rises by as many
    below = np.searchsorted(np.sort(draws), edges[:-1])
    kept = [0]
    for i in range(1, _BINS):
        if below[i] - below[kept[-1]] >= _LEAST_DRAWS and len(draws) - below[i] >= _LEAST_DRAWS:
            kept.append(i)
    edges = np.append(edges[kept], edges[-1])
    heights = np.histogram(draws, edges)[0] / (np.diff(edges) * len(draws))
    return heights[np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(heights) - 1)]
