"""Where the spectra of a survey come from: plain files, and ranges of rows of packed files and of tables.

A source can be counted without reading it, and cut into parts that are small enough to be sent to another process.
Plain files are never opened to be counted: millions of them would take hours.
"""

from __future__ import annotations

import glob
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from sfhflow.errors import InputError
from sfhflow.parquet import read_header
from sfhflow.readers import stem
from sfhflow.survey.entries import Entry, failure, file_entries
from sfhflow.survey.listed import is_listed, listed_entries, listed_rows
from sfhflow.survey.packed import HDF5_SUFFIXES, is_packed, packed_entries, packed_rows

__all__ = ["Files", "Rows", "Source", "find_sources"]

_FITS = (".fits", ".fit")
_COMPRESSED = (".fits.gz", ".fit.gz")
_ASCII_TABLES = (".csv", ".ecsv")
_TEXT = (".txt", ".dat", ".ascii", *_ASCII_TABLES)
_PARQUET = ".parquet"
# what lies beside DESI's spectra and holds none
_COMPANIONS = ("redrock", "rrdetails", "zbest", "fastspec", "emline", "qso_mgii", "qso_qn", "tile-qa")


class Source(Protocol):
    """A sequence of units (files or rows), each holding one spectrum or several."""

    def __len__(self) -> int:
        """Count the units."""

    def cut(self, start: int, stop: int) -> Source:
        """Select the units ``start <= i < stop``."""

    def sizes(self) -> Sequence[int]:
        """Bytes to be read for each unit, as far as that is known; empty if it is not."""

    def entries(self) -> Iterator[Entry]:
        """Read the spectra."""

    def identity(self) -> Iterator[str]:
        """Lines of text that differ whenever the source does."""


@dataclass(frozen=True)
class Files:
    """Plain files: their folder, their paths in it as the user gave them, and their sizes in bytes."""

    root: str
    paths: tuple[str, ...]
    n_bytes: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def cut(self, start: int, stop: int) -> Files:
        """Select files."""
        return replace(self, paths=self.paths[start:stop], n_bytes=self.n_bytes[start:stop])

    def sizes(self) -> Sequence[int]:
        """Size of each file."""
        return self.n_bytes

    def entries(self) -> Iterator[Entry]:
        """Read all spectra of all files."""
        for path in self.paths:
            yield from file_entries(path, Path(self.root, path))

    def identity(self) -> Iterator[str]:
        """Path and size of each file."""
        return (f"{path}\t{size}" for path, size in zip(self.paths, self.n_bytes, strict=True))


@dataclass(frozen=True)
class Rows:
    """Rows ``start <= i < stop`` of a packed file or of a table that lists files."""

    root: str
    path: str
    start: int
    stop: int
    n_bytes: int
    is_packed: bool

    def __len__(self) -> int:
        return self.stop - self.start

    def cut(self, start: int, stop: int) -> Rows:
        """Select rows."""
        return replace(self, start=self.start + start, stop=min(self.start + stop, self.stop))

    def sizes(self) -> Sequence[int]:
        """Nothing: rows are small, or their files unknown."""
        return ()

    def entries(self) -> Iterator[Entry]:
        """Read the spectra of the rows; damage ends them with one entry that says so."""
        path = Path(self.root, self.path)
        try:
            if self.is_packed:
                yield from packed_entries(self.path, path, self.start, self.stop)
            else:
                yield from listed_entries(path, self.start, self.stop)
        except Exception as error:  # noqa: BLE001 - see `failure`
            yield Entry(self.path, None, stem(self.path), failure(self.path, error))

    def identity(self) -> Iterator[str]:
        """Path, size and number of rows."""
        yield f"{self.path}\t{self.n_bytes}\t{self.start}\t{self.stop}\t{self.is_packed}"


def find_sources(inputs: Sequence[str], *, exclude: Path | None = None) -> list[Source]:
    """Find the spectra that files, folders, patterns and tables stand for, in a fixed order and each file once.

    Parameters
    ----------
    inputs : sequence of str
        Files, folders (searched to their bottom), patterns such as ``data/*/coadd-*.fits``, tables, packed files.
    exclude : Path, optional
        Folder to leave out: that of the results.

    Raises
    ------
    InputError
        If nothing is there, or a table or packed file named as such cannot be read.
    """
    root, seen = os.getcwd(), set[str]()
    sources: list[Source] = []
    plain: list[str] = []
    for path, is_named in (item for given in inputs for item in _expand(given, exclude)):
        real = os.path.realpath(path)
        if real in seen:
            continue
        seen.add(real)
        rows = _rows_of(root, path) if is_named else _rows_in_folder(root, path)
        if rows is None:
            plain.append(path)
        elif len(rows):
            sources += [*_files(root, plain), rows]
            plain = []
    sources += _files(root, plain)
    if not sources:
        raise InputError(
            f"{', '.join(inputs)}: found no spectrum, expected files; check the names and the folders"
        )
    return sources


def _files(root: str, paths: list[str]) -> list[Source]:
    return [Files(root, tuple(paths), tuple(map(_n_bytes, paths)))] if paths else []


def _n_bytes(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        # a link to nowhere: becomes a row with the error
        return 0


def _expand(given: str, exclude: Path | None) -> Iterator[tuple[str, bool]]:
    """Paths of the files that an argument stands for, and whether it named them."""
    matches = [given] if os.path.exists(given) else sorted(glob.glob(given, recursive=True))
    if not matches:
        raise InputError(f"{given}: no such file or folder, expected spectra; check the path or the pattern")
    for match in matches:
        if os.path.isdir(match):
            yield from ((path, False) for path in _walk(match, exclude))
        else:
            yield match, True


def _walk(folder: str, exclude: Path | None) -> Iterator[str]:
    suffixes = (*_FITS, *_COMPRESSED, *_TEXT, _PARQUET, *HDF5_SUFFIXES)
    # links may lead in a circle
    visited = {os.path.realpath(exclude)} if exclude is not None else set()
    for here, folders, names in os.walk(folder, followlinks=True, onerror=_unlisted):
        real = os.path.realpath(here)
        folders[:] = [] if real in visited else sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names) if real not in visited else ():
            if name.lower().endswith(suffixes) and not name.startswith((".", *_COMPANIONS)):
                yield os.path.join(here, name)
        visited.add(real)


def _unlisted(error: OSError) -> None:
    # nothing must be missing from a catalogue without a word
    raise InputError(
        f"{error.filename}: cannot be searched ({error.strerror}), expected a folder; check its permissions"
    ) from error


def _rows_in_folder(root: str, path: str) -> Rows | None:
    """As `_rows_of`, but only packed files count: a table in a folder may list the files beside it."""
    if not path.lower().endswith((_PARQUET, *HDF5_SUFFIXES)):
        return None
    try:
        rows = _rows_of(root, path)
    except InputError:
        # damaged: becomes a row with the error
        return None
    return rows if rows is None or rows.is_packed else rows.cut(0, 0)


def _rows_of(root: str, path: str) -> Rows | None:
    """Rows of a packed file or of a table; None for a plain file, and no rows for other tables."""
    names = _column_names(path)
    if not names:
        return None
    n_bytes, rows = _n_bytes(path), 0
    packed = path.lower().endswith((_PARQUET, *HDF5_SUFFIXES)) and is_packed(names)
    if packed:
        rows = packed_rows(path)
    elif is_listed(names):
        rows = listed_rows(path)
    elif not path.lower().endswith(_PARQUET):
        return None
    return Rows(root, path, 0, rows, n_bytes, is_packed=packed)


def _column_names(path: str) -> tuple[str, ...]:
    """Names of the columns of a file that could be packed or a table, from its header."""
    lower = path.lower()
    if lower.endswith(HDF5_SUFFIXES):
        return ("wavelength", "flux")
    if lower.endswith(_PARQUET):
        return read_header(path).names
    if lower.endswith(_ASCII_TABLES):
        return _ascii_names(path)
    return _fits_names(path) if lower.endswith(_FITS) else ()


def _ascii_names(path: str) -> tuple[str, ...]:
    """Words of the first line that is not a comment."""
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    except OSError:
        # the readers say why
        return ()
    return tuple(word.strip("\"'") for word in re.split(r"[,\s]+", first.strip()))


def _fits_names(path: str) -> tuple[str, ...]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            with fits.open(path, memmap=True, lazy_load_hdus=True) as hdus:
                return tuple(hdus[1].columns.names) if isinstance(hdus[1], fits.BinTableHDU) else ()
    except (OSError, IndexError, KeyError, TypeError, ValueError, AttributeError, fits.VerifyError):
        # damaged: the readers say how
        return ()
