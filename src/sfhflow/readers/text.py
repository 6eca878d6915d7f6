"""Plain text with columns wavelength, flux and error, separated by blanks, tabs or commas.

Comments begin with ``#``, ``!`` or ``%``.  A comment line (or an uncommented first line) that names the
columns is believed, with units in brackets, as in ``# wavelength[nm] flux ivar``; without names three columns
are taken to be wavelength in Angstrom, flux per unit wavelength and its standard deviation, and two to be the
first of these.  Comments may state ``redshift = 0.01``, ``medium = air``, ``resolution = 2000`` or
``fwhm = 2.5`` (Angstrom), or say that the wavelengths are in air or vacuum or in the rest frame.  What nobody
states is asked for, not guessed.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from sfhflow.errors import SpectrumError
from sfhflow.readers.columns import Column, find_roles, is_spectrum, spectrum_from_columns
from sfhflow.readers.opening import OpenedFile
from sfhflow.readers.raw import RawSpectra
from sfhflow.readers.stated import stated_in

__all__ = ["NAME", "identify", "read"]

NAME = "text"
_COMMENT = ("#", "!", "%")
_SEPARATOR = re.compile(r"[,\s]+")
_NAMED = re.compile(r"([A-Za-z_][\w./]*)\s*(?:[\[(]([^\])]*)[\])])?")
_DEFAULT_NAMES = ("wavelength", "flux", "error")
_CURE = "give columns wavelength, flux and error"


def identify(opened: OpenedFile) -> bool:
    """Tell whether the file is text."""
    return opened.text is not None


def read(opened: OpenedFile) -> RawSpectra:
    """Read the spectrum.

    Raises
    ------
    SpectrumError
        If the text is not a table of numbers, or has no errors.
    """
    where = str(opened.path)
    lines = [(i, line.strip()) for i, line in enumerate((opened.text or "").splitlines(), 1) if line.strip()]
    comments = [line.lstrip("#!% ") for _, line in lines if line.startswith(_COMMENT)]
    body = [(i, line) for i, line in lines if not line.startswith(_COMMENT)]
    titles = comments.copy()
    if body and is_spectrum([name for name, _ in _titles(body[0][1])]):
        titles.append(body.pop(0)[1])
    rows = _numbers(body, where)
    names = _column_names(titles, rows, where)
    columns = [Column(name, unit, rows[:, i]) for i, (name, unit) in enumerate(names)]
    return RawSpectra.of(spectrum_from_columns(columns, stated_in(titles), where=where, hint="in the comments"))


def _numbers(body: list[tuple[int, str]], where: str) -> NDArray[np.float64]:
    """Parse the lines into an array of shape (n, columns)."""
    if not body:
        raise SpectrumError(f"{where}: found no numbers, expected three columns; {_CURE}")
    rows: list[list[float]] = []
    for number, line in body:
        try:
            rows.append([float(word) for word in _SEPARATOR.split(line.strip(" ,\t"))])
        except ValueError as error:
            raise SpectrumError(
                f"{where}: line {number} reads {line[:40]!r}, expected numbers; {_CURE}, comments after #"
            ) from error
        if len(rows[-1]) != len(rows[0]):
            raise SpectrumError(
                f"{where}: line {number} has {len(rows[-1])} columns, expected {len(rows[0])} as before; "
                "complete the file"
            )
    return np.array(rows)


def _titles(line: str) -> list[tuple[str, str]]:
    """Split a line of titles: ``wave[nm, air] flux`` becomes ("wave", "nm"), ("flux", "")."""
    return [(match[1], (match[2] or "").split(",")[0].strip()) for match in _NAMED.finditer(line)]


def _column_names(titles: list[str], rows: NDArray[np.float64], where: str) -> list[tuple[str, str]]:
    n_columns = rows.shape[1]
    for line in titles:
        named = _titles(line)
        if len(named) == n_columns and is_spectrum([name for name, _ in named]):
            return [
                (name, unit if "wavelength" in find_roles([name]) else _flux_unit(unit)) for name, unit in named
            ]
    if n_columns < 2:
        raise SpectrumError(
            f"{where}: found {n_columns} columns, expected 3 (wavelength, flux, error); "
            "add a column with the error of each pixel"
        )
    if n_columns > 3:
        raise SpectrumError(
            f"{where}: found {n_columns} columns without names, expected 3 (wavelength, flux, error); "
            "name them in a comment line such as '# wavelength flux error mask'"
        )
    if len(rows) > 2 and np.array_equal(rows[:, 0], rows[0, 0] + np.arange(len(rows))) and rows[0, 0] in (0, 1):
        raise SpectrumError(
            f"{where}: the first column counts the lines, expected wavelengths there; remove it, or name the "
            "columns in a comment line such as '# number wavelength flux'"
        )
    return [(name, "") for name in _DEFAULT_NAMES[:n_columns]]


def _flux_unit(unit: str) -> str:
    return "" if unit.lower() in ("arbitrary", "arb", "relative", "normalised", "normalized") else unit
