"""What a notebook shows of an answer: the verdict, a table, and a small drawing of the history.

The drawing is SVG made of the samples alone: for each mass fraction the median cosmic time at which it had formed,
with the 68 and 95 % intervals.  It is sharp at any size and needs no figure library.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np
from numpy.typing import NDArray

from sfhflow.parameters import FRACTIONS

__all__ = ["history_svg", "summary_html"]

Array = NDArray[np.float64]

_WIDTH, _HEIGHT = 340, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 332, 10, 188
# of Okabe & Ito (2008), as all figures
_BLUE, _GREEN, _RED = "#0072B2", "#00694d", "#b34700"
_CELL = "padding:1px 8px;text-align:right"


def summary_html(
    title: str,
    verdict: tuple[bool, str],
    intervals: Mapping[str, Mapping[str, float | str]],
    times: Array,
    age_of_universe: float,
) -> str:
    """Return a summary as HTML.

    Parameters
    ----------
    title : str
        What it is about, in a line.
    verdict : (bool, str)
        Whether the answer can be trusted, and the verdict in words.
    intervals : mapping
        Rows of the table: name -> median, p16, p84, p2_5, p97_5, unit.
    times : array of shape (n, 13)
        Formation times in Gyr.
    age_of_universe : float
        Gyr, at the galaxy's redshift.
    """
    ok, sentence = verdict
    rows = "".join(_row(name, values) for name, values in intervals.items())
    head = "".join(f'<th style="{_CELL}">{text}</th>' for text in ("", "median", "68 %", "95 %", "unit"))
    return (
        f"<div><p><b>{escape(title)}</b><br/>"
        f'<span style="color:{_GREEN if ok else _RED};font-weight:600">{escape(sentence)}</span></p>'
        '<div style="display:flex;flex-wrap:wrap;gap:1em;align-items:flex-start">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f"{history_svg(times, age_of_universe)}</div></div>"
    )


def history_svg(times: Array, age_of_universe: float) -> str:
    """Draw the mass fraction formed against cosmic time.

    Parameters
    ----------
    times : array of shape (n, 13)
        Formation times in Gyr.
    age_of_universe : float
        Gyr; the end of the axis.
    """
    levels = np.quantile(times, [0.025, 0.16, 0.5, 0.84, 0.975], axis=0)
    x = _LEFT + (_RIGHT - _LEFT) * levels / age_of_universe
    y = _BOTTOM - (_BOTTOM - _TOP) * np.array(FRACTIONS)
    bands = "".join(
        f'<polygon points="{_points(np.append(x[a], x[b][::-1]), np.append(y, y[::-1]))}" '
        f'fill="{_BLUE}" fill-opacity="{opacity}"/>'
        for a, b, opacity in ((0, 4, 0.2), (1, 3, 0.35))
    )
    line = f'<polyline points="{_points(x[2], y)}" fill="none" stroke="{_BLUE}" stroke-width="1.5"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" font-family="sans-serif" font-size="11" '
        f'style="background:white" fill="black"><title>mass fraction formed against cosmic time</title>'
        f"{_axes(age_of_universe)}{bands}{line}</svg>"
    )


def _axes(age: float) -> str:
    size = f'width="{_RIGHT - _LEFT}" height="{_BOTTOM - _TOP}"'
    parts = [f'<rect x="{_LEFT}" y="{_TOP}" {size} fill="none" stroke="#666"/>']
    for gyr in range(0, int(age) + 1, 2):
        x = _LEFT + (_RIGHT - _LEFT) * gyr / age
        parts.append(f'<path d="M{x:.1f} {_BOTTOM}v-4" stroke="#666"/>')
        parts.append(f'<text x="{x:.1f}" y="{_BOTTOM + 14}" text-anchor="middle">{gyr}</text>')
    for fraction in (0.0, 0.5, 1.0):
        y = _BOTTOM - (_BOTTOM - _TOP) * fraction
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{fraction:g}</text>')
    middle_x, middle_y = (_LEFT + _RIGHT) / 2, (_TOP + _BOTTOM) / 2
    parts.append(f'<text x="{middle_x}" y="{_HEIGHT - 8}" text-anchor="middle">cosmic time [Gyr]</text>')
    turned = f'transform="rotate(-90 14 {middle_y})"'
    parts.append(f'<text x="14" y="{middle_y}" text-anchor="middle" {turned}>mass fraction formed</text>')
    return "".join(parts)


def _points(x: Array, y: Array) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def _row(name: str, values: Mapping[str, float | str]) -> str:
    cells = (
        f"{values['median']:.2f}",
        f"{values['p16']:.2f} ... {values['p84']:.2f}",
        f"{values['p2_5']:.2f} ... {values['p97_5']:.2f}",
        str(values["unit"]),
    )
    shown = "".join(f'<td style="{_CELL}">{escape(cell)}</td>' for cell in cells)
    return f'<tr><th style="{_CELL}">{escape(name)}</th>{shown}</tr>'
