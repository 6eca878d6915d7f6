"""What an encoder has learned: correlations of its latent numbers, where in the spectrum they look, and a map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from sfhflow.errors import InputError
from sfhflow.plots.style import BLUE, COLUMN_INCHES, GREY, LABEL_POINTS, TICK_POINTS, axes_or_new, finish

__all__ = ["correlation_matrix", "embedding", "flux_correlation"]

Array = NDArray[np.float64]


def correlation_matrix(
    correlation: ArrayLike, *, labels: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw a matrix of correlation coefficients.

    Parameters
    ----------
    correlation : array of shape (k, k)
        Pearson's coefficients, from -1 to 1.
    labels : sequence of str, optional
        Names of rows and columns; numbers from 1 by default.
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    InputError
        If the matrix is not square.
    """
    values = np.asarray(correlation, dtype=float)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise InputError(f"correlation: found shape {values.shape}, expected a square matrix; give (k, k)")
    ax = axes_or_new(ax, height=0.9 * COLUMN_INCHES)
    image = ax.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1)
    names = labels if labels is not None else [str(k + 1) for k in range(len(values))]
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), names)
    _colour_bar(ax, image, "Pearson's $r$")
    numbered = labels is None
    finish(ax, "latent" if numbered else "", "latent" if numbered else "", top=False)
    ax.tick_params(which="both", length=0)
    return ax


def flux_correlation(
    wavelength: ArrayLike,
    correlation: ArrayLike,
    *,
    lines: Mapping[str, float] | None = None,
    names: bool = True,
    label: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw the strength of a correlation with the flux, along wavelength.

    Parameters
    ----------
    wavelength : array of shape (L,)
        Rest-frame air wavelengths in Angstrom.
    correlation : array of shape (L,)
        Pearson's coefficient of a quantity with the flux at each wavelength; its absolute value is drawn.
    lines : mapping of str to float, optional
        Wavelengths in Angstrom to be marked, by name.
    names : bool
        Whether the names are written above the frame.
    label : str
        What the flux is correlated with, for the axis.
    ax : Axes, optional
        Where to draw.
    """
    ax = axes_or_new(ax, height=1.5)
    x = np.asarray(wavelength, dtype=float)
    for name, centre in (lines or {}).items():
        if x[0] < centre < x[-1]:
            ax.axvline(centre, color=GREY, lw=0.6, ls=":")
            if names:
                # above the frame
                ax.text(centre, 1.03, name, fontsize=TICK_POINTS - 1, rotation=90, ha="center", va="bottom")
    ax.plot(x, np.abs(np.asarray(correlation, dtype=float)), color=BLUE, lw=0.7)
    ax.set(xlim=(x[0], x[-1]), ylim=(0, 1))
    return finish(ax, "rest-frame wavelength in air [Å]", f"$|r|$ {label}".strip(), top=False)


def embedding(points: ArrayLike, values: ArrayLike, *, label: str, ax: Axes | None = None) -> Axes:
    """Draw a map of many galaxies, coloured by a quantity.

    Parameters
    ----------
    points : array of shape (n, 2)
        Places on the map; its axes have no unit.
    values : array of shape (n,)
        The quantity; colours span its central 96 %.
    label : str
        Its name and unit, for the colour bar.
    ax : Axes, optional
        Where to draw.
    """
    ax = axes_or_new(ax, height=2.2)
    place, colour = np.asarray(points, dtype=float), np.asarray(values, dtype=float)
    known = np.isfinite(colour)
    low, high = np.quantile(colour[known], [0.02, 0.98]) if known.any() else (0.0, 1.0)
    # small enough not to hide one another
    size = np.clip(2000.0 / max(1, len(place)), 0.8, 12.0)
    image = ax.scatter(
        place[known, 0],
        place[known, 1],
        c=colour[known],
        s=size,
        vmin=low,
        vmax=high,
        cmap="viridis",
        lw=0,
        rasterized=True,
    )
    _colour_bar(ax, image, label)
    ax.set(xticks=[], yticks=[])
    return finish(ax, "first coordinate", "second coordinate", top=False)


def _colour_bar(ax: Axes, image: object, label: str) -> None:
    figure = ax.get_figure(root=True)
    assert figure is not None
    bar = figure.colorbar(image, ax=ax)  # type: ignore[arg-type]
    bar.set_label(label, fontsize=LABEL_POINTS)
    bar.ax.tick_params(labelsize=TICK_POINTS, width=0.6)
