"""Single quantities: their distributions, alone and in pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from sfhflow.derived import all_columns
from sfhflow.errors import InputError
from sfhflow.plots.style import (
    BLACK,
    BLUE,
    COLUMN_INCHES,
    GREY,
    LABEL_POINTS,
    RED,
    SKY,
    finish,
    legend,
    new_figure,
)
from sfhflow.posterior import Posterior

__all__ = ["LABELS", "corner", "histograms"]

Array = NDArray[np.float64]

LABELS = {
    **{f"t{percent}": f"$t_{{{percent}}}$ [Gyr]" for percent in (*range(0, 91, 10), 95, 99, 100)},
    "mh": "[M/H] [dex]",
    "a_v": "$A_V$ [mag]",
    "sigma": r"$\sigma$ [km s$^{-1}$]",
    "age_mw": "mass-weighted age [Gyr]",
    "log_ssfr_10myr": r"log sSFR$_{10\,\mathrm{Myr}}$ [yr$^{-1}$]",
    "log_ssfr_100myr": r"log sSFR$_{100\,\mathrm{Myr}}$ [yr$^{-1}$]",
    "log_ssfr_1gyr": r"log sSFR$_{1\,\mathrm{Gyr}}$ [yr$^{-1}$]",
    "f_1gyr": "mass formed in last Gyr",
    "quiescent_for": "quiescent for [Gyr]",
    "t_quench": "quenching time [Gyr]",
    "age_lw": "light-weighted age [Gyr]",
    "log_ml_r": r"log $M/L_r$ [solar]",
    "log_ml_v": r"log $M/L_V$ [solar]",
    "log_ml_r_dusty": r"log $M/L_r$ with dust [solar]",
    "log_ml_v_dusty": r"log $M/L_V$ with dust [solar]",
    "log_mass": r"log mass formed [$M_\odot$]",
}
"""Axis label, with its unit, of every quantity."""

_SMOOTHING = np.array([0.06, 0.24, 0.4, 0.24, 0.06])  # a Gaussian of one bin


def histograms(
    posterior: Posterior,
    names: Sequence[str] = ("t50", "t90", "mh", "a_v"),
    axes: Iterable[Axes] | None = None,
    *,
    prior: Posterior | None = None,
) -> list[Axes]:
    """Draw the distribution of single quantities, with the median and the 68 % interval written above.

    Parameters
    ----------
    posterior : Posterior
        Samples of one galaxy.
    names : sequence of str
        Inferred or derived quantities.
    axes : iterable of Axes, optional
        Where to draw, one for each name.
    prior : Posterior, optional
        Samples of the prior, from `sfhflow.prior_samples.prior_samples`: drawn as an outline of the same area.

    Raises
    ------
    InputError
        If a name is unknown.
    """
    samples = _samples(posterior, names)
    if axes is None:
        figure = new_figure(max(1.0, len(names) / 2) * COLUMN_INCHES, 1.5)
        axes = np.atleast_1d(figure.subplots(1, len(names)))
    before = {} if prior is None else _samples(prior, names)
    axes = [_histogram(ax, name, samples[name], before.get(name)) for ax, name in zip(axes, names, strict=True)]
    if prior is not None:
        legend(axes[0])
    return axes


def corner(
    posterior: Posterior | Mapping[str, ArrayLike],
    names: Sequence[str] = ("t10", "t50", "t90", "mh", "a_v"),
    figure: Figure | None = None,
    *,
    truth: Mapping[str, float] | None = None,
) -> NDArray[np.object_]:
    """Draw all pairs of quantities, with contours around 68 and 95 % of the samples.

    Parameters
    ----------
    posterior : Posterior or mapping of str to arrays of shape (n,)
        Samples of one galaxy.
    names : sequence of str
        Inferred or derived quantities.
    figure : Figure, optional
        An empty figure to fill.
    truth : mapping of str to float, optional
        True values, drawn as lines.

    Returns
    -------
    array of Axes, shape (len(names), len(names))
        Those above the diagonal are invisible.

    Raises
    ------
    InputError
        If a name is unknown.
    """
    samples = _samples(posterior, names)
    n = len(names)
    if figure is None:
        side = 1.3 * n + 0.8
        figure = new_figure(side, side, layout=None)
        figure.subplots_adjust(left=0.6 / side, right=1 - 0.1 / side, bottom=0.5 / side, top=1 - 0.3 / side)
    axes = figure.subplots(n, n, squeeze=False, gridspec_kw={"wspace": 0.12, "hspace": 0.22})
    for row, vertical in enumerate(names):
        for column, horizontal in enumerate(names):
            ax = axes[row, column]
            if column > row:
                ax.set_visible(False)
            elif column == row:
                _histogram(ax, vertical, samples[vertical])
            else:
                _contours(ax, samples[horizontal], samples[vertical])
                finish(ax, LABELS.get(horizontal, horizontal), LABELS.get(vertical, vertical))
            if truth is not None:
                _mark(ax, truth.get(horizontal), truth.get(vertical) if column < row else None)
            _outer_only(ax, left=column == 0, bottom=row == n - 1)
    figure.align_labels()
    return axes


def _mark(ax: Axes, x: float | None, y: float | None) -> None:
    """Lines at the true values that are known."""
    if x is not None:
        ax.axvline(x, color=RED, lw=0.9)
    if y is not None:
        ax.axhline(y, color=RED, lw=0.9)


def _outer_only(ax: Axes, *, left: bool, bottom: bool) -> None:
    """Keep labels only where the Axes is at the left or the bottom of the figure."""
    if not left:
        ax.set_ylabel("")
        ax.tick_params(labelleft=False)
    if not bottom:
        ax.set_xlabel("")
        ax.tick_params(labelbottom=False)


def _samples(posterior: Posterior | Mapping[str, ArrayLike], names: Sequence[str]) -> dict[str, Array]:
    if isinstance(posterior, Mapping):
        known = {name: np.asarray(values, dtype=float) for name, values in posterior.items()}
    else:
        known = {name: values for name, (values, _) in all_columns(posterior).items()}
    for name in names:
        if name not in known:
            raise InputError(
                f"there is no quantity {name!r} in the posterior, expected one of {', '.join(known)}; "
                "correct the name"
            )
    return {name: known[name] for name in names}


def _range(values: Array) -> tuple[float, float]:
    """Limits that hold nearly all samples, with a margin; never of zero width."""
    if not len(values):
        return 0.0, 1.0
    low, high = np.quantile(values, [0.002, 0.998])
    margin = 0.05 * (high - low) or 0.5
    return float(low - margin), float(high + margin)


def _histogram(ax: Axes, name: str, values: Array, prior: Array | None = None) -> Axes:
    values = values[np.isfinite(values)]
    prior = np.empty(0) if prior is None else prior[np.isfinite(prior)]
    limits = _range(np.concatenate([values, prior]))
    ax.hist(values, bins=30, range=limits, histtype="stepfilled", color=SKY, alpha=0.5, label="posterior")
    if len(prior):
        weights = np.full(len(prior), len(values) / len(prior))
        ax.hist(prior, bins=30, range=limits, histtype="step", color=BLACK, lw=0.9, weights=weights, label="prior")
    if len(values):
        low, middle, high = np.quantile(values, [0.16, 0.5, 0.84])
        ax.axvspan(low, high, color=BLUE, alpha=0.15, lw=0)
        ax.axvline(middle, color=BLUE, lw=1.0)
        ax.set_title(_with_errors(low, middle, high), fontsize=LABEL_POINTS, pad=4)
    ax.set(xlim=limits, yticks=[])
    ax.xaxis.set_major_locator(MaxNLocator(4, prune="both"))
    return finish(ax, LABELS.get(name, name), top=False)


def _with_errors(low: float, middle: float, high: float) -> str:
    """Median with upper and lower error, to two digits of the smaller error."""
    smaller = max(min(high - middle, middle - low), 1e-3)
    digits = int(np.clip(1 - np.floor(np.log10(smaller)), 0, 3))
    return f"${middle:.{digits}f}^{{+{high - middle:.{digits}f}}}_{{-{middle - low:.{digits}f}}}$"


def _contours(ax: Axes, x: Array, y: Array) -> None:
    """Contours around 68 and 95 % of the samples, from a smoothed 2-D histogram."""
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    limits = [_range(x), _range(y)]
    counts, x_edges, y_edges = np.histogram2d(x, y, bins=24, range=limits)
    for axis in (0, 1):
        counts = np.apply_along_axis(np.convolve, axis, counts, _SMOOTHING, "same")
    levels = [_level(counts, mass) for mass in (0.95, 0.68)]
    ax.plot(x, y, ".", ms=1.5, color=GREY, alpha=0.5, mew=0, rasterized=True, zorder=0.5)
    if 0 < levels[0] < levels[1] < counts.max():
        centres = [0.5 * (edges[1:] + edges[:-1]) for edges in (x_edges, y_edges)]
        ax.contourf(*centres, counts.T, [*levels, counts.max()], colors=["#aad9f4", BLUE], alpha=0.9)
    ax.set(xlim=limits[0], ylim=limits[1])
    for axis_ in (ax.xaxis, ax.yaxis):
        axis_.set_major_locator(MaxNLocator(4, prune="both"))


def _level(counts: Array, mass: float) -> float:
    """Height of the contour of a histogram that holds the fraction `mass` of it."""
    ordered = np.sort(counts, axis=None)[::-1]
    held = np.cumsum(ordered)
    return float(ordered[np.searchsorted(held, mass * held[-1]).clip(max=len(held) - 1)])
