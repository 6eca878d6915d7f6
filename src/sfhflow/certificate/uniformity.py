"""Tests that ask whether ranks and region masses are uniform: the more galaxies, the smaller the faults they find.

With enough galaxies they find a fault in any approximation, so they are made with a thousand galaxies, as is
usual in the literature, and with all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sfhflow.diagnostics import (
    ExpectedCoverage,
    Reduction,
    bonferroni,
    central_levels,
    expected_coverage,
    uniformity_p_value,
)

__all__ = ["CURVE_LEVELS", "SampleTest", "sample_tests"]

CURVE_LEVELS = tuple(float(level) for level in np.arange(1, 20) / 20)
CUSTOMARY = 1000
_BOOTSTRAPS = 500


@dataclass(frozen=True, eq=False)
class SampleTest:
    """Tests whose power grows with the number of galaxies, on the first `n_galaxies` of them."""

    n_galaxies: int
    sbc_p_value: float  # ranks of all quantities, Bonferroni
    width_p_value: float  # central levels of all quantities, Bonferroni
    tarp: ExpectedCoverage


def sample_tests(posteriors: Reduction) -> list[SampleTest]:
    """Test the first thousand galaxies, and all."""
    counts = [CUSTOMARY, len(posteriors)] if len(posteriors) > 2 * CUSTOMARY else [len(posteriors)]
    return [_test(posteriors.rows(slice(n))) for n in counts]


def _test(posteriors: Reduction) -> SampleTest:
    rank = posteriors.rank
    return SampleTest(
        len(rank),
        bonferroni(uniformity_p_value(rank)),
        bonferroni(uniformity_p_value(central_levels(rank))),
        expected_coverage(posteriors.region[:, None], levels=CURVE_LEVELS, n_bootstrap=_BOOTSTRAPS),
    )
