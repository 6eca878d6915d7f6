"""Galaxies of one kind, and their calibration in a dozen numbers for each quantity.

Coverage is binned by what is observed or inferred (signal-to-noise ratio, masked share, posterior medians), never
by the unknown truth: a posterior that is right is calibrated at every value of anything that is made from the
data alone, but not at every true value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sfhflow.certificate.trial import NAMES, Trial
from sfhflow.diagnostics import coverage, r2

__all__ = ["LEVELS", "Bin", "cut", "local_bins", "one_bin"]

LEVELS = (0.5, 0.68, 0.9, 0.95)
SNR_EDGES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
MASK_EDGES = (0.0, 0.25, 0.5)
T50_EDGES = (0.0, 0.25, 0.5, 0.75, 1.0)
MH_EDGES = (-2.3, -1.5, -1.0, -0.5, 0.0, 0.4)


@dataclass(frozen=True, eq=False)
class Bin:
    """Galaxies of one kind; arrays over levels (L) and quantities (D)."""

    label: str
    n_galaxies: int
    coverage: NDArray[np.float64]  # (L, D)
    width: NDArray[np.float64]  # (D,), median width of the 68 % interval
    width_error: NDArray[np.float64]  # (D,)
    r2: NDArray[np.float64]  # (D,), of the posterior mean
    information_bits: NDArray[np.float64]  # (D,)
    log_prob: float  # nats, mean


def local_bins(trials: dict[str, Trial]) -> dict[str, list[Bin]]:
    """Bins of the main galaxies by S/N, inferred t50 and [M/H], and of the masked ones by masked share."""
    main, masked = trials["main"], trials["masked"]
    return {
        "snr": cut(main, "snr", SNR_EDGES),
        "t50": cut(main, main.posteriors.median[:, NAMES.index("t50")], T50_EDGES, "t50 "),
        "mh": cut(main, main.posteriors.median[:, NAMES.index("mh")], MH_EDGES, "[M/H] "),
        "masked": [
            *cut(masked.rows(~masked.in_gaps), "masked", MASK_EDGES, "masked one by one "),
            *cut(masked.rows(masked.in_gaps), "masked", MASK_EDGES, "masked in gaps "),
        ],
    }


def cut(trial: Trial, by: str | NDArray[np.float64], edges: Sequence[float], prefix: str = "") -> list[Bin]:
    """Cut galaxies into bins [low, high) of an attribute of the trial, or of values of shape (G,)."""
    values = getattr(trial, by) if isinstance(by, str) else by
    bins = []
    for low, high in pairwise(edges):
        bins.append(one_bin(trial.rows((values >= low) & (values < high)), f"{prefix}{low:g} to {high:g}"))
    return bins


def one_bin(trial: Trial, label: str) -> Bin:
    """All galaxies of a trial; undefined numbers if there are fewer than two."""
    posteriors, n = trial.posteriors, len(trial.posteriors)
    if n < 2:
        nothing, none_covered = np.full(len(NAMES), np.nan), np.full((len(LEVELS), len(NAMES)), np.nan)
        return Bin(label, 0, none_covered, nothing, nothing, nothing, nothing, math.nan)
    return Bin(
        label,
        n,
        coverage(posteriors.rank, LEVELS),
        np.median(posteriors.width, axis=0),
        # standard error of a median, sqrt(pi / 2) that of a mean, with a robust scatter
        1.2533 * np.subtract(*np.quantile(posteriors.width, [0.84, 0.16], axis=0)) / (2 * math.sqrt(n)),
        r2(posteriors.mean, posteriors.truth),
        posteriors.gain.mean(axis=0),
        float(trial.log_prob.mean()),
    )
