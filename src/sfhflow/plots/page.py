"""One page that tells all about a galaxy, with the verdict in plain words."""

from __future__ import annotations

import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sfhflow.plots.histories import mass_assembly, star_formation_rate
from sfhflow.plots.quantities import histograms
from sfhflow.plots.spectra import Predictive, residuals, spectrum
from sfhflow.plots.style import COLUMN_INCHES, GREEN, LABEL_POINTS, RED, new_figure
from sfhflow.posterior import Posterior

__all__ = ["summary_figure"]

_QUANTITIES = ("t50", "t90", "mh", "a_v", "sigma")
_WIDTH, _HEIGHT = 2 * COLUMN_INCHES, 6.6
_LEFT, _RIGHT = 0.075, 0.985
_LINE_CHARACTERS = 110
_MOST_LINES = 4


def summary_figure(posterior: Posterior, predictive: Predictive | None = None) -> Figure:
    """Return one page with data and fit, mass assembly, star formation rate and the main quantities.

    Parameters
    ----------
    posterior : Posterior
        Samples of one galaxy.  Its verdict stands below the title, in red if it is not ok.
    predictive : Predictive, optional
        Model spectra, drawn over the data, with the residuals below.
    """
    figure = new_figure(_WIDTH, _HEIGHT, layout=None)
    top = _write_heading(figure, posterior)
    _draw_data(figure, posterior, predictive, top=top)
    middle = figure.add_gridspec(1, 2, left=_LEFT, right=_RIGHT, bottom=0.285, top=0.51, wspace=0.24)
    mass_assembly(posterior, figure.add_subplot(middle[0]))
    star_formation_rate(posterior, figure.add_subplot(middle[1]))
    bottom = figure.add_gridspec(1, len(_QUANTITIES), left=_LEFT, right=_RIGHT, bottom=0.065, top=0.19, wspace=0.2)
    histograms(posterior, _QUANTITIES, [figure.add_subplot(bottom[k]) for k in range(len(_QUANTITIES))])
    return figure


def _draw_data(figure: Figure, posterior: Posterior, predictive: Predictive | None, *, top: float) -> None:
    box = {"left": _LEFT, "right": _RIGHT, "bottom": 0.62, "top": top}
    if predictive is None:
        spectrum(posterior, figure.add_subplot(figure.add_gridspec(1, 1, **box)[0]))
        return
    grid = figure.add_gridspec(2, 1, **box, height_ratios=[2.2, 1], hspace=0.05)
    upper: Axes = spectrum(posterior, figure.add_subplot(grid[0]), predictive=predictive)
    lower = residuals(posterior, predictive, figure.add_subplot(grid[1]))
    upper.set_xlabel("")
    upper.tick_params(labelbottom=False)
    figure.align_ylabels([upper, lower])


def _write_heading(figure: Figure, posterior: Posterior) -> float:
    """Write title and verdict; returns the height, as a fraction of the page, below which there is room."""
    data = posterior.spectrum
    title = f"{data.name}    z = {data.redshift:.4f}    S/N = {data.snr:.0f} per pixel"
    figure.text(_LEFT, 0.985, title, va="top", fontsize=LABEL_POINTS + 1, weight="bold", parse_math=False)
    size, lines = LABEL_POINTS, textwrap.wrap(posterior.verdict.text, _LINE_CHARACTERS)
    if len(lines) > _MOST_LINES:
        # many reasons: smaller, so that they leave room for the data
        size = 0.6 * LABEL_POINTS
        lines = textwrap.wrap(posterior.verdict.text, int(_LINE_CHARACTERS / 0.6))
    color = GREEN if posterior.verdict.ok else RED
    figure.text(_LEFT, 0.96, "\n".join(lines), va="top", fontsize=size, color=color, parse_math=False)
    return 0.955 - 1.3 * size / 72 / _HEIGHT * len(lines)
