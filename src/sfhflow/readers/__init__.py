"""Read spectra of surveys and of generic files, recognised by what they contain.

`read_spectrum` returns the one spectrum of a file, `read_spectra` all of them, and `iter_spectra` all of them
with an error in the place of each that cannot be used, for batches in which one bad spectrum must not stop
the others.  What the file does not state, the user must; what the user states wins.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np

from sfhflow.errors import SpectrumError
from sfhflow.readers.opening import open_file
from sfhflow.readers.raw import RawSpectrum, ReadOptions, to_spectrum
from sfhflow.readers.registry import READERS, read_raw
from sfhflow.spectrum import Medium, Spectrum

__all__ = ["READERS", "iter_spectra", "read_spectra", "read_spectrum", "stem"]


def read_spectrum(
    path: str | PathLike[str],
    *,
    redshift: float | None = None,
    medium: Medium | None = None,
    resolution: float | None = None,
    fwhm: float | None = None,
    index: int | None = None,
) -> Spectrum:
    """Read the one spectrum of a file.

    Parameters
    ----------
    path : str or path
        FITS or text file, possibly gzipped.
    redshift : float, optional
        Redshift; overrides the file.
    medium : {"air", "vacuum"}, optional
        Medium of the wavelengths; overrides the file.
    resolution : float, optional
        Resolving power lambda / FWHM; overrides the file.
    fwhm : float, optional
        Observed-frame FWHM of the line-spread function in Angstrom; overrides the file and excludes
        `resolution`.
    index : int, optional
        Which spectrum, if the file holds several.

    Returns
    -------
    Spectrum

    Raises
    ------
    SpectrumError
        If the file cannot be read, holds several spectra and `index` is not given, or lacks something vital.
    """
    options = ReadOptions(redshift, medium, resolution, fwhm)
    chosen = _select(Path(path), index)
    if len(chosen) > 1:
        numbers = [k for _, k, _ in chosen]
        raise SpectrumError(
            f"{path}: found {len(chosen)} spectra, expected one; choose by index={numbers[0]} ... "
            f"{numbers[-1]} or read all with read_spectra"
        )
    return _finish(Path(path), chosen[0], options)


def read_spectra(
    path: str | PathLike[str],
    *,
    redshift: float | None = None,
    medium: Medium | None = None,
    resolution: float | None = None,
    fwhm: float | None = None,
    index: int | None = None,
) -> list[Spectrum]:
    """Read all spectra of a file, or the one with the given index.

    Parameters
    ----------
    path, redshift, medium, resolution, fwhm, index
        As for `read_spectrum`.

    Returns
    -------
    list of Spectrum
        Named NAME_0, NAME_1 ... if the file holds several, NAME being the file's stem.  Spectra without any
        usable pixel are left out with a warning, if there are others.

    Raises
    ------
    SpectrumError
        If the file, or one of the spectra asked for, cannot be used.
    """
    options = ReadOptions(redshift, medium, resolution, fwhm)
    chosen = _select(Path(path), index)
    useful = [item for item in chosen if _has_data(item[2])]
    if 0 < len(useful) < len(chosen):
        blank = ", ".join(str(number) for _, number, raw in chosen if not _has_data(raw))
        warnings.warn(f"{path}: left out the spectra without any usable pixel: {blank}", stacklevel=2)
    return [_finish(Path(path), item, options) for item in useful or chosen]


def iter_spectra(
    path: str | PathLike[str],
    *,
    redshift: float | None = None,
    medium: Medium | None = None,
    resolution: float | None = None,
    fwhm: float | None = None,
) -> Iterator[tuple[int, str, Spectrum | SpectrumError]]:
    """Read the spectra of a file one after another, the bad ones too.

    Parameters
    ----------
    path, redshift, medium, resolution, fwhm
        As for `read_spectrum`.

    Yields
    ------
    index : int
        Number of the spectrum in the file.
    name : str
        Its name.
    spectrum : Spectrum or SpectrumError
        The spectrum, or why it cannot be used.

    Raises
    ------
    SpectrumError
        If the file as a whole cannot be read.
    """
    options = ReadOptions(redshift, medium, resolution, fwhm)
    for item in _select(Path(path), None):
        try:
            yield item[1], item[0], _finish(Path(path), item, options)
        except SpectrumError as error:
            yield item[1], item[0], error


def stem(path: str | PathLike[str]) -> str:
    """Return the name of a file without its last extension, and without ``.gz`` before that."""
    return Path(Path(path).name.removesuffix(".gz")).stem


def _select(path: Path, index: int | None) -> list[tuple[str, int, RawSpectrum]]:
    """Return name, number and content of the spectra asked for; the name tells if there are others."""
    reader, spectra = read_raw(open_file(path))
    numbers = [i if raw.index is None else raw.index for i, raw in enumerate(spectra)]
    names = [stem(path)] if len(spectra) == 1 else [f"{stem(path)}_{k}" for k in numbers]
    known = [replace(raw, meta={"reader": reader, **raw.meta}) for raw in spectra]
    items = list(zip(names, numbers, known, strict=True))
    if index is None:
        return items
    chosen = [item for item in items if item[1] == index]
    if not chosen:
        raise SpectrumError(
            f"{path}: there is no spectrum with index {index}, expected one of {len(items)} from "
            f"{numbers[0]} to {numbers[-1]}; choose one of them"
        )
    return chosen


def _has_data(raw: RawSpectrum) -> bool:
    good = np.isfinite(raw.flux) & (np.nan_to_num(raw.ivar) != 0)
    return bool(np.any(good if raw.mask is None else good & ~raw.mask))


def _finish(path: Path, item: tuple[str, int, RawSpectrum], options: ReadOptions) -> Spectrum:
    name, number, raw = item
    label = str(path) if name == stem(path) else f"{path}, spectrum {number}"
    return to_spectrum(raw, options, path=path, name=name, label=label)
