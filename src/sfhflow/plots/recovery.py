"""How well known answers are recovered: estimates against the truth, and the losses of a training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from sfhflow.plots.quantities import LABELS
from sfhflow.plots.style import BLACK, COLUMN_INCHES, RED, TICK_POINTS, axes_or_new, finish, legend, line_style

__all__ = ["losses", "recovery"]


def recovery(
    truth: ArrayLike, estimate: ArrayLike, *, name: str = "", note: str = "", ax: Axes | None = None
) -> Axes:
    """Draw estimates of one quantity against its true values, as a density on a logarithmic scale.

    Parameters
    ----------
    truth, estimate : arrays of shape (n,)
        True values, and for instance posterior medians.
    name : str
        Name of the quantity, for the axes.
    note : str
        Written in the corner, for instance R2.
    ax : Axes, optional
        Where to draw.
    """
    ax = axes_or_new(ax, height=COLUMN_INCHES)
    x, y = (np.asarray(values, dtype=float) for values in (truth, estimate))
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    pad = 0.03 * (high - low) or 1.0
    limits = (low - pad, high + pad)
    counts, _, _ = np.histogram2d(x, y, bins=100, range=(limits, limits))
    shown = np.ma.masked_less(np.log10(np.maximum(counts, 0.5)).T, 0)
    ax.imshow(shown, origin="lower", extent=(*limits, *limits), cmap="Blues", vmin=-0.5, interpolation="none")
    ax.plot(limits, limits, color=RED, lw=0.8)
    if note:
        ax.text(0.04, 0.96, note, transform=ax.transAxes, va="top", fontsize=TICK_POINTS)
    ax.set(xlim=limits, ylim=limits, aspect="equal")
    label = LABELS.get(name, name)
    return finish(ax, f"true {label}", f"estimated {label}")


def losses(
    curves: Mapping[str, ArrayLike], *, label: str = "loss", log: bool = False, ax: Axes | None = None
) -> Axes:
    """Draw losses against the number of the epoch.

    Parameters
    ----------
    curves : mapping of str to arrays of shape (epochs,)
        For instance those of training and validation.
    label : str
        Name of the loss, for the axis.
    log : bool
        Whether the axis is logarithmic.
    ax : Axes, optional
        Where to draw.
    """
    ax = axes_or_new(ax)
    for k, (name, curve) in enumerate(curves.items()):
        values: NDArray[np.float64] = np.asarray(curve, dtype=float)
        ax.plot(np.arange(1, len(values) + 1), values, color=line_style(k)[0] if k else BLACK, lw=1.1, label=name)
    if log:
        ax.set_yscale("log")
    legend(ax)
    return finish(ax, "epoch", label)
