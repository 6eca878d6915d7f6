"""Calibration: regions of a stated credibility should hold the truth that often."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from sfhflow.plots.quantities import LABELS
from sfhflow.plots.style import (
    BLACK,
    BLUE,
    COLUMN_INCHES,
    GREY,
    axes_or_new,
    finish,
    legend,
    line_style,
)

__all__ = ["coverage", "random_points", "rank_histogram", "ranks"]


def coverage(
    levels: ArrayLike,
    curves: Mapping[str, ArrayLike],
    *,
    n_galaxies: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how often credible regions hold the truth against how often they should.

    Parameters
    ----------
    levels : array of shape (k,)
        Nominal credible levels in [0, 1].
    curves : mapping of str to arrays of shape (k,)
        Empirical coverage of every quantity.
    n_galaxies : int, optional
        Number of galaxies behind the curves; gives the band in which 95 % of perfectly calibrated curves lie
        at each level (binomial, normal approximation).
    ax : Axes, optional
        Where to draw.
    """
    ax = axes_or_new(ax, height=COLUMN_INCHES)
    nominal = np.asarray(levels, dtype=float)
    if n_galaxies is not None:
        half = 1.96 * np.sqrt(nominal * (1 - nominal) / n_galaxies)
        ax.fill_between(
            nominal, nominal - half, nominal + half, color=GREY, alpha=0.4, lw=0, label="calibrated (95 %)"
        )
    ax.plot([0, 1], [0, 1], color=BLACK, lw=0.8, ls="--")
    for k, (name, curve) in enumerate(curves.items()):
        color, line = line_style(k)
        label = LABELS.get(name, name).partition(" [")[0]
        ax.plot(nominal, np.asarray(curve), color=color, ls=line, lw=1.1, label=label)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    legend(ax, loc="upper left", ncols=2 if len(curves) > 6 else 1)
    return finish(ax, "credible level", "fraction of truths inside")


def ranks(
    values: ArrayLike, *, label: str = "", n_bins: int = 12, color: str = BLUE, ax: Axes | None = None
) -> Axes:
    """Draw the histogram of the ranks of the truth among posterior samples: flat if calibrated.

    Parameters
    ----------
    values : array of shape (n,)
        Ranks of one quantity in [0, 1], from `sfhflow.diagnostics.ranks`.
    label : str
        Name of the quantity, for the axis.
    n_bins : int
        Bins of the histogram.
    color : str
        Colour of the histogram.
    ax : Axes, optional
        Where to draw.  The grey band holds 95 % of the bins of calibrated ranks (binomial, normal approximation).
    """
    counts = np.histogram(np.asarray(values, dtype=float), n_bins, (0.0, 1.0))[0]
    return rank_histogram(counts, label=label, color=color, ax=ax)


def rank_histogram(counts: ArrayLike, *, label: str = "", color: str = BLUE, ax: Axes | None = None) -> Axes:
    """Draw ranks that were counted in equal bins from 0 to 1; otherwise like `ranks`."""
    ax = axes_or_new(ax, height=1.6)
    found = np.asarray(counts, dtype=float)
    expected, n_bins = found.mean(), len(found)
    half = 1.96 * np.sqrt(expected * (1 - 1 / n_bins))
    ax.axhspan(expected - half, expected + half, color=GREY, alpha=0.4, lw=0, label="calibrated (95 %)")
    centres = (np.arange(n_bins) + 0.5) / n_bins
    ax.hist(centres, bins=n_bins, range=(0, 1), weights=found, histtype="step", color=color, lw=1.2)
    name = LABELS.get(label, label).partition(" [")[0]
    ax.set(xlim=(0, 1), ylim=(0, None))
    return finish(ax, f"rank of {name}" if name else "rank of the truth", "galaxies")


def random_points(
    levels: ArrayLike, curve: ArrayLike, *, half_width: float | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the expected coverage of the joint posterior, tested with random points (`diagnostics.tarp`).

    Parameters
    ----------
    levels, curve : arrays of shape (k,)
        Nominal levels and expected coverage.
    half_width : float, optional
        Half width of the band in which a calibrated curve lies at all levels together.
    ax : Axes, optional
        Where to draw.
    """
    ax = axes_or_new(ax, height=COLUMN_INCHES)
    nominal = np.asarray(levels, dtype=float)
    if half_width is not None:
        ends = np.array([0.0, 1.0])
        ax.fill_between(ends, ends - half_width, ends + half_width, color=GREY, alpha=0.4, lw=0, label="95 %")
    ax.plot([0, 1], [0, 1], color=BLACK, lw=0.8, ls="--")
    ax.plot(nominal, np.asarray(curve), color=BLUE, lw=1.2, label="joint posterior")
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    legend(ax, loc="upper left")
    return finish(ax, "credible level", "expected coverage (TARP)")
