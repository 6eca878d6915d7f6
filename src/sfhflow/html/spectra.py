"""The interactive spectrum: data with errors, the band of the fit, what was left out, and the residuals below."""

from __future__ import annotations

from typing import Any

import numpy as np

from sfhflow import curves
from sfhflow.curves import Data, Predictive, normalised, pixel_runs, scaled
from sfhflow.html.canvas import Figure, add_band, as_json, models, new_figure, put_legend_above, stacked
from sfhflow.lines import emission_line_mask
from sfhflow.plots.style import BLACK, GREY, ORANGE, RED, SKY
from sfhflow.posterior import Posterior

__all__ = ["spectrum_item"]

_XLABEL = "rest-frame wavelength in air [Å]"
_RESIDUAL_LIMIT = 6.0
# both panels leave as much room for their labels, so that their wavelengths line up
_LEFT = 62


def spectrum_item(posterior: Posterior, predictive: Predictive | None = None) -> dict[str, Any]:
    """Return the spectrum, with the fit and its residuals if there is one, as a JSON item."""
    data = normalised(posterior)
    fit = None if predictive is None else _inside(scaled(predictive, data), data)
    upper = new_figure(_XLABEL, "flux / median", height=330, min_border_left=_LEFT)
    _shade(upper, posterior, data, labelled=True)
    _draw_data(upper, data)
    _limit(upper, data, fit)
    if fit is None:
        put_legend_above(upper)
        return as_json(upper)
    _draw_fit(upper, fit)
    put_legend_above(upper)
    upper.xaxis.visible = False
    return as_json(stacked(upper, _residuals(posterior, data, fit, upper)))


def _inside(fit: Predictive, data: Data) -> Predictive:
    """Leave out what is more than a pixel beyond the data: the calibration is extrapolated there."""
    first, last = np.searchsorted(fit[0], data.wavelength[data.good][[0, -1]])
    keep = slice(max(first - 1, 0), last + 1)
    wavelength, *fluxes = (part[keep] for part in fit)
    return wavelength, fluxes[0], fluxes[1], fluxes[2]


def _draw_data(figure: Figure, data: Data) -> None:
    part = data.wavelength, data.flux, data.error
    columns = dict(zip(("wavelength", "flux", "error"), (x.astype(np.float32) for x in part), strict=True))
    source = models().ColumnDataSource(columns)
    lows, highs = data.flux - data.error, data.flux + data.error
    # one polygon for each run of good pixels, because a filled area knows no gaps
    outlines: dict[str, list[Any]] = {"xs": [], "ys": []}
    for start, end in pixel_runs(data.wavelength, data.good):
        run = (data.wavelength > start) & (data.wavelength < end)
        there, back = data.wavelength[run], data.wavelength[run][::-1]
        outlines["xs"].append(np.concatenate([there, back]).astype(np.float32))
        outlines["ys"].append(np.concatenate([lows[run], highs[run][::-1]]).astype(np.float32))
    figure.patches(
        "xs", "ys", source=models().ColumnDataSource(outlines), color=GREY, alpha=0.35, line_width=0,
        legend_label="error",
    )  # fmt: skip
    line = figure.line("wavelength", "flux", source=source, color=BLACK, line_width=0.9, legend_label="data")
    tips = [("wavelength", "@wavelength{0.0} Å"), ("flux", "@flux{0.000} ± @error{0.000}")]
    figure.add_tools(models().HoverTool(renderers=[line], tooltips=tips, mode="vline", line_policy="nearest"))


def _draw_fit(figure: Figure, fit: Predictive) -> None:
    grid, low, median, high = fit
    add_band(figure, grid, low, high, fill_color=RED, fill_alpha=0.35, legend_label="fit (68 %)")
    figure.line(
        grid.astype(np.float32), median.astype(np.float32), color=RED, line_width=1.1, legend_label="fit (68 %)"
    )


def _residuals(posterior: Posterior, data: Data, fit: Predictive, upper: Figure) -> Figure:
    chi = curves.residuals(data, fit, mask_lines=posterior.lines_masked)
    lower = new_figure(
        _XLABEL,
        "residual / error",
        height=170,
        min_border_left=_LEFT,
        x_range=upper.x_range,
        y_range=(-_RESIDUAL_LIMIT, _RESIDUAL_LIMIT),
        toolbar_location=None,
    )
    _shade(lower, posterior, data, labelled=False)
    lower.add_layout(models().BoxAnnotation(bottom=-1, top=1, fill_color=RED, fill_alpha=0.2, line_color=None))
    columns = {"wavelength": data.wavelength.astype(np.float32), "chi": chi.astype(np.float32)}
    line = lower.line("wavelength", "chi", source=models().ColumnDataSource(columns), color=BLACK, line_width=0.7)
    tips = [("wavelength", "@wavelength{0.0} Å"), ("residual / error", "@chi{0.00}")]
    lower.add_tools(models().HoverTool(renderers=[line], tooltips=tips, mode="vline", line_policy="nearest"))
    return lower


def _shade(figure: Figure, posterior: Posterior, data: Data, *, labelled: bool) -> None:
    """Shade the windows of emission lines and the masked pixels over the whole height."""
    shades = [(~data.good, ORANGE, "masked")]
    if posterior.lines_masked:
        shades.insert(0, (emission_line_mask(data.wavelength), SKY, "emission-line windows"))
    for pixels, color, label in shades:
        runs = pixel_runs(data.wavelength, pixels)
        if runs:
            starts, ends = zip(*runs, strict=True)
            legend = {"legend_label": label} if labelled else {}
            figure.vstrip(x0=list(starts), x1=list(ends), color=color, alpha=0.25, line_width=0, **legend)


def _limit(figure: Figure, data: Data, fit: Predictive | None) -> None:
    """Show the good pixels that were fitted; strong lines and cosmic rays must not squash the rest."""
    low, high = (data.wavelength[data.good] if fit is None else fit[0])[[0, -1]]
    shown = data.good & ~emission_line_mask(data.wavelength)
    shown &= (data.wavelength >= low) & (data.wavelength <= high)
    figure.x_range.update(start=float(low), end=float(high))
    if np.any(shown):
        bottom, top = np.percentile(data.flux[shown], [1.0, 98.0])
        margin = 0.35 * (top - bottom) or 0.1
        figure.y_range.update(start=float(bottom - margin), end=float(top + margin))
