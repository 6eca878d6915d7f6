"""Packed files: many spectra in one Parquet or HDF5 file, read by ranges of rows.

Millions of small files are slow on every file system; a packed file holds them as rows of a table.

============== ============================ ==============================================================
name           Parquet column               HDF5 dataset
============== ============================ ==============================================================
`wavelength`   list of numbers (Angstrom)   (rows, pixels), or (pixels,) if all rows share it
`flux`         list of numbers              (rows, pixels)
`ivar`         list of numbers              (rows, pixels)
`redshift`     number                       (rows,)
`mask`         list of bool, optional       (rows, pixels), optional; true is bad
`resolution`   number or list, optional     (rows,) or (rows, pixels), optional; lambda / FWHM, NaN is unknown
`medium`       "vacuum" or "air", optional  (rows,), or an attribute of the file, optional; vacuum by default
`name`         text, optional               (rows,), optional; STEM_ROW by default
`flux_unit`    text, optional               (rows,), or an attribute of the file, optional; unknown by default
`distance_mpc` number, optional             (rows,), optional; luminosity distance, NaN is that of the redshift
============== ============================ ==============================================================

Rows of different lengths are padded in HDF5 with pixels of zero `ivar`, on wavelengths that go on rising.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from sfhflow.errors import InputError, SpectrumError
from sfhflow.extras import optional
from sfhflow.parquet import Column, read_header, read_rows, whole_file, write_table
from sfhflow.readers import stem
from sfhflow.spectrum import Spectrum
from sfhflow.survey.entries import Entry

__all__ = ["HDF5_SUFFIXES", "is_packed", "packed_entries", "packed_rows", "write_packed"]

HDF5_SUFFIXES = (".h5", ".hdf5")
_REQUIRED = ("wavelength", "flux", "ivar", "redshift")
_OPTIONAL = ("mask", "resolution", "medium", "name", "flux_unit", "distance_mpc")
# rows of a row group: a shard reads little more than its own rows
_GROUP = 256


def is_packed(names: Iterable[str]) -> bool:
    """Tell by the names of its columns whether a table holds spectra."""
    return {"wavelength", "flux"} <= set(names)


def packed_rows(path: str | Path) -> int:
    """Count the spectra of a packed file without reading them.

    Raises
    ------
    InputError
        If the file cannot be read or lacks a column.
    """
    if _is_hdf5(path):
        with _open(path) as file:
            _check_columns(path, file)
            _check_lengths(path, file)
            return len(file["flux"])
    header = read_header(path)
    _check_columns(path, header.names)
    return header.n_rows


def packed_entries(given: str, path: Path, start: int, stop: int) -> Iterator[Entry]:
    """Read the spectra ``start <= row < stop``; one that is not usable is an entry with the error.

    Parameters
    ----------
    given : str
        The file as the user named it.
    path : Path
        Where it lies.
    start, stop : int
        Range of rows.

    Raises
    ------
    InputError
        If the file as a whole cannot be read.
    """
    rows = _hdf5_rows(path, start, stop) if _is_hdf5(path) else _parquet_rows(path, start, stop)
    for index, row in enumerate(rows, start):
        name = str(row.get("name") or f"{stem(given)}_{index}")
        try:
            yield Entry(given, index, name, _spectrum(row, name, f"{given}, row {index}"))
        except SpectrumError as error:
            yield Entry(given, index, name, error)


def write_packed(spectra: Iterable[Spectrum], path: str | Path) -> None:
    """Write spectra to a packed file: HDF5 if its name ends in .h5 or .hdf5, otherwise Parquet.

    Parameters
    ----------
    spectra : iterable of Spectrum
        At least one; taken a few hundred at a time for Parquet, all at once for HDF5, which needs them to have
        the same number of pixels.
    path : str or path
        The file.

    Raises
    ------
    InputError
        If there is no spectrum, their lengths differ in HDF5, or the file cannot be written.
    """
    groups = map(_columns, _groups(iter(spectra)))
    first = next(groups, None)
    if first is None:
        raise InputError(f"{path}: there is no spectrum to write, expected at least one; check the input")
    if _is_hdf5(path):
        _write_hdf5(path, [first, *groups])
    else:
        write_table(path, (part for some in ([first], groups) for part in some))


def _is_hdf5(path: str | Path) -> bool:
    return str(path).lower().endswith(HDF5_SUFFIXES)


def _check_columns(path: str | Path, names: Iterable[str]) -> None:
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        raise InputError(
            f"{path}: there is no {missing[0]!r} (found {', '.join(names)}), expected a packed file with "
            f"{', '.join(_REQUIRED)}; rename or add it"
        )


def _check_lengths(path: str | Path, file: Any) -> None:
    lengths = {name: len(file[name]) for name in (*_REQUIRED, *_OPTIONAL) if name in file}
    if file["wavelength"].ndim == 1:
        del lengths["wavelength"]
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(
            f"{path}: datasets have different lengths ({found}), expected one number of rows; mend it"
        )


def _spectrum(row: dict[str, Any], name: str, label: str) -> Spectrum:
    missing = [key for key in _REQUIRED if row.get(key) is None]
    if missing:
        raise SpectrumError(f"{label}: {missing[0]} is null, expected a value; fill it in or leave the row out")
    resolution = row.get("resolution")
    unknown = resolution is None or not np.any(np.isfinite(resolution))
    distance = row.get("distance_mpc")
    try:
        return Spectrum(
            wavelength=row["wavelength"],
            flux=row["flux"],
            ivar=row["ivar"],
            redshift=float(row["redshift"]),
            mask=row.get("mask"),  # type: ignore[arg-type]
            resolution=None if unknown else resolution,
            medium=row.get("medium") or "vacuum",
            name=name,
            flux_unit=row.get("flux_unit") or "",
            distance_mpc=None if distance is None or np.isnan(distance) else float(distance),
        )
    except (TypeError, ValueError) as error:
        raise SpectrumError(f"{label}: {error}") from error


def _parquet_rows(path: Path, start: int, stop: int) -> Iterator[dict[str, Any]]:
    names = read_header(path).names
    return read_rows(path, start, stop, names=[n for n in (*_REQUIRED, *_OPTIONAL) if n in names])


def _hdf5_rows(path: Path, start: int, stop: int) -> Iterator[dict[str, Any]]:
    with _open(path) as file:
        n_rows, shared = len(file["flux"]), {}
        stated = {name: _text(file.attrs[name]) for name in ("medium", "flux_unit") if name in file.attrs}
        if file["wavelength"].ndim == 1:
            shared["wavelength"] = file["wavelength"][:]
        names = [n for n in (*_REQUIRED, *_OPTIONAL) if n in file and n not in shared]
        for low in range(start, min(stop, n_rows), _GROUP):
            part = {name: file[name][low : min(low + _GROUP, stop)] for name in names}
            for values in zip(*part.values(), strict=True):
                row = {name: _text(value) for name, value in zip(part, values, strict=True)}
                yield {**stated, **shared, **row}


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _groups(spectra: Iterator[Spectrum]) -> Iterator[list[Spectrum]]:
    while group := list(islice(spectra, _GROUP)):
        yield group


def _columns(some: list[Spectrum]) -> dict[str, Column]:
    """Columns of a packed file."""
    floats = {key: Column([getattr(s, key) for s in some], "floats") for key in ("wavelength", "flux", "ivar")}
    return {
        **floats,
        "mask": Column([s.mask for s in some], "bools"),
        "redshift": Column([s.redshift for s in some]),
        "resolution": Column([s.resolution for s in some], "floats"),
        "medium": Column([s.medium for s in some], "string"),
        "name": Column([s.name for s in some], "string"),
        "flux_unit": Column([s.flux_unit for s in some], "string"),
        "distance_mpc": Column([s.distance_mpc for s in some]),
    }


def _write_hdf5(path: str | Path, groups: list[dict[str, Column]]) -> None:
    h5py = optional("h5py", extra="hdf5")
    rows = {key: [value for group in groups for value in group[key].values] for key in groups[0]}
    lengths = {len(flux) for flux in rows["flux"]}
    if len(lengths) > 1:
        raise InputError(
            f"{path}: the spectra have from {min(lengths)} to {max(lengths)} pixels, expected one number in an "
            "HDF5 file; write a Parquet file"
        )
    unknown = np.full(lengths.pop(), np.nan)
    rows["resolution"] = [unknown if value is None else value for value in rows["resolution"]]
    rows["distance_mpc"] = [np.nan if value is None else value for value in rows["distance_mpc"]]
    with whole_file(path) as temporary, h5py.File(temporary, "w") as file:
        for key in ("wavelength", "flux", "ivar", "mask", "redshift", "resolution", "distance_mpc"):
            file.create_dataset(key, data=np.array(rows[key]), compression="gzip", shuffle=True, chunks=True)
        for key in ("medium", "name", "flux_unit"):
            file.create_dataset(key, data=rows[key], dtype=h5py.string_dtype())


@contextmanager
def _open(path: str | Path) -> Iterator[Any]:
    h5py = optional("h5py", extra="hdf5")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read as HDF5 ({error}), expected a whole packed file; write or download it again"
        ) from error
