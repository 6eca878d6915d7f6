"""Read spectra of surveys and of generic files, recognised by what they contain.

`read_spectrum` returns the one spectrum of a file, `read_spectra` all of them, and `iter_spectra` all of them
with an error in the place of each that cannot be used, for batches in which one bad spectrum must not stop
the others.  What the file does not state, the user must; what the user states wins.  `from_arrays` and
`from_specutils` take what is in memory already, and `deredden` removes the dust of the Milky Way.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np

from sfhflow.errors import SpectrumError
from sfhflow.readers.convert import from_arrays, from_specutils
from sfhflow.readers.dustmap import map_ebv
from sfhflow.readers.galactic import deredden
from sfhflow.readers.opening import open_file
from sfhflow.readers.raw import RawSpectra, RawSpectrum, ReadOptions, to_spectrum
from sfhflow.readers.registry import READERS, read_raw
from sfhflow.spectrum import Medium, Spectrum

__all__ = [
    "READERS",
    "deredden",
    "from_arrays",
    "from_specutils",
    "iter_spectra",
    "map_ebv",
    "read_spectra",
    "read_spectrum",
    "stem",
]


def read_spectrum(
    path: str | PathLike[str],
    *,
    redshift: float | None = None,
    medium: Medium | None = None,
    resolution: float | None = None,
    fwhm: float | None = None,
    ebv: float | None = None,
    snr: float | None = None,
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
    ebv : float, optional
        E(B-V) of the Milky Way, for which the spectrum is corrected (`deredden`).
    snr : float, optional
        Signal-to-noise ratio per pixel of a file without errors: all pixels get one error, the median flux
        divided by it; replaces the errors of a file that has some.
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
    options = ReadOptions(redshift, medium, resolution, fwhm, ebv, snr)
    file = _open(path)
    numbers = file.chosen(index)
    if len(numbers) > 1:
        raise SpectrumError(
            f"{path}: found {len(numbers)} spectra, expected one; choose by index={numbers[0]} ... "
            f"{numbers[-1]} or read all with read_spectra"
        )
    return file.spectrum(file.raw(numbers[0]), numbers[0], options)


def read_spectra(
    path: str | PathLike[str],
    *,
    redshift: float | None = None,
    medium: Medium | None = None,
    resolution: float | None = None,
    fwhm: float | None = None,
    ebv: float | None = None,
    snr: float | None = None,
    index: int | None = None,
) -> list[Spectrum]:
    """Read all spectra of a file, or the one with the given index.

    Parameters
    ----------
    path, redshift, medium, resolution, fwhm, ebv, snr, index
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
    options = ReadOptions(redshift, medium, resolution, fwhm, ebv, snr)
    file, spectra, blank = _open(path), [], {}
    for number in file.chosen(index):
        raw = file.raw(number)
        if _has_data(raw):
            spectra.append(file.spectrum(raw, number, options))
        else:
            blank[number] = raw
    if not spectra:
        # refused with the reason
        return [file.spectrum(raw, number, options) for number, raw in blank.items()]
    if blank:
        numbers = ", ".join(map(str, blank))
        warnings.warn(f"{path}: left out the spectra without any usable pixel: {numbers}", stacklevel=2)
    return spectra


def iter_spectra(
    path: str | PathLike[str],
    *,
    redshift: float | None = None,
    medium: Medium | None = None,
    resolution: float | None = None,
    fwhm: float | None = None,
    ebv: float | None = None,
    snr: float | None = None,
) -> Iterator[tuple[int, str, Spectrum | SpectrumError]]:
    """Read the spectra of a file one after another, the bad ones too.

    Only one spectrum is held in memory at a time, so this is the way to go through a data cube.

    Parameters
    ----------
    path, redshift, medium, resolution, fwhm, ebv, snr
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
    options = ReadOptions(redshift, medium, resolution, fwhm, ebv, snr)
    file = _open(path)
    for number in file.spectra.numbers:
        try:
            yield number, file.name(number), file.spectrum(file.raw(number), number, options)
        except SpectrumError as error:
            yield number, file.name(number), error


def stem(path: str | PathLike[str]) -> str:
    """Return the name of a file without its last extension, and without ``.gz`` before that."""
    return Path(Path(path).name.removesuffix(".gz")).stem


@dataclass(frozen=True, eq=False)
class _File:
    """A file whose reader is known, with its spectra still to be made."""

    path: Path
    reader: str
    spectra: RawSpectra

    def name(self, number: int) -> str:
        return stem(self.path) if len(self.spectra.numbers) == 1 else f"{stem(self.path)}_{number}"

    def raw(self, number: int) -> RawSpectrum:
        raw = self.spectra.make(number)
        return replace(raw, meta={"reader": self.reader, **raw.meta})

    def spectrum(self, raw: RawSpectrum, number: int, options: ReadOptions) -> Spectrum:
        several = len(self.spectra.numbers) > 1
        label = f"{self.path}, spectrum {number}" if several else str(self.path)
        spectrum = to_spectrum(raw, options, path=self.path, name=self.name(number), label=label)
        return spectrum if options.ebv is None else deredden(spectrum, options.ebv)

    def chosen(self, index: int | None) -> Sequence[int]:
        """Return the numbers of the spectra asked for: one, or all."""
        numbers = self.spectra.numbers
        if index is None:
            return numbers
        if index not in numbers:
            raise SpectrumError(
                f"{self.path}: there is no spectrum with index {index}, expected one of {len(numbers)} from "
                f"{numbers[0]} to {numbers[-1]}; choose one of them"
            )
        return [index]


def _open(path: str | PathLike[str]) -> _File:
    return _File(Path(path), *read_raw(open_file(Path(path))))


def _has_data(raw: RawSpectrum) -> bool:
    good = np.isfinite(raw.flux)
    if raw.ivar is not None:
        good &= np.nan_to_num(raw.ivar) != 0
    return bool(np.any(good if raw.mask is None else good & ~raw.mask))
