"""What is measured of an answer on test spectra: R2 of posterior medians, coverage, ranks, random points.

All numbers come from `sfhflow.diagnostics`, which sees only samples and truth; the figures are those of
`sfhflow.plots`.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.thesis.answer import Answer
from benchmarks.thesis.dataset import NAMES, Dataset
from sfhflow import plots
from sfhflow.diagnostics import (
    ExpectedCoverage,
    Reduction,
    bonferroni,
    coverage,
    expected_coverage,
    join,
    r2,
    reduce_samples,
    uniformity_p_value,
)
from sfhflow.plots.style import COLUMN_INCHES, new_figure

__all__ = [
    "CURVE",
    "FEW",
    "LEVELS",
    "Measured",
    "calibration_figure",
    "losses_figure",
    "measure",
    "r2_row",
    "scatter_figure",
    "thesis_numbers",
]

LEVELS = (0.5, 0.68, 0.9, 0.95)
"""Credible levels of which the coverage is asked."""
CURVE = tuple(np.linspace(0.05, 0.95, 19).round(2).tolist())
"""Those of the figures."""
FEW = 1000
"""Spectra for which ranks and random points are also judged alone, as is usual."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Posteriors of test spectra, reduced."""

    posteriors: Reduction

    def summary(self) -> dict[str, Any]:
        """R2 by quantity, pooled coverage, p-value of the ranks and the test with random points."""
        found = self.posteriors
        pooled = coverage(found.rank, LEVELS).mean(1)
        points, few = _points(found), found.rows(slice(0, FEW))
        few_points = _points(few)
        curve = coverage(found.rank, CURVE)
        return {
            "n": len(found),
            "r2": r2_row(found.median, found.truth),
            "coverage": dict(zip((f"{level:g}" for level in LEVELS), pooled.round(4).tolist(), strict=True)),
            "sbc_p": bonferroni(uniformity_p_value(found.rank)),
            "few": {
                "n": len(few),
                "sbc_p": bonferroni(uniformity_p_value(few.rank)),
                "tarp_largest": _largest(few_points),
                "tarp_half_width": few_points.half_width,
            },
            "sbc_p_by_quantity": dict(zip(NAMES, uniformity_p_value(found.rank).tolist(), strict=True)),
            "curve": {name: curve[:, i].round(4).tolist() for i, name in enumerate(NAMES)},
            "rank_counts": {
                name: np.histogram(found.rank[:, i], 20, (0.0, 1.0))[0].tolist() for i, name in enumerate(NAMES)
            },
            "tarp": {
                "coverage": points.coverage.round(4).tolist(),
                "half_width": points.half_width,
                "largest": _largest(points),
                "p": points.p_value,
            },
        }


def _points(found: Reduction) -> ExpectedCoverage:
    return expected_coverage(found.region[:, None], levels=CURVE, n_bootstrap=200)


def _largest(points: ExpectedCoverage) -> float:
    return float(np.abs(points.coverage - points.levels).max())


def r2_row(prediction: NDArray, truth: NDArray) -> dict[str, float]:
    """R2 by quantity."""
    return dict(zip(NAMES, r2(prediction, truth).round(5).tolist(), strict=True))


def measure(
    answer: Answer, data: Dataset, rows: slice, *, n_samples: int, seed: int, noise_seed: int = 1_000_003
) -> Measured:
    """Posteriors of the galaxies `rows` of a data set, with the noise that the answer was trained for."""
    generator = torch.Generator().manual_seed(seed + noise_seed)
    features = answer.features(answer.noisy(data.coefficients[rows], generator))
    truth = data.truth[rows].numpy()
    prior = data.truth[data.train][:10_000].numpy()
    parts, start = [], 0
    for samples in answer.sample(features, n_samples, seed=seed):
        stop = start + len(samples)
        parts.append(reduce_samples(samples.numpy(), truth[start:stop], prior_samples=prior, seed=seed + start))
        start = stop
    return Measured(join(parts))


def thesis_numbers(data: Path) -> dict[str, dict[str, float]]:
    """R2 that the thesis states, by setup and quantity; empty where its numbers are not at hand."""
    path = data / "thesis" / "results.csv"
    found: dict[str, dict[str, float]] = {}
    if path.exists():
        with path.open() as file:
            for row in csv.DictReader(file):
                if row["quantity"].startswith("R2_") and row["setup"] != "published paper":
                    found.setdefault(row["setup"], {})[row["quantity"].removeprefix("R2_")] = float(row["value"])
    return found


def scatter_figure(found: Measured, names: Sequence[str] = ("t10", "t50", "t90", "mh")) -> Figure:
    """Posterior medians against the truth (thesis figure 13), of 5000 galaxies at most."""
    figure = new_figure(2 * COLUMN_INCHES, 1.95 * COLUMN_INCHES)
    few = found.posteriors.rows(slice(0, 5000))
    for ax, name in zip(figure.subplots(2, 2).flat, names, strict=True):
        i = NAMES.index(name)
        plots.predicted_true(few.median[:, i], few.truth[:, i], name=name, ax=ax)
    return figure


def losses_figure(history: Sequence[Mapping[str, float]]) -> Figure:
    """Losses of both parts of a training (thesis figure 8)."""
    figure = new_figure(2 * COLUMN_INCHES, 2.4)
    labels = "log-cosh loss of standardised quantities", "negative log-probability [nats]"
    for part, ax in enumerate(figure.subplots(1, 2)):
        rows = [row for row in history if row["part"] == part]
        if rows:
            curves = {name: [row[name] for row in rows] for name in ("training", "validation")}
            epochs = range(1, len(rows) + 1)
            plots.learning_curves(list(epochs), curves, ylabel=labels[part], ax=ax)
    return figure


def calibration_figure(summary: Mapping[str, Any]) -> Figure:
    """Coverage of every quantity, and of random points, from a summary (thesis figure 15)."""
    figure = new_figure(2 * COLUMN_INCHES, COLUMN_INCHES)
    left, right = figure.subplots(1, 2)
    plots.coverage(CURVE, summary["curve"], n_galaxies=summary["n"], ax=left)
    plots.random_points(CURVE, summary["tarp"]["coverage"], half_width=summary["tarp"]["half_width"], ax=right)
    return figure
