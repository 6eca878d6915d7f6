"""Data cubes: which spaxels hold data, and the spectrum of one.

A cube has the shape (wavelength, y, x), and the spectrum of a spaxel the number y * n_x + x.  A cube of an
integral-field unit is a circle or a rhomb in a rectangle of blanks, and large, so it is passed through once,
some planes at a time, to find the spaxels with data, and then read one spectrum at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfhflow.errors import SpectrumError

__all__ = ["check_shape", "covered", "spectrum_at"]

_PLANES = 64


def covered(flux: NDArray[Any], weight: NDArray[Any]) -> list[int]:
    """Find the spaxels that hold data.

    Parameters
    ----------
    flux, weight : arrays of shape (n, y, x)
        Flux, and an error, a variance or an inverse variance that is positive where there are data.

    Returns
    -------
    list of int
        Numbers y * n_x + x of the spaxels that have a finite flux and a finite positive weight at some
        wavelength, rising.
    """
    found = np.zeros(flux.shape[1:], dtype=bool)
    for start in range(0, len(flux), _PLANES):
        planes = slice(start, start + _PLANES)
        good = np.isfinite(flux[planes]) & np.isfinite(weight[planes]) & (weight[planes] > 0)
        found |= good.any(axis=0)
    return np.flatnonzero(found).tolist()


def spectrum_at(cube: NDArray[Any], number: int) -> NDArray[Any]:
    """Return the spectrum (n,) of spaxel `number` = y * n_x + x of a cube (n, y, x)."""
    y, x = divmod(number, cube.shape[2])
    return cube[:, y, x]


def check_shape(where: str, name: str, cube: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Refuse a cube that is not of the shape of the flux.

    Raises
    ------
    SpectrumError
        If the shapes differ.
    """
    if cube.shape != shape:
        raise SpectrumError(
            f"{where}: HDU {name} has shape {cube.shape}, expected {shape} as the flux; download the file again"
        )
