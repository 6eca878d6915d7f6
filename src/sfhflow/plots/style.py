"""What all figures share: size, colours, ticks.

Colours are those of Okabe & Ito (2008, "Color Universal Design"), which people with any colour vision can tell
apart.  Styles are set on each Axes, never in matplotlib's global settings.
"""

from __future__ import annotations

from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = [
    "BLACK",
    "BLUE",
    "COLUMN_INCHES",
    "GREEN",
    "GREY",
    "LABEL_POINTS",
    "ORANGE",
    "PURPLE",
    "RED",
    "SKY",
    "TICK_POINTS",
    "axes_or_new",
    "finish",
    "legend",
    "line_style",
    "new_figure",
]

BLACK, GREY = "#000000", "#8c8c8c"
ORANGE, SKY, GREEN, BLUE, RED, PURPLE = "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"

_STYLES = [(color, line) for line in ("-", ":", "-.") for color in (BLUE, RED, GREEN, ORANGE, PURPLE, SKY)]

Corner = Literal["best", "lower right", "upper left"]

COLUMN_INCHES = 88 / 25.4
# legible when printed at the width of one column
LABEL_POINTS, TICK_POINTS = 8.0, 7.0


def new_figure(width: float, height: float, *, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Return an empty figure of a size in inches, sharp enough for print as a bitmap."""
    return Figure(figsize=(width, height), dpi=200, layout=layout)


def axes_or_new(ax: Axes | None, *, height: float = 2.4) -> Axes:
    """Return `ax`, or the Axes of a new figure one column wide and `height` inches high."""
    return new_figure(COLUMN_INCHES, height).add_subplot() if ax is None else ax


def finish(ax: Axes, xlabel: str, ylabel: str = "", *, top: bool = True) -> Axes:
    """Label and style an Axes."""
    ax.set_xlabel(xlabel, fontsize=LABEL_POINTS)
    ax.set_ylabel(ylabel, fontsize=LABEL_POINTS)
    ax.tick_params(which="both", direction="in", top=top, right=True, labelsize=TICK_POINTS, width=0.6)
    for spine in ax.spines.values():
        spine.set_linewidth(0.6)
    return ax


def legend(ax: Axes, *, loc: Corner = "best", ncols: int = 1) -> None:
    """Add a small legend that stays readable over shading."""
    small = {"fontsize": TICK_POINTS, "handlelength": 1.2, "columnspacing": 1.0, "borderpad": 0.2}
    ax.legend(loc=loc, ncols=ncols, framealpha=0.8, edgecolor="none", **small)


def line_style(k: int) -> tuple[str, str]:
    """Colour and line of the k-th of many curves."""
    return _STYLES[k % len(_STYLES)]
