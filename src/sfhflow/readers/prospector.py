"""Observations in the layout of Prospector: columns ``wavelength``, ``spectrum``, ``unc`` and ``mask``.

Prospector's observation dictionary holds vacuum wavelengths, fluxes in maggies (f_nu) and their
uncertainties, and its ``mask`` is True for the pixels to be *used*, the reverse of everybody else; hence a
reader of its own.  A column unit or keyword FLUXUNIT that names another flux unit is obeyed.

Source: Johnson, Leja, Conroy & Speagle 2021, ApJS 254, 22; prospect.readthedocs.io, "Data Formats".
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sfhflow.readers.columns import spectrum_from_columns
from sfhflow.readers.opening import OpenedFile
from sfhflow.readers.raw import RawSpectra
from sfhflow.readers.stated import header_lines, stated_in
from sfhflow.readers.table import fits_columns

__all__ = ["NAME", "identify", "read"]

NAME = "prospector"
_COLUMNS = {"wavelength", "spectrum", "unc", "mask"}


def identify(opened: OpenedFile) -> bool:
    """Tell whether a FITS table has the keys of Prospector's observation dictionary."""
    return _table(opened) is not None


def read(opened: OpenedFile) -> RawSpectra:
    """Read the spectrum.

    Raises
    ------
    SpectrumError
        If errors are negative or a unit is not understood.
    """
    hdu = _table(opened)
    raw = spectrum_from_columns(
        fits_columns(hdu),
        stated_in(header_lines(hdu.header)),
        where=str(opened.path),
        flux_unit=str(hdu.header.get("FLUXUNIT", "maggies")),
        hint="(no REDSHIFT or Z in the header)",
    )
    return RawSpectra.of(replace(raw, mask=~raw.mask, medium=raw.medium or "vacuum"))  # type: ignore[operator]


def _table(opened: OpenedFile) -> Any:
    return next((hdu for hdu, columns in opened.tables() if columns.keys() >= _COLUMNS), None)
