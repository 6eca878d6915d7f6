"""Mixtures of families of star formation histories, and formation times as their common currency.

Families put their histories on different bins; what they share are the cosmic times at which fixed fractions
of the mass had formed.  `sample_times` draws from any family or mixture and returns those, inside the age of
the Universe and strictly rising: the F + 1 gaps g of [0, t_1, ..., t_F, age], as fractions of the age, become

    g -> (1 - (F + 1) eps) g + eps,    eps = 1e-4,

which moves no time by more than 0.14 % of the age and keeps 1.4 Myr between neighbours today, below what any
spectrum can resolve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sfhflow.errors import InputError
from sfhflow.sfh.events import HistoryFamily, WithBurst, WithQuench
from sfhflow.sfh.gp import GaussianProcessSFH
from sfhflow.sfh.history import effective_formation_times
from sfhflow.sfh.parametric import DelayedTau, DoublePowerLaw, LogNormal, TopHat
from sfhflow.sfh.quantile import QuantileSFH

__all__ = ["MIN_GAP", "MixtureSFH", "SFHFamily", "default_mixture", "sample_times", "thesis_family"]

MIN_GAP = 1e-4
"""Smallest gap between formation times, as a fraction of the age of the Universe."""


@dataclass(frozen=True)
class MixtureSFH:
    """A weighted mixture of families.

    Parameters
    ----------
    components : tuple of (float, HistoryFamily)
        Relative weight and family; weights need not sum to 1.

    Raises
    ------
    InputError
        If there is no component or a weight is negative, or all are zero.
    """

    components: tuple[tuple[float, HistoryFamily], ...]

    def __post_init__(self) -> None:
        weights = [weight for weight, _ in self.components]
        if not weights or min(weights) < 0 or sum(weights) <= 0:
            raise InputError(
                f"mixture weights are {weights}, expected non-negative numbers, not all zero; correct them"
            )


SFHFamily = HistoryFamily | MixtureSFH


def sample_times(
    family: SFHFamily,
    age_of_universe: Tensor,
    fractions: Tensor | Sequence[float],
    generator: torch.Generator | None,
) -> Tensor:
    """Draw star formation histories and return their formation times.

    Parameters
    ----------
    family : HistoryFamily or MixtureSFH
        What to draw from; of a mixture, each galaxy has its own component.
    age_of_universe : Tensor of shape (N,)
        Gyr.
    fractions : array of shape (F,)
        Rising mass fractions in [0, 1], at least three; see `effective_formation_times` for 0 and 1.
    generator : torch.Generator
        Source of randomness, on the device of `age_of_universe`.

    Returns
    -------
    Tensor of shape (N, F)
        Cosmic time in Gyr, strictly rising within (0, age of the Universe), neighbours and ends at least
        `MIN_GAP` of the age apart.
    """
    if not isinstance(family, MixtureSFH):
        history = family.sample(age_of_universe, generator)
        return _spread(effective_formation_times(history, fractions), age_of_universe)
    weights = torch.tensor([weight for weight, _ in family.components], device=age_of_universe.device)
    chosen = torch.multinomial(weights, len(age_of_universe), replacement=True, generator=generator)
    times = age_of_universe.new_empty(len(age_of_universe), len(fractions))
    for number, (_, component) in enumerate(family.components):
        rows = (chosen == number).nonzero()[:, 0]
        if len(rows) > 0:
            times[rows] = sample_times(component, age_of_universe[rows], fractions, generator)
    return times


def default_mixture() -> MixtureSFH:
    """Return the mixture that covers real galaxies and star clusters.

    Broad, smooth families carry most of the weight; the others fill the corners where those seldom reach:
    dead since early times, recently quenched, bursting.  The weights were set by looking at what comes out:
    the density of the median formation time, as a fraction of the age of the Universe, is uniform within a
    factor of two, and four in ten galaxies formed less than 1e-4 of their mass in the last 100 Myr.
    """
    old = DelayedTau(start=(0.0, 0.25), tau=(0.005, 0.08))
    forming = DelayedTau(start=(0.0, 0.7), tau=(0.1, 3.0))
    return MixtureSFH(
        (
            (0.06, old),
            (0.08, DelayedTau()),
            (0.19, forming),
            (0.16, LogNormal()),
            (0.14, DoublePowerLaw()),
            (0.08, WithQuench(forming, lookback_gyr=(0.03, 5.0))),
            (0.09, WithBurst(DelayedTau(), (0.03, 2.0), (0.01, 0.3), (0.01, 0.6), (0.01, 0.2))),
            (0.03, WithBurst(old, (0.005, 1.0), (0.01, 0.5), (0.001, 0.1))),
            (0.06, TopHat()),
            (0.06, GaussianProcessSFH(n_times=250, log_mass_range=(10.0, 10.0), log_sfr_range=(-4.0, 2.0))),
            (0.05, QuantileSFH(alpha=0.3)),
        )
    )


def thesis_family() -> GaussianProcessSFH:
    """Return the family of the thesis (Iglesias-Navarro et al. 2024), where most galaxies are dead."""
    return GaussianProcessSFH()


def _spread(times: Tensor, age_of_universe: Tensor) -> Tensor:
    """Mix the gaps between times with a minimum gap; see the module's docstring."""
    n_gaps = times.shape[-1] + 1
    floor = MIN_GAP * torch.arange(1, n_gaps, dtype=times.dtype, device=times.device)
    return (1 - n_gaps * MIN_GAP) * times + floor * age_of_universe[:, None]
