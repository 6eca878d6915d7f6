"""A calibration certificate on one page: coverage, random points, ranks, and what depends on signal-to-noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sfhflow.plots.calibration import coverage, random_points, rank_histogram
from sfhflow.plots.quantities import LABELS
from sfhflow.plots.style import BLACK, COLUMN_INCHES, GREY, axes_or_new, finish, legend, line_style, new_figure

__all__ = ["certificate_figure", "coverage_in_bins", "widths"]

Plain = Mapping[str, Any]
_LEVEL = 0.68
_TOLERANCE = 0.02


def certificate_figure(certificate: Plain) -> Figure:
    """Draw a certificate in its plain form (`Certificate.to_dict`, or the JSON file)."""
    quantities = certificate["quantities"]
    n_galaxies = certificate["everything"]["n_galaxies"]
    figure = new_figure(2.1 * COLUMN_INCHES, 2.4 * COLUMN_INCHES)
    rows: Any = figure.subfigures(3, 1, height_ratios=[1.0, 0.75, 0.85])
    above, middle, below = rows
    left, right = above.subplots(1, 2)
    coverage(
        certificate["curve_levels"],
        {name: quantity["curve"] for name, quantity in quantities.items()},
        n_galaxies=n_galaxies,
        ax=left,
    )
    joint = certificate["tests"][-1]["tarp"]
    random_points(joint["levels"], joint["coverage"], half_width=joint["half_width"], ax=right)
    for (name, quantity), ax in zip(quantities.items(), middle.subplots(2, 5, sharey=True).flat, strict=False):
        rank_histogram(quantity["rank_histogram"], label=name, ax=ax)
    left, right = below.subplots(1, 2)
    coverage_in_bins(certificate, ax=left)
    widths(certificate, ax=right)
    return figure


def coverage_in_bins(certificate: Plain, *, kind: str = "snr", ax: Axes | None = None) -> Axes:
    """Draw the coverage of the 68 % interval in bins; the band is two points wide to either side."""
    ax = axes_or_new(ax)
    bins = [b for b in certificate["local"][kind] if b["n_galaxies"]]
    x, level = np.arange(len(bins)), certificate["levels"].index(_LEVEL)
    ax.axhspan(_LEVEL - _TOLERANCE, _LEVEL + _TOLERANCE, color=GREY, alpha=0.3, lw=0)
    ax.axhline(_LEVEL, color=BLACK, lw=0.8, ls="--")
    for k in range(len(certificate["quantities"])):
        color, line = line_style(k)
        ax.plot(x, [b["coverage"][level][k] for b in bins], color=color, ls=line, lw=1.1, marker=".", ms=3)
    ax.set_xticks(x, [b["label"].replace(" to ", "–") for b in bins])
    ax.set_ylim(_LEVEL - 0.1, _LEVEL + 0.1)
    return finish(ax, "S/N per Angstrom" if kind == "snr" else "", "coverage of the 68 % interval")


def widths(certificate: Plain, *, ax: Axes | None = None) -> Axes:
    """Draw the median width of the 68 % interval, in units of the prior's, against signal-to-noise."""
    ax = axes_or_new(ax)
    faint = certificate["faint"][:-1]
    bins = [b for b in [*faint, *certificate["local"]["snr"]] if b["n_galaxies"]]
    x = np.arange(len(bins))
    for k, (name, quantity) in enumerate(certificate["quantities"].items()):
        color, line = line_style(k)
        values = np.array([b["width"][k] for b in bins]) / quantity["prior_width"]
        label = LABELS.get(name, name).partition(" [")[0]
        ax.plot(x, values, color=color, ls=line, lw=1.1, marker=".", ms=3, label=label)
    ax.set_xticks(x, [b["label"].replace(" to ", "–") for b in bins], rotation=30)
    ax.set_ylim(0, 1.1)
    legend(ax, ncols=2)
    return finish(ax, "S/N per Angstrom", "68 % width / that of the prior")
