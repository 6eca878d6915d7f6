"""The certificate: numbers, bins and criteria of a model's calibration, as one record that is plain JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfhflow.certificate.bins import LEVELS, Bin, cut, local_bins, one_bin
from sfhflow.certificate.criteria import Criterion, all_criteria
from sfhflow.certificate.trial import NAMES, Trial
from sfhflow.certificate.uniformity import CURVE_LEVELS, SampleTest, sample_tests
from sfhflow.diagnostics import (
    bias,
    central_levels,
    coverage,
    coverage_band,
    r2,
    uniformity_p_value,
)

__all__ = ["LEVELS", "Bin", "Certificate", "Quantity", "SampleTest", "certify"]

FORMAT = 1
FAINT_EDGES = (0.0, 0.3, 1.0, 3.0)
_RANK_BINS = 20


@dataclass(frozen=True, eq=False)
class Quantity:
    """All galaxies, one quantity."""

    r2: float
    bias: float
    width: float
    prior_width: float
    information_bits: float
    rank_p_value: float
    width_p_value: float
    rank_histogram: NDArray[np.int64]
    curve: NDArray[np.float64]  # coverage at `Certificate.curve_levels`


@dataclass(frozen=True, eq=False)
class Certificate:
    """Calibration of a model on simulations that it was never trained on.

    Attributes
    ----------
    provenance : dict
        Model, digest of its weights, seed, sizes, versions.
    criteria : list of Criterion
        What is demanded and whether it is met.
    log_prob, log_prob_error : float
        Mean log posterior density of the truth in nats (unbounded coordinates), and its standard error.
    quantities : dict of str to Quantity
        The ten headline quantities.
    curve_levels, curve_low, curve_high : arrays
        Levels of the coverage curves and their 95 % band.
    tests : list of SampleTest
        On a thousand galaxies, and on all.
    levels : tuple of float
        Levels of the coverage in the bins.
    everything : Bin
        All galaxies.
    local : dict of str to list of Bin
        By `snr`, `t50`, `mh` and `masked`.
    faint : list of Bin
        Galaxies of which the data say ever less.
    """

    provenance: dict[str, Any]
    criteria: list[Criterion]
    log_prob: float
    log_prob_error: float
    quantities: dict[str, Quantity]
    curve_levels: tuple[float, ...]
    curve_low: NDArray[np.float64]
    curve_high: NDArray[np.float64]
    tests: list[SampleTest]
    levels: tuple[float, ...]
    everything: Bin
    local: dict[str, list[Bin]]
    faint: list[Bin]

    @property
    def passed(self) -> bool:
        """Whether no criterion failed."""
        return all(criterion.outcome != "fail" for criterion in self.criteria)

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values of five digits, ready for strict JSON; undefined numbers become None."""
        return {"format": FORMAT, "passed": self.passed, **_plain(asdict(self))}


def certify(trials: dict[str, Trial], prior: NDArray[np.float64], provenance: dict[str, Any]) -> Certificate:
    """Judge what `sfhflow.certificate.run_trials` found.

    Parameters
    ----------
    trials : dict of str to Trial
        The sets `main`, `masked` and `faint`.
    prior : array of shape (P, 10)
        Draws from the prior.
    provenance : dict
        What was tested and how, to be told by the certificate.
    """
    main = trials["main"]
    prior_width = np.subtract(*np.quantile(prior, [0.84, 0.16], axis=0))
    low, high = coverage_band(CURVE_LEVELS, len(main.posteriors))
    everything, local, faint = one_bin(main, "all"), local_bins(trials), cut(trials["faint"], "snr", FAINT_EDGES)
    tests = sample_tests(main.posteriors)
    return Certificate(
        provenance=provenance,
        criteria=all_criteria(tests, LEVELS, everything, local, faint[0], prior_width, NAMES),
        log_prob=everything.log_prob,
        log_prob_error=float(main.log_prob.std() / math.sqrt(len(main.log_prob))),
        quantities=_quantities(main, prior_width),
        curve_levels=CURVE_LEVELS,
        curve_low=low,
        curve_high=high,
        tests=tests,
        levels=LEVELS,
        everything=everything,
        local=local,
        faint=faint,
    )


def _quantities(trial: Trial, prior_width: NDArray[np.float64]) -> dict[str, Quantity]:
    posteriors = trial.posteriors
    columns = {
        "r2": r2(posteriors.mean, posteriors.truth),
        "bias": bias(posteriors.mean, posteriors.truth),
        "width": np.median(posteriors.width, axis=0),
        "prior_width": prior_width,
        "information_bits": posteriors.gain.mean(axis=0),
        "rank_p_value": uniformity_p_value(posteriors.rank),
        "width_p_value": uniformity_p_value(central_levels(posteriors.rank)),
    }
    curves = coverage(posteriors.rank, CURVE_LEVELS)
    found = {}
    for i, name in enumerate(NAMES):
        numbers = {key: float(column[i]) for key, column in columns.items()}
        histogram = np.histogram(posteriors.rank[:, i], _RANK_BINS, (0.0, 1.0))[0]
        found[name] = Quantity(**numbers, rank_histogram=histogram, curve=curves[:, i])
    return found


def _plain(value: Any) -> Any:
    """Turn arrays into lists, numbers into those of five digits, and those that are not finite into None."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value
