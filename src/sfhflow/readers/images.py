"""Stacks and coadds as named images: FLUX, WAVE and an error, as fastspecfit writes DESI stacks.

FLUX holds one spectrum (n,) or one a row (rows, n), in the primary unit or an extension; WAVE (WAVELENGTH,
LAMBDA, LOGLAM) its wavelengths (n,), and IVAR, ERROR, SIGMA, VAR ... and MASK (nonzero is bad) have the shape
of FLUX.  Units and roles are those of `sfhflow.readers.columns`; redshift, medium (AIRORVAC = 'vac') and
resolution come from the headers of the primary unit, FLUX and WAVE, and a table with a column Z and a row a
spectrum tells the redshifts too.  MaNGA's files, which have images of these names, have a reader of their own; so
only files that say the medium with the wavelengths or hold the flux in their primary unit are taken.

Source: fastspecfit (github.com/desihub/fastspecfit), ``templates/templates.py``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfhflow.errors import SpectrumError
from sfhflow.readers.columns import Column, find_roles, spectrum_from_columns
from sfhflow.readers.opening import OpenedFile
from sfhflow.readers.raw import RawSpectra, RawSpectrum
from sfhflow.readers.stated import header_lines, stated_in

__all__ = ["NAME", "identify", "read"]

NAME = "images"
_WAVELENGTHS = ("wavelength", "log10", "ln")


def identify(opened: OpenedFile) -> bool:
    """Tell whether there are images of flux and wavelength that are not MaNGA's."""
    roles = _roles(opened)
    wave = next((roles[role] for role in _WAVELENGTHS if role in roles), None)
    if wave is None or "flux" not in roles or roles["flux"].header.get("NAXIS") not in (1, 2):
        return False
    return roles["flux"] is opened.hdus[0] or "AIRORVAC" in wave.header  # type: ignore[index]


def read(opened: OpenedFile) -> RawSpectra:
    """Read all rows.

    Raises
    ------
    SpectrumError
        If an image is of another shape.
    """
    where, roles = str(opened.path), _roles(opened)
    flux = np.atleast_2d(roles["flux"].data)
    images = {role: _rows(hdu, flux, where) for role, hdu in roles.items() if role not in ("flux", *_WAVELENGTHS)}
    axis = {role: np.ravel(hdu.data) for role, hdu in roles.items() if role in _WAVELENGTHS}
    units = {role: str(hdu.header.get("BUNIT", "")) for role, hdu in roles.items()}
    headers = [opened.hdus[0].header, *(hdu.header for hdu in roles.values())]  # type: ignore[index]
    stated = stated_in([line for header in headers for line in header_lines(header)])
    redshifts = _redshifts(opened, len(flux))

    def make(row: int) -> RawSpectrum:
        values = {"flux": flux[row], **axis, **{role: rows[row] for role, rows in images.items()}}
        columns = [Column(role, units[role] if role != "log10" else "", array) for role, array in values.items()]
        named = [replace(column, name=_NAMES.get(column.name, column.name)) for column in columns]
        known = stated if redshifts is None else replace(stated, redshift=float(redshifts[row]))
        return spectrum_from_columns(named, known, where=where, hint="(no Z or REDSHIFT in headers or tables)")

    return RawSpectra(range(len(flux)), make)


# a name of each role for `spectrum_from_columns`, where the role is not itself one
_NAMES = {"log10": "loglam", "ln": "lnlam"}


def _roles(opened: OpenedFile) -> dict[str, Any]:
    """Images by role; the first of several wins."""
    images = [hdu for hdu in opened.hdus or () if hdu.is_image and hdu.name and hdu.header.get("NAXIS", 0) > 0]
    names = [hdu.name for hdu in images]
    return {role: images[i] for role, i in find_roles(names).items()}


def _rows(hdu: Any, flux: NDArray[Any], where: str) -> NDArray[Any]:
    rows = np.atleast_2d(hdu.data)
    if rows.shape != flux.shape:
        raise SpectrumError(
            f"{where}: HDU {hdu.name} has shape {rows.shape}, expected {flux.shape} as the flux; "
            "download the file again"
        )
    return rows


def _redshifts(opened: OpenedFile, n_rows: int) -> NDArray[Any] | None:
    for hdu, columns in opened.tables():
        name = columns.get("z", columns.get("redshift"))
        if name and len(hdu.data) == n_rows:
            return np.asarray(hdu.data[name], dtype=float)
    return None
