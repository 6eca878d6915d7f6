"""The interactive history: mass assembly, star formation rate, single quantities, and galaxies side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfhflow.curves import assembly, bands, formation_rate, redshift_ticks
from sfhflow.html.canvas import (
    Figure,
    add_band,
    as_json,
    models,
    new_figure,
    put_legend_above,
    relabel,
    style_axis,
)
from sfhflow.plots.style import BLUE, GREEN, ORANGE, PURPLE, RED, SKY
from sfhflow.posterior import Posterior

__all__ = ["assembly_item", "comparison_item", "quantity_item", "rate_item"]

Array = NDArray[np.float64]

_HEIGHT = 340
_DECADES = 4.0
_MARKED = (10, 50, 90)
# distinct to every kind of colour vision, and by their dashes too
_COLORS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY)
_DASHES = ("solid", "dashed", "dotted", "dotdash")


def assembly_item(posterior: Posterior) -> dict[str, Any]:
    """Return the mass fraction formed against cosmic time, with 68 and 95 % bands, as a JSON item."""
    figure = _assembly_figure(posterior.age_of_universe)
    time, samples = assembly(posterior)
    _draw_bands(figure, time, bands(samples), color=BLUE)
    _mark_times(figure, posterior)
    put_legend_above(figure)
    return as_json(figure)


def rate_item(posterior: Posterior) -> dict[str, Any]:
    """Return the star formation rate against lookback time (its cube root), redshift above, as a JSON item."""
    edges, rates = formation_rate(posterior)
    q = bands(rates)
    top = 2.0 * float(q[-1].max())
    root = np.cbrt(edges)
    figure = new_figure(
        "lookback time [Gyr]",
        "SFR / mass formed [1/Gyr]",
        height=_HEIGHT,
        y_axis_type="log",
        x_range=(float(root[0]), 0.0),
        y_range=(10.0**-_DECADES * top, top),
    )
    # zero has no place on a log axis: draw it out of sight
    stairs = np.repeat(np.maximum(q, 10.0 ** (-_DECADES - 1) * top), 2, axis=1)
    x = np.repeat(root, 2)[1:-1]
    _draw_bands(figure, x, stairs, color=GREEN, shown={"lookback time": (x**3, "0.00")})
    ticks = np.array([tick for tick in (0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0) if tick < edges[0]])
    relabel(figure.xaxis[0], np.cbrt(ticks), [f"{tick:g}" for tick in ticks])
    ages, labels = redshift_ticks(posterior.age_of_universe, cube_root=True)
    _add_redshift_axis(figure, np.cbrt(posterior.age_of_universe - ages), labels)
    put_legend_above(figure)
    return as_json(figure)


def quantity_item(posterior: Posterior, name: str, label: str) -> dict[str, Any]:
    """Return the distribution of one inferred quantity as a JSON item."""
    samples = posterior.columns()[name][0]
    density, edges = np.histogram(
        samples, bins=40, range=tuple(np.quantile(samples, [0.002, 0.998])), density=True
    )
    figure = new_figure(label, "", height=170, toolbar_location=None, tools="", active_drag=None)
    figure.quad(left=edges[:-1], right=edges[1:], top=density, bottom=0, color=BLUE, alpha=0.55, line_color=None)
    low, median, high = np.quantile(samples, [0.16, 0.5, 0.84])
    for place, dash in ((low, "dashed"), (median, "solid"), (high, "dashed")):
        figure.add_layout(models().Span(location=float(place), dimension="height", line_color=RED, line_dash=dash))
    figure.yaxis.visible = False
    figure.y_range.start = 0
    figure.xaxis.ticker.desired_num_ticks = 5
    return as_json(figure)


def comparison_item(posteriors: Sequence[Posterior]) -> dict[str, Any]:
    """Return the mass assembly of several galaxies, medians with 68 % bands, as a JSON item."""
    figure = _assembly_figure(max(p.age_of_universe for p in posteriors))
    for k, posterior in enumerate(posteriors):
        time, samples = assembly(posterior)
        _, low, median, high, _ = bands(samples)
        color, dash = _COLORS[k % len(_COLORS)], _DASHES[(k // len(_COLORS) + k) % len(_DASHES)]
        label = f"{k + 1}: {posterior.spectrum.name}"
        add_band(figure, time, low, high, fill_color=color, fill_alpha=0.18, legend_label=label)
        figure.line(time, median, color=color, line_width=2, line_dash=dash, legend_label=label)
    put_legend_above(figure)
    return as_json(figure)


def _assembly_figure(age: float) -> Figure:
    figure = new_figure(
        "cosmic time [Gyr]", "mass fraction formed", height=_HEIGHT, x_range=(0.0, age), y_range=(0.0, 1.03)
    )
    _add_redshift_axis(figure, *redshift_ticks(age))
    return figure


def _add_redshift_axis(figure: Figure, places: Array, labels: list[str]) -> None:
    """Redshifts above a figure, at places of its axis of time."""
    above = style_axis(models().LinearAxis(axis_label="redshift"))
    relabel(above, places, labels)
    figure.add_layout(above, "above")


def _draw_bands(
    figure: Figure, x: Array, q: Array, *, color: str, shown: dict[str, tuple[Array, str]] | None = None
) -> None:
    """Bands and median of quantiles (5, M); `shown` replaces x in the tooltip by values with a format."""
    add_band(figure, x, q[0], q[4], fill_color=color, fill_alpha=0.18, legend_label="95 %")
    add_band(figure, x, q[1], q[3], fill_color=color, fill_alpha=0.32, legend_label="68 %")
    label, (time, form) = next(iter((shown or {"cosmic time": (x, "0.00")}).items()))
    source = models().ColumnDataSource({"x": x, "time": time, "low": q[1], "median": q[2], "high": q[3]})
    line = figure.line("x", "median", source=source, color=color, line_width=2, legend_label="median")
    tips = [(label, f"@time{{{form}}} Gyr"), ("median", "@median{0.000}"), ("68 %", "@low{0.000} … @high{0.000}")]
    figure.add_tools(models().HoverTool(renderers=[line], tooltips=tips, mode="vline", line_policy="nearest"))


def _mark_times(figure: Figure, posterior: Posterior) -> None:
    """Medians and 68 % intervals of the main formation times."""
    columns = posterior.columns()
    times = [np.quantile(columns[f"t{percent}"][0], [0.16, 0.5, 0.84]) for percent in _MARKED]
    low, middle, high = np.transpose(times)
    height = np.array(_MARKED) / 100
    figure.segment(low, height, high, height, color=RED, line_width=2, legend_label="t10, t50, t90")
    figure.scatter(middle, height, color=RED, size=7, legend_label="t10, t50, t90")
