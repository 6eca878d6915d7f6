"""Everything about the calibration of a set of posteriors, in one record that can be written as JSON.

Each quantity is tested twice, its ranks for a shift and its central levels for a wrong width, and the joint
posterior once with random points; the smallest p-value, corrected for the number of tests, decides.  With
enough galaxies any approximation fails such a test, so the largest coverage error, which does not grow with
their number, is told beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfhflow.diagnostics.information import information_gain
from sfhflow.diagnostics.intervals import coverage, coverage_band
from sfhflow.diagnostics.random_points import ExpectedCoverage, tarp
from sfhflow.diagnostics.samples import DEFAULT_LEVELS, check_levels, check_pair
from sfhflow.diagnostics.sbc import bonferroni, central_levels, ranks, uniformity_p_value
from sfhflow.diagnostics.scores import bias, posterior_mean, r2, sharpness
from sfhflow.errors import InputError

__all__ = ["CalibrationReport", "calibration_report"]

_RANK_BINS = 20
_SIGNIFICANCE = 0.01


@dataclass(frozen=True, eq=False)
class CalibrationReport:
    """Calibration and quality of posteriors of G galaxies with S samples of D quantities.

    Attributes
    ----------
    names : tuple of str
        Names of the D quantities.
    n_galaxies, n_samples : int
        G and S.
    levels : array of shape (L,)
        Nominal levels of the central intervals.
    coverage : array of shape (L, D)
        Share of true values inside.
    coverage_low, coverage_high : arrays of shape (L,)
        95 % band of `coverage` if calibrated, level by level.
    rank_histogram : array of shape (20, D)
        Counts of the fractional ranks in equal bins from 0 to 1.
    rank_p_value, width_p_value : arrays of shape (D,)
        Uniformity of ranks (shift) and of central levels (width).
    tarp : ExpectedCoverage
        Test of the joint posterior with random points.
    r2, bias, sharpness : arrays of shape (D,)
        Of the posterior mean, its mean error, and the median 68 % width, in the unit of each quantity.
    information_gain : array of shape (D,)
        Bits learned over the prior, mean over galaxies.
    """

    names: tuple[str, ...]
    n_galaxies: int
    n_samples: int
    levels: NDArray[np.float64]
    coverage: NDArray[np.float64]
    coverage_low: NDArray[np.float64]
    coverage_high: NDArray[np.float64]
    rank_histogram: NDArray[np.int64]
    rank_p_value: NDArray[np.float64]
    width_p_value: NDArray[np.float64]
    tarp: ExpectedCoverage
    r2: NDArray[np.float64]
    bias: NDArray[np.float64]
    sharpness: NDArray[np.float64]
    information_gain: NDArray[np.float64]

    @property
    def p_value(self) -> float:
        """Smallest p-value of all tests, corrected for their number (Bonferroni)."""
        return bonferroni(np.concatenate([self.rank_p_value, self.width_p_value, [self.tarp.p_value]]))

    @property
    def is_calibrated(self) -> bool:
        """Whether no miscalibration was found at 1 % significance."""
        return self.p_value > _SIGNIFICANCE

    @property
    def coverage_error(self) -> NDArray[np.float64]:
        """Coverage minus level where they differ most, shape (D,): negative if too narrow or biased."""
        difference = self.coverage - self.levels[:, None]
        worst = np.abs(difference).argmax(axis=0)
        return difference[worst, np.arange(len(self.names))]

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for strict JSON: undefined numbers become None."""
        return _plain(
            {
                "n_galaxies": self.n_galaxies,
                "n_samples": self.n_samples,
                "p_value": self.p_value,
                "is_calibrated": self.is_calibrated,
                "levels": self.levels,
                "coverage_low": self.coverage_low,
                "coverage_high": self.coverage_high,
                "quantities": {name: self._quantity(i) for i, name in enumerate(self.names)},
                "tarp": vars(self.tarp),
            }
        )

    def _quantity(self, i: int) -> dict[str, Any]:
        return {
            "r2": self.r2[i],
            "bias": self.bias[i],
            "sharpness": self.sharpness[i],
            "information_gain_bits": self.information_gain[i],
            "rank_p_value": self.rank_p_value[i],
            "width_p_value": self.width_p_value[i],
            "coverage_error": self.coverage_error[i],
            "coverage": self.coverage[:, i],
            "rank_histogram": self.rank_histogram[:, i],
        }


def calibration_report(
    samples: ArrayLike,
    truth: ArrayLike,
    names: Sequence[str],
    *,
    prior_samples: ArrayLike | None = None,
    levels: ArrayLike = DEFAULT_LEVELS,
    n_references: int = 1,
    n_bootstrap: int = 200,
    seed: int = 0,
) -> CalibrationReport:
    """Test the calibration of posterior samples against true values drawn from the prior.

    Parameters
    ----------
    samples : array of shape (G, S, D)
        Posterior samples.
    truth : array of shape (G, D)
        True values, drawn from the prior that the posteriors assume; at least 20 galaxies.
    names : sequence of D str
        Names of the quantities.
    prior_samples : array of shape (P, D), optional
        Draws from the prior for the information gain; the true values serve if absent.
    levels : array of shape (L,)
        Nominal levels, between 0 and 1.
    n_references, n_bootstrap : int
        As in `tarp`.
    seed : int
        Seed of ties, references and bootstrap.

    Raises
    ------
    InputError
        If shapes do not match, values are not finite or there are too few galaxies.
    """
    samples, truth = check_pair(samples, truth)
    levels, names = check_levels(levels), tuple(names)
    if len(names) != truth.shape[1]:
        raise InputError(
            f"names: found {len(names)}, expected {truth.shape[1]}; give one name per quantity of the samples"
        )
    rank, mean = ranks(samples, truth, seed=seed), posterior_mean(samples)
    low, high = coverage_band(levels, len(truth))
    gain = information_gain(samples, truth if prior_samples is None else prior_samples)
    return CalibrationReport(
        names=names,
        n_galaxies=samples.shape[0],
        n_samples=samples.shape[1],
        levels=levels,
        coverage=coverage(rank, levels),
        coverage_low=low,
        coverage_high=high,
        rank_histogram=np.stack([np.histogram(r, _RANK_BINS, (0.0, 1.0))[0] for r in rank.T], axis=1),
        rank_p_value=uniformity_p_value(rank),
        width_p_value=uniformity_p_value(central_levels(rank)),
        tarp=tarp(samples, truth, levels=levels, n_references=n_references, n_bootstrap=n_bootstrap, seed=seed),
        r2=r2(mean, truth),
        bias=bias(mean, truth),
        sharpness=sharpness(samples),
        information_gain=gain.mean(axis=0),
    )


def _plain(value: Any) -> Any:
    """Turn arrays into lists and numbers that are not finite into None, at any depth."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(entry) for entry in np.asarray(value).tolist()]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
