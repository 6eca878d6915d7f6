"""Tables with recognisable columns: FITS binary or ASCII tables, and ECSV.

The first table with a wavelength and a flux column is taken; names, units and the conversions they cause are
those of `sfhflow.readers.columns`, with nonzero ``mask`` values marking bad pixels.  A cell may hold a whole
array, as in ESO's products (one row, one array a column); then every row is a spectrum.  Redshift, medium and
resolution come from the header's keywords and comments (`sfhflow.readers.stated`) or from the user.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from sfhflow.errors import SpectrumError
from sfhflow.readers.columns import Column, is_spectrum, spectrum_from_columns
from sfhflow.readers.opening import OpenedFile
from sfhflow.readers.raw import RawSpectra
from sfhflow.readers.stated import header_lines, stated_in

__all__ = ["NAME", "fits_columns", "identify", "read"]

NAME = "table"
_ECSV_MAGIC = "# %ECSV"


def identify(opened: OpenedFile) -> bool:
    """Tell whether there is an ECSV table, or a FITS table with wavelengths and fluxes."""
    if opened.text is not None:
        return opened.text.startswith(_ECSV_MAGIC)
    return _fits_table(opened) is not None


def read(opened: OpenedFile) -> RawSpectra:
    """Read the table.

    Raises
    ------
    SpectrumError
        If errors are missing or a unit is not understood.
    """
    if opened.text is not None:
        columns, lines, flux_unit = *_ecsv(opened), ""
    else:
        hdu = _fits_table(opened)
        columns, flux_unit = fits_columns(hdu), str(hdu.header.get("FLUXUNIT", ""))
        lines = header_lines(hdu.header) + header_lines(opened.hdus[0].header)  # type: ignore[index]
    stated = stated_in([*lines, *(f"wave: {column.name}" for column in columns)])
    rows = _rows(columns)
    where, hint = str(opened.path), "(no REDSHIFT or Z in the header)"
    return RawSpectra(
        range(len(rows)),
        lambda i: spectrum_from_columns(rows[i], stated, where=where, flux_unit=flux_unit, hint=hint),
    )


def fits_columns(hdu: Any) -> list[Column]:
    """Return the columns of a FITS table."""
    return [Column(c.name, c.unit or "", np.asarray(hdu.data[c.name])) for c in hdu.columns]


def _fits_table(opened: OpenedFile) -> Any:
    return next((hdu for hdu, columns in opened.tables() if is_spectrum(list(columns))), None)


def _ecsv(opened: OpenedFile) -> tuple[list[Column], list[str]]:
    try:
        table = Table.read(opened.text, format="ascii.ecsv")
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise SpectrumError(
            f"{opened.path}: found a damaged ECSV table ({' '.join(str(error).split())}), expected "
            "astropy's; write the file again"
        ) from error
    if not is_spectrum(table.colnames):
        raise SpectrumError(
            f"{opened.path}: found columns {', '.join(table.colnames)}, expected wavelength, flux and error; "
            "rename the columns"
        )
    columns = [Column(n, str(table[n].unit or ""), _filled(table[n])) for n in table.colnames]
    return columns, [f"{key} = {value}" for key, value in table.meta.items()]


def _filled(column: Any) -> NDArray[Any]:
    """Return the values with NaN where a number is masked."""
    values = np.ma.asarray(column)
    return values.filled(np.nan) if values.dtype.kind == "f" else np.asarray(values.data)


def _rows(columns: Sequence[Column]) -> list[list[Column]]:
    """Split columns of arrays (rows, n) into one list of columns a row."""
    arrays = [column for column in columns if column.values.ndim == 2 and column.values.shape[1] > 1]
    if not is_spectrum([column.name for column in arrays]):
        return [list(columns)]
    n_rows = len(arrays[0].values)
    return [[Column(c.name, c.unit, c.values[i]) for c in arrays] for i in range(n_rows)]
