"""The answer for one galaxy: posterior samples with their summary and verdict."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from sfhflow.errors import InputError
from sfhflow.information import PriorQuantiles, gain_in_bits
from sfhflow.light import Light
from sfhflow.notebook import summary_html
from sfhflow.parameters import FRACTIONS
from sfhflow.spectrum import Spectrum
from sfhflow.verdict import Verdict

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["HEADLINE", "QUANTILES", "Posterior", "Refinement", "Refines", "inferred_columns"]

# times that no spectrum says much about, left out of short tables
_ENDS = ("t0", "t95", "t99", "t100")
_TIMES = {f"t{round(100 * f)}": i for i, f in enumerate(FRACTIONS) if 0.0 < f <= 0.9}
_OTHER = {f"t{round(100 * f)}": i for i, f in enumerate(FRACTIONS) if not 0.0 < f <= 0.9}
HEADLINE = (*_TIMES, "mh", "a_v", "sigma")
"""Quantities that a spectrum is fitted for."""
QUANTILES = {"median": 0.5, "p16": 0.16, "p84": 0.84, "p2_5": 0.025, "p97_5": 0.975}


Array = NDArray[np.float64]


def inferred_columns(
    times: Array, metallicity: Array, a_v: Array, sigma_kms: Array
) -> dict[str, tuple[Array, str]]:
    """Samples (...,) and unit of every inferred quantity, by name, for `times` of shape (..., 13)."""
    named = {name: (times[..., i], "Gyr") for name, i in _TIMES.items()}
    named["mh"] = (metallicity, "dex")
    named |= {name: (times[..., i], "Gyr") for name, i in _OTHER.items()}
    named["a_v"] = (a_v, "mag")
    named["sigma"] = (sigma_kms, "km/s")
    return named


@dataclass(frozen=True)
class Refinement:
    """How samples were corrected with the true likelihood.

    Attributes
    ----------
    method : str
        "importance sampling" or "nested sampling".
    effective : float
        Effective sample size.
    efficiency : float
        Effective sample size over evaluations of the likelihood.
    amortized_efficiency : float
        The same for the model's own samples: near one where it was right already.
    pareto_k : float
        Shape of the tail of the weights: their sums can be trusted below 0.7 (Vehtari et al. 2024).
    log_evidence, log_evidence_error : float
        Natural logarithm of the probability density of the spectrum, and its standard error.
    n_evaluations : int
        Evaluations of the likelihood.
    """

    method: str
    effective: float
    efficiency: float
    amortized_efficiency: float
    pareto_k: float
    log_evidence: float
    log_evidence_error: float
    n_evaluations: int


class Refines(Protocol):
    """What corrects a posterior with the true likelihood: see `sfhflow.refiner`."""

    def refine(self, posterior: Posterior, *, n_samples: int | None = None) -> Posterior:
        """Corrected posterior."""


@dataclass(frozen=True)
class Posterior:
    """Posterior samples of one galaxy.

    Attributes
    ----------
    times : array of shape (n, 13)
        Cosmic times (Gyr) at which the mass fractions `FRACTIONS` (0 ... 100 %) had formed.
    metallicity : array of shape (n,)
        [M/H] in dex.
    a_v : array of shape (n,)
        Attenuation at 5500 Angstrom in mag.
    sigma_kms : array of shape (n,)
        Stellar velocity dispersion in km/s.
    age_of_universe : float
        Gyr, at the galaxy's redshift.
    spectrum : Spectrum
        What was fitted.
    verdict : Verdict
        Whether the answer can be trusted.
    seed : int
        Seed of the samples.
    model : str
        Name of the model.
    lines_masked : bool
        The windows of the emission lines were left out of the fit.
    light : Light, optional
        Light of the stellar populations of the model, from which `sfhflow.derived` has mass-to-light ratios.
    prior_quantiles : PriorQuantiles
        What was believed before, for `information`; empty if that is not known.
    refinement : Refinement, optional
        How the samples were corrected with the true likelihood, if they were.
    """

    times: NDArray[np.float64]
    metallicity: NDArray[np.float64]
    a_v: NDArray[np.float64]
    sigma_kms: NDArray[np.float64]
    age_of_universe: float
    spectrum: Spectrum
    verdict: Verdict
    seed: int
    model: str
    lines_masked: bool = True
    light: Light | None = None
    prior_quantiles: PriorQuantiles = field(default_factory=dict)
    refinement: Refinement | None = None

    def __len__(self) -> int:
        return len(self.metallicity)

    @property
    def formation_times(self) -> NDArray[np.float64]:
        """Cosmic time in Gyr when 10, 20 ... 90 % of the stellar mass had formed, shape (n, 9)."""
        return self.times[:, [FRACTIONS.index(f) for f in FRACTIONS if 0.0 < f <= 0.9]]

    def given_sigma(self, sigma_kms: float, *, error: float = 0.05, n_samples: int = 1000) -> Posterior:
        """Posterior given an independent measurement of the velocity dispersion.

        The samples are resampled with weights N(ln sigma; ln sigma_kms, error), the likelihood of the
        measurement.  If less than 1 % of the samples are effective, spectrum and measurement disagree: the
        verdict then names `sigma_conflict`.  Use many more samples than are wanted in the end.

        Parameters
        ----------
        sigma_kms : float
            Measured dispersion in km/s.
        error : float
            Its relative standard error.
        n_samples : int
            Samples to draw.
        """
        if not 0 < sigma_kms < np.inf:
            raise InputError(f"sigma is {sigma_kms}, expected a positive velocity dispersion in km/s; correct it")
        log_weight = -0.5 * (np.log(self.sigma_kms / sigma_kms) / error) ** 2
        weight = np.exp(log_weight - log_weight.max())
        weight /= weight.sum()
        effective = 1 / np.sum(weight**2)
        keep = np.random.default_rng(self.seed).choice(len(weight), n_samples, p=weight)
        verdict = self.verdict.with_score("sigma_conflict", 0.01 * len(weight) / effective)
        arrays = {name: getattr(self, name)[keep] for name in ("times", "metallicity", "a_v", "sigma_kms")}
        return replace(self, **arrays, verdict=verdict)

    def refine(self, refiner: Refines, *, n_samples: int | None = None) -> Posterior:
        """Correct the samples with the true likelihood.

        Parameters
        ----------
        refiner : Refines
            Prior and likelihood: ``sfhflow.refiner(model)``.  It is given, since inference needs neither the
            SSP library nor the simulator that it is made of.
        n_samples : int, optional
            Samples of the result; by default as many as there are.

        Returns
        -------
        Posterior
            With `refinement`: effective sample size, efficiency and evidence.
        """
        return refiner.refine(self, n_samples=n_samples)

    def columns(self) -> dict[str, tuple[NDArray[np.float64], str]]:
        """Samples (n,) and unit of every inferred quantity, by name."""
        return inferred_columns(self.times, self.metallicity, self.a_v, self.sigma_kms)

    def summary(self) -> QTable:
        """Median and 68 and 95 % intervals of every quantity, one row each."""
        from astropy.table import QTable  # training needs this module but not astropy

        rows = [{"name": name, **row} for name, row in self.intervals().items()]
        return QTable(rows=rows, names=["name", *QUANTILES, "unit"])

    def intervals(self) -> dict[str, dict[str, float | str]]:
        """`summary` as plain numbers: name -> median, p16, p84, p2_5, p97_5, unit."""
        result: dict[str, dict[str, float | str]] = {}
        for name, (samples, unit) in self.columns().items():
            values = np.quantile(samples, list(QUANTILES.values()))
            result[name] = {**dict(zip(QUANTILES, map(float, values), strict=True)), "unit": unit}
        return result

    def information(self) -> dict[str, float]:
        """Bits that the spectrum added to the prior, by name of each quantity; empty if the prior is not known.

        Values of posteriors like the prior scatter about zero.
        """
        columns = self.columns()
        names = [name for name in self.prior_quantiles if name in columns]
        if not names or len(self) < 2:
            return {}
        samples = [
            columns[name][0] / (self.age_of_universe if columns[name][1] == "Gyr" else 1.0) for name in names
        ]
        bits = gain_in_bits(np.array(samples), np.array([self.prior_quantiles[name] for name in names]))
        return dict(zip(names, map(float, bits), strict=True))

    def _repr_html_(self) -> str:
        """Verdict, table and history, for notebooks."""
        title = (
            f"{self.spectrum.name}: z = {self.spectrum.redshift:.4f}, {len(self)} samples of model {self.model}"
        )
        shown = {name: values for name, values in self.intervals().items() if name not in _ENDS}
        verdict = (self.verdict.ok, self.verdict.text)
        return summary_html(title, verdict, shown, self.times, self.age_of_universe)
