"""Proof of calibration from samples and true values alone.

Nothing here knows a model: posterior samples of shape (galaxies, samples, quantities) and the true values of
shape (galaxies, quantities) are all it sees, so the same code judges a network, another package's posterior
and an analytic one.
"""

from sfhflow.diagnostics.information import information_gain
from sfhflow.diagnostics.intervals import (
    LocalCoverage,
    coverage,
    coverage_band,
    coverage_error,
    local_coverage,
)
from sfhflow.diagnostics.random_points import ExpectedCoverage, expected_coverage, region_masses, tarp
from sfhflow.diagnostics.reduction import Reduction, join, reduce_samples
from sfhflow.diagnostics.report import CalibrationReport, calibration_report
from sfhflow.diagnostics.sbc import bonferroni, central_levels, ranks, uniformity_p_value
from sfhflow.diagnostics.scores import bias, posterior_mean, r2, sharpness

__all__ = [
    "CalibrationReport",
    "ExpectedCoverage",
    "LocalCoverage",
    "Reduction",
    "bias",
    "bonferroni",
    "calibration_report",
    "central_levels",
    "coverage",
    "coverage_band",
    "coverage_error",
    "expected_coverage",
    "information_gain",
    "join",
    "local_coverage",
    "posterior_mean",
    "r2",
    "ranks",
    "reduce_samples",
    "region_masses",
    "sharpness",
    "tarp",
    "uniformity_p_value",
]
