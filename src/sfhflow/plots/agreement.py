"""Answers against the truth of simulated galaxies: one quantity of many, the times of one; and learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from sfhflow.diagnostics import r2
from sfhflow.plots.quantities import LABELS
from sfhflow.plots.style import (
    BLACK,
    BLUE,
    COLUMN_INCHES,
    RED,
    TICK_POINTS,
    axes_or_new,
    finish,
    legend,
    line_style,
)

__all__ = ["formation_percentiles", "learning_curves", "predicted_true"]


def predicted_true(prediction: ArrayLike, truth: ArrayLike, *, name: str, ax: Axes | None = None) -> Axes:
    """Draw the point estimates of many simulated galaxies against the truth, with the histograms of both.

    Parameters
    ----------
    prediction, truth : arrays of shape (n,)
        Point estimates, such as posterior medians, and true values.
    name : str
        The quantity, for the labels; R2 is written in the corner.
    ax : Axes, optional
        Where to draw.
    """
    ax = axes_or_new(ax, height=COLUMN_INCHES)
    x, y = np.asarray(truth, dtype=float), np.asarray(prediction, dtype=float)
    limits = _limits(np.concatenate([x, np.quantile(y, [0.002, 0.998])]))
    size, alpha = np.clip(60 / np.sqrt(len(x)), 1.0, 4.0), np.clip(15 / np.sqrt(len(x)), 0.2, 0.8)
    ax.plot(x, y, ".", ms=size, alpha=alpha, mew=0, color=BLUE, rasterized=True)
    ax.plot(limits, limits, color=RED, lw=0.9)
    ax.set(xlim=limits, ylim=limits, aspect="equal")
    # histograms inside the frame, a tenth of it high
    bins = np.linspace(*limits, 40)
    for values, vertical in ((x, False), (y, True)):
        counts, _ = np.histogram(values, bins)
        height = 0.1 * (limits[1] - limits[0]) * counts / max(1, counts.max())
        edge = limits[0] + np.append(height, height[-1:])
        if vertical:
            ax.fill_betweenx(bins, limits[0], edge, step="post", color=BLACK, alpha=0.25, lw=0)
        else:
            ax.fill_between(bins, limits[0], edge, step="post", color=BLACK, alpha=0.25, lw=0)
    share = r2(y[:, None], x[:, None])[0]
    ax.text(0.95, 0.17, f"$R^2$ = {share:.3f}", transform=ax.transAxes, ha="right", fontsize=TICK_POINTS)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    label = LABELS.get(name, name)
    return finish(ax, f"true {label}", f"estimated {label}")


def formation_percentiles(
    times: ArrayLike,
    *,
    percent: Sequence[float] = (10, 20, 30, 40, 50, 60, 70, 80, 90),
    truth: ArrayLike | None = None,
    age_gyr: float | None = None,
    color: str = BLUE,
    label: str = "median",
    ax: Axes | None = None,
) -> Axes:
    """Draw when given shares of the stellar mass had formed, with bands of one and two standard deviations.

    Parameters
    ----------
    times : array of shape (n, k)
        Posterior samples of the cosmic times in Gyr; the bands hold 68 and 95 % of them at each share.
    percent : sequence of k floats
        The shares in per cent.
    truth : array of shape (k,), optional
        True times in Gyr.
    age_gyr : float, optional
        Age of the Universe at the galaxy, the end of the axis.
    color, label : str
        Of the median.
    ax : Axes, optional
        Where to draw.
    """
    ax = axes_or_new(ax)
    share = np.asarray(percent, dtype=float)
    far_low, low, middle, high, far_high = np.quantile(
        np.asarray(times, dtype=float), [0.025, 0.16, 0.5, 0.84, 0.975], axis=0
    )
    ax.fill_betweenx(share, far_low, far_high, color=color, alpha=0.2, lw=0, label="95 %")
    ax.fill_betweenx(share, low, high, color=color, alpha=0.4, lw=0, label="68 %")
    ax.plot(middle, share, "--", color=color, lw=1.0, label=label)
    if truth is not None:
        ax.plot(np.asarray(truth, dtype=float), share, "-", color=BLACK, lw=1.0, label="truth")
    ax.set(ylim=(0, 100), xlim=(0, age_gyr))
    legend(ax, loc="upper left")
    return finish(ax, "cosmic time [Gyr]", "mass formed [%]")


def learning_curves(
    epochs: ArrayLike,
    curves: Mapping[str, ArrayLike],
    *,
    xlabel: str = "epoch",
    ylabel: str = "loss",
    ax: Axes | None = None,
) -> Axes:
    """Draw losses of a training against epochs, on a logarithmic scale if they fall to less than a third.

    Parameters
    ----------
    epochs : array of shape (k,)
        Epochs, or other measure of progress.
    curves : mapping of str to arrays of shape (k,)
        Losses by name.
    xlabel, ylabel : str
        Labels of the axes.
    ax : Axes, optional
        Where to draw.
    """
    ax = axes_or_new(ax)
    for k, (name, values) in enumerate(curves.items()):
        color, line = line_style(k)
        ax.plot(np.asarray(epochs, dtype=float), np.asarray(values, dtype=float), color=color, ls=line, label=name)
    every = np.concatenate([np.asarray(values, dtype=float) for values in curves.values()])
    if 0 < 3 * every.min() < every.max():
        ax.set_yscale("log")
    legend(ax)
    return finish(ax, xlabel, ylabel)


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Limits around all values, with a margin; never of zero width."""
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin
