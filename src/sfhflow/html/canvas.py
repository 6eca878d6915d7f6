"""The one door to Bokeh: empty figures in a common style, bands, and figures as JSON.

Bokeh was chosen over Plotly because its script is a third of the size (1.3 against 4.5 MB), and each report
carries the script.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfhflow.extras import optional

if TYPE_CHECKING:
    from bokeh.models import LayoutDOM

__all__ = [
    "Figure",
    "add_band",
    "as_json",
    "models",
    "new_figure",
    "put_legend_above",
    "relabel",
    "script_path",
    "stacked",
]

Array = NDArray[np.float64]
Figure = Any
"""A ``bokeh.plotting.figure``, whose attributes type checkers know too little of."""

_TEXT = "#3d4451"
_GRID = "#e6e8ec"
_FONT = "system-ui, sans-serif"
_AXIS = {
    "axis_label_text_font_style": "normal",
    "axis_label_text_font_size": "13px",
    "axis_label_text_font": _FONT,
    "axis_label_text_color": _TEXT,
    "major_label_text_font_size": "12px",
    "major_label_text_font": _FONT,
    "major_label_text_color": _TEXT,
    "axis_line_color": _TEXT,
    "major_tick_line_color": _TEXT,
    "minor_tick_line_color": None,
}


def models() -> Any:
    """Return the module ``bokeh.models``."""
    return optional("bokeh.models", extra="web")


def new_figure(xlabel: str, ylabel: str, *, height: int, **options: Any) -> Figure:
    """Return an empty figure as wide as its place on the page; `options` go to ``bokeh.plotting.figure``."""
    options = {"tools": "pan,box_zoom,xwheel_zoom,reset,save", "active_drag": "box_zoom", **options}
    figure = optional("bokeh.plotting", extra="web").figure(
        height=height, sizing_mode="stretch_width", x_axis_label=xlabel, y_axis_label=ylabel, **options
    )
    figure.toolbar.logo = None
    figure.outline_line_color = None
    figure.grid.grid_line_color = _GRID
    figure.min_border_right = 12
    for axis in figure.axis:
        style_axis(axis)
    return figure


def add_band(figure: Figure, x: Array, low: Array, high: Array, **style: Any) -> Any:
    """Fill between two curves, in single precision; returns the renderer."""
    single = (np.asarray(part, dtype=np.float32) for part in (x, low, high))
    source = models().ColumnDataSource(dict(zip(("x", "low", "high"), single, strict=True)))
    return figure.varea("x", "low", "high", source=source, **style)


def style_axis(axis: Any) -> Any:
    """Give an axis the common look."""
    axis.update(**_AXIS)
    return axis


def put_legend_above(figure: Figure) -> None:
    """Move the legend out of the data; a click on an entry hides or shows it."""
    legend = figure.legend[0]
    legend.update(
        orientation="horizontal",
        click_policy="hide",
        border_line_color=None,
        padding=2,
        spacing=12,
        margin=0,
        label_text_font_size="12px",
        label_text_font=_FONT,
        label_text_color=_TEXT,
    )
    figure.add_layout(legend, "above")


def relabel(axis: Any, places: Array, labels: list[str]) -> None:
    """Put ticks at the given places of an axis, with the given labels."""
    axis.ticker = models().FixedTicker(ticks=[float(place) for place in places])
    axis.major_label_overrides = {float(place): label for place, label in zip(places, labels, strict=True)}


def stacked(*figures: Figure) -> LayoutDOM:
    """Figures one below another, each as wide as its place on the page."""
    layout: LayoutDOM = optional("bokeh.layouts", extra="web").column(*figures, sizing_mode="stretch_width")
    return layout


def as_json(figure: LayoutDOM) -> dict[str, Any]:
    """Return what ``Bokeh.embed.embed_item`` in the page makes the figure of."""
    item: dict[str, Any] = optional("bokeh.embed", extra="web").json_item(figure)
    return item


def script_path() -> Path:
    """File of the minified BokehJS that belongs to the installed version."""
    folder = Path(str(optional("bokeh.util.paths", extra="web").bokehjs_path()))
    return folder / "js" / "bokeh.min.js"
