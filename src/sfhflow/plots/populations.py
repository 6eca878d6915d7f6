"""Many galaxies: age, [M/H] or any other quantity against any column of a catalogue.

A point is the median of a galaxy's posterior.  The line is the running median of the points in bins that hold
equally many galaxies, with the 16 and 84 % quantiles of the points as a band: the spread of the medians, which
holds the intrinsic scatter and that of the errors, not the error of the line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from sfhflow.errors import InputError
from sfhflow.parquet import read_header, read_rows
from sfhflow.plots.quantities import LABELS
from sfhflow.plots.style import BLUE, COLUMN_INCHES, GREY, RED, finish, legend, new_figure

__all__ = ["population"]

Array = NDArray[np.float64]

_LABELS = {**LABELS, "redshift": "redshift", "snr": "S/N per pixel", "resolution": r"$\lambda$ / FWHM"}
_QUANTILES = ("_p16", "_p84", "_p2_5", "_p97_5")
# above, error bars would hide the points
_MOST_ERROR_BARS = 150


def population(
    catalogue: str | PathLike[str] | Mapping[str, ArrayLike],
    x: str = "sigma",
    y: Sequence[str] = ("age_mw", "mh"),
    *,
    trusted: bool = True,
    n_bins: int = 8,
    axes: Sequence[Axes] | None = None,
) -> list[Axes]:
    """Draw quantities of many galaxies against one column.

    Parameters
    ----------
    catalogue : path or mapping
        The folder that ``sfhflow survey`` wrote, one of its Parquet files, or columns by name.
    x : str
        Quantity (``sigma`` stands for its median, ``sigma_median``) or any other numerical column.
    y : sequence of str
        Likewise, a panel each.
    trusted : bool
        Leave out galaxies whose verdict is not ok.
    n_bins : int
        Bins of the running median, at most; none has fewer than ten galaxies.
    axes : sequence of Axes, optional
        Where to draw, one for each of `y`.

    Returns
    -------
    list of Axes

    Raises
    ------
    InputError
        If a column is missing, or no galaxy is left.
    """
    columns = _columns(catalogue, (x, *y), trusted=trusted)
    if axes is None:
        figure = new_figure(COLUMN_INCHES, 2.2 * len(y))
        axes = list(np.atleast_1d(figure.subplots(len(y), 1, sharex=True)))
    for ax, name in zip(axes, y, strict=True):
        _panel(ax, columns[x], columns[name], n_bins)
        finish(ax, _LABELS.get(x, x) if ax is axes[-1] else "", _LABELS.get(name, name))
    legend(axes[0])
    return list(axes)


def _panel(ax: Axes, x: Array, y: Array, n_bins: int) -> None:
    """Points (rows: value, p16, p84) with errors if they are few, and the running median."""
    known = np.isfinite(x[0]) & np.isfinite(y[0])
    x, y = x[:, known], y[:, known]
    n = x.shape[1]
    if n <= _MOST_ERROR_BARS:
        spread = [np.nan_to_num(np.abs(v[1:] - v[0])) for v in (x, y)]
        ax.errorbar(
            x[0], y[0], xerr=spread[0], yerr=spread[1], fmt="o", ms=2.5, lw=0.5, color=GREY, label="galaxies"
        )
    else:
        size, alpha = (3.0, 0.4) if n < 3000 else (1.0, 0.15)
        ax.plot(x[0], y[0], ".", ms=size, alpha=alpha, mew=0, color=GREY, label="galaxies", rasterized=True)
    bins = min(n_bins, n // 10)
    if bins < 2:
        return
    order = np.argsort(x[0])
    parts = [
        (np.median(x[0][part]), *np.quantile(y[0][part], [0.16, 0.5, 0.84]))
        for part in np.array_split(order, bins)
    ]
    middle, low, median, high = np.transpose(parts)
    ax.fill_between(middle, low, high, color=BLUE, alpha=0.25, lw=0, label="68 % of them", zorder=2.1)
    ax.plot(middle, median, "o-", color=RED, ms=3, lw=1.2, label="running median", zorder=2.2)


def _columns(
    catalogue: str | PathLike[str] | Mapping[str, ArrayLike], names: Sequence[str], *, trusted: bool
) -> dict[str, Array]:
    """Value, p16 and p84 of each column, shape (3, galaxies); the same value thrice where there are no errors."""
    files = [] if isinstance(catalogue, Mapping) else _files(Path(catalogue))
    known = set(catalogue) if isinstance(catalogue, Mapping) else set(read_header(files[0]).names)
    sources = {name: _source(name, known) for name in names}
    judged = {"verdict_ok"} & known if trusted else set()
    wanted = sorted(judged.union(*sources.values()))
    table = catalogue if isinstance(catalogue, Mapping) else _read(files, wanted)
    columns = {name: np.array([_numbers(table[column]) for column in triple]) for name, triple in sources.items()}
    # a row without an answer has no verdict either
    keep = _numbers(table["verdict_ok"]) == 1 if judged else np.ones(len(columns[names[0]][0]), dtype=bool)
    if not keep.any():
        raise InputError(
            "the catalogue holds no galaxy with a good verdict, expected at least one; give trusted=False for all"
        )
    return {name: values[:, keep] for name, values in columns.items()}


def _numbers(values: ArrayLike) -> Array:
    return np.array(
        [np.nan if value is None else value for value in np.asarray(values, dtype=object)], dtype=float
    )


def _source(name: str, known: set[str]) -> tuple[str, str, str]:
    if f"{name}_median" in known:
        errors = [f"{name}_{q}" if f"{name}_{q}" in known else f"{name}_median" for q in ("p16", "p84")]
        return f"{name}_median", errors[0], errors[1]
    if name in known:
        return name, name, name
    quantities = sorted(column.removesuffix("_median") for column in known if not column.endswith(_QUANTILES))
    raise InputError(f"there is no column {name!r}, expected one of {', '.join(quantities)}; correct the name")


def _files(path: Path) -> list[Path]:
    folder = path / "results" if (path / "results").is_dir() else path
    files = sorted(folder.glob("*.parquet")) if folder.is_dir() else [folder]
    if not files:
        raise InputError(f"{path}: found no Parquet files, expected the folder of a survey run; check the path")
    return files


def _read(files: Sequence[Path], names: Sequence[str]) -> dict[str, list[Any]]:
    rows = [row for file in files for row in read_rows(file, names=names)]
    return {name: [row[name] for row in rows] for name in names}
