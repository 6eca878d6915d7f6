"""Tables that list spectra: a row names a file, and what the file does not tell or tells differently.

===============  =========================================================================================
column           meaning
===============  =========================================================================================
``file``         path, relative to the folder of the table (also ``filename``, ``path``, ``input``)
``index``        number of the spectrum in its file, optional
``target_id``    or its target, as DESI numbers them, optional (also ``targetid``)
``redshift``     overrides the file, optional (also ``z``)
``resolution``   lambda / FWHM, overrides the file, optional
``medium``       "air" or "vacuum", overrides the file, optional
``name``         name in the results, optional
===============  =========================================================================================

A row without index and target stands for all spectra of its file.  Names are in any case, and empty cells are as
if the column were not there.  Neighbouring rows of one file are read together, so a table is best sorted by file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from sfhflow.errors import InputError, SpectrumError
from sfhflow.parquet import read_header, read_rows
from sfhflow.readers import iter_spectra, stem
from sfhflow.spectrum import Spectrum
from sfhflow.survey.entries import Entry, failure

__all__ = ["is_listed", "listed_entries", "listed_rows"]

_NAMES = {
    "file": ("file", "filename", "path", "input"),
    "index": ("index",),
    "target_id": ("target_id", "targetid"),
    "redshift": ("redshift", "z"),
    "resolution": ("resolution",),
    "medium": ("medium",),
    "name": ("name",),
}


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a table; None where it says nothing."""

    file: str | None
    index: int | None
    target_id: str | None
    redshift: float | None
    resolution: float | None
    medium: str | None
    name: str | None
    problem: str | None = None

    @property
    def together(self) -> tuple[Any, ...]:
        """Rows that agree in this are read in one go."""
        is_whole = self.index is None and self.target_id is None
        return self.problem, self.file, self.medium, self.resolution, self.redshift is None, is_whole


def is_listed(names: Iterable[str]) -> bool:
    """Tell by the names of its columns whether a table lists spectra."""
    return "file" in _roles(list(names))


def listed_rows(path: str | Path) -> int:
    """Count the rows of a table.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    return read_header(path).n_rows if _is_parquet(path) else len(_table(str(path)))


def listed_entries(path: Path, start: int, stop: int) -> Iterator[Entry]:
    """Read the spectra of the rows ``start <= row < stop`` of a table; one not usable is an entry with the error.

    Parameters
    ----------
    path : Path
        The table.
    start, stop : int
        Range of rows.

    Raises
    ------
    InputError
        If the table itself cannot be read.
    """
    numbered = enumerate(_rows(path, start, stop), start)
    for _, together in groupby(numbered, lambda item: item[1].together):
        rows = [(f"{path}, row {number}", row) for number, row in together]
        first = rows[0][1]
        if first.problem is not None or first.file is None:
            problem = first.problem or "file is empty, expected a path; fill it in"
            yield from (_missing(where, row, f"{where}: {problem}") for where, row in rows)
        elif first.index is None and first.target_id is None:
            for _, row in rows:
                yield from _all_spectra(path.parent / first.file, row)
        else:
            yield from _chosen_spectra(path.parent / first.file, rows)


def _roles(names: Sequence[str]) -> dict[str, str]:
    """Column of each role; the first of several names wins."""
    lower = {name.lower(): name for name in reversed(names)}
    found = {role: [lower[name] for name in known if name in lower] for role, known in _NAMES.items()}
    return {role: columns[0] for role, columns in found.items() if columns}


def _is_parquet(path: str | Path) -> bool:
    return str(path).lower().endswith(".parquet")


@lru_cache(maxsize=1)
def _table(path: str) -> Table:
    """FITS, ECSV or CSV, whole; the last one is kept for the next range of rows."""
    kind = (
        "fits" if ".fit" in Path(path).name.lower() else "ascii.ecsv" if path.lower().endswith("ecsv") else "csv"
    )
    try:
        table = Table.read(path, **({"hdu": 1} if kind == "fits" else {}), format=kind)
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        raise InputError(
            f"{path}: cannot be read as a table ({' '.join(str(error).split())}), expected columns such as file, "
            "index, redshift; write it again"
        ) from error
    table.convert_bytestring_to_unicode()
    return table


def _rows(path: Path, start: int, stop: int) -> Iterator[_Row]:
    if _is_parquet(path):
        roles = _roles(read_header(path).names)
        records: Iterable[dict[str, Any]] = read_rows(path, start, stop, names=list(roles.values()))
    else:
        roles = _roles(_table(str(path)).colnames)
        part = _table(str(path))[start:stop]
        records = (dict(zip(roles.values(), row, strict=True)) for row in part[list(roles.values())].iterrows())
    for record in records:
        cells = {role: _cell(record[column]) for role, column in roles.items()}
        try:
            yield _Row(**{role: _as(role, cells.get(role)) for role in _NAMES})
        except (TypeError, ValueError, OverflowError) as error:
            nothing: dict[str, Any] = dict.fromkeys(_NAMES)
            problem = (
                f"a cell has the wrong kind of value ({error}), expected numbers in columns of numbers; mend it"
            )
            yield _Row(**nothing | {"file": str(cells.get("file") or "") or None, "problem": problem})


def _cell(value: Any) -> Any:
    """Return None for whatever stands for an empty cell."""
    if value is None or np.ma.is_masked(value):
        return None
    if isinstance(value, str):
        return value.strip() or None
    return None if value != value else value


def _as(role: str, value: Any) -> Any:
    if value is None:
        return None
    if role in ("redshift", "resolution"):
        return float(value)
    if role in ("index", "target_id"):
        number = int(value)
        if not isinstance(value, str) and number != value:
            raise ValueError(f"{role} is {value}")
        return number if role == "index" else str(number)
    return str(value)


def _all_spectra(path: Path, row: _Row) -> Iterator[Entry]:
    for index, name, item in _read(path, row):
        yield _entry(row, index, row.name or name, item)


def _chosen_spectra(path: Path, rows: list[tuple[str, _Row]]) -> Iterator[Entry]:
    indices = {row.index for _, row in rows if row.index is not None}
    targets = {row.target_id for _, row in rows if row.index is None}
    found: dict[int | str | None, tuple[int | None, str, Spectrum | InputError]] = {}
    damage: InputError | None = None
    for index, name, item in _read(path, rows[0][1]):
        target = item.meta.get("target_id") if isinstance(item, Spectrum) else None
        damage = item if index is None and isinstance(item, InputError) else damage
        if index in indices:
            found[index] = index, name, item
        if target in targets:
            found[target] = index, name, item
    for where, row in rows:
        wanted = row.target_id if row.index is None else row.index
        if wanted in found:
            index, name, item = found[wanted]
            yield _entry(row, index, row.name or name, item)
        elif damage is not None:
            yield Entry(str(row.file), row.index, row.name or stem(path), damage)
        else:
            what = "index" if row.index is not None else "target_id"
            yield _missing(
                where, row, f"{where}: {path} has no spectrum with {what} {wanted}, expected one; check it"
            )


def _read(path: Path, row: _Row) -> Iterator[tuple[int | None, str, Spectrum | InputError]]:
    # the redshift differs from row to row: here it only has to be known
    redshift = None if row.redshift is None else 0.0
    try:
        yield from iter_spectra(path, redshift=redshift, medium=row.medium, resolution=row.resolution)  # type: ignore[arg-type]
    except Exception as error:  # noqa: BLE001 - see `failure`
        yield None, stem(path), failure(path, error)


def _entry(row: _Row, index: int | None, name: str, item: Spectrum | InputError) -> Entry:
    if isinstance(item, Spectrum):
        try:
            item = replace(item, name=name, redshift=item.redshift if row.redshift is None else row.redshift)
        except SpectrumError as error:
            item = error
    return Entry(str(row.file), index, name, item)


def _missing(where: str, row: _Row, message: str) -> Entry:
    return Entry(row.file or where, row.index, row.name or stem(row.file or where), SpectrumError(message))
