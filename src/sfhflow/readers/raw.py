r"""What a reader hands over, and how it becomes a valid `Spectrum`.

A reader knows one layout and nothing else: it returns the numbers as the file holds them, in `RawSpectrum`
records whose gaps (an unknown redshift, medium or resolution) are None, made one at a time so that a cube of
90,000 spectra costs no more memory than its file.  `to_spectrum` then applies what the user
said, which wins over the file, sorts the pixels by wavelength, and refuses what is still missing.  Errors
become inverse variances, :math:`w = 1 / \sigma^2`, and a resolution given as a width becomes a resolving
power, :math:`R = \lambda / \mathrm{FWHM}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfhflow.errors import SpectrumError
from sfhflow.spectrum import Spectrum

__all__ = [
    "FWHM_PER_SIGMA",
    "SPEED_OF_LIGHT_KMS",
    "RawSpectra",
    "RawSpectrum",
    "ReadOptions",
    "ivar_from_error",
    "to_spectrum",
    "with_snr",
]

# FWHM of a Gaussian of unit standard deviation, 2 sqrt(2 ln 2).
FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))

SPEED_OF_LIGHT_KMS = 299_792.458

# Below this, a "resolving power" was surely meant as a width in Angstrom.
_MIN_RESOLUTION = 10.0


@dataclass(frozen=True, eq=False)
class RawSpectrum:
    """One spectrum as its file holds it; see `Spectrum` for the meaning of the shared fields.

    Parameters
    ----------
    wavelength, flux, ivar : arrays of shape (n,)
        Observed-frame wavelengths in Angstrom in any order, flux per unit wavelength, inverse variance; an
        inverse variance of None means that the file holds no errors.
    mask : array of shape (n,), optional
        True where a pixel must not be used.
    resolution : float or array of shape (n,), optional
        lambda / FWHM; values that are not positive and finite are unknown.
    redshift, medium : optional
        As stated by the file, unchecked; None if it does not state them.
    flux_unit : str
        Unit of `flux`.
    hint : str
        Where a missing redshift was looked for.
    error_hint : str
        What was found in the place of errors and how to add them, if there are none.
    meta : mapping of str to str
        Provenance.
    """

    wavelength: NDArray[Any]
    flux: NDArray[Any]
    ivar: NDArray[Any] | None
    mask: NDArray[np.bool_] | None = None
    resolution: ArrayLike | None = None
    redshift: Any = None
    medium: str | None = None
    flux_unit: str = ""
    hint: str = ""
    error_hint: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class RawSpectra:
    """All spectra of a file, each made when it is asked for.

    Parameters
    ----------
    numbers : sequence of int
        Their numbers in the file, rising; not all need be there.
    make : callable
        From a number to its `RawSpectrum`.
    """

    numbers: Sequence[int]
    make: Callable[[int], RawSpectrum]

    @classmethod
    def of(cls, *spectra: RawSpectrum) -> RawSpectra:
        """Wrap spectra that have been made already, numbered from 0."""
        return cls(range(len(spectra)), spectra.__getitem__)


@dataclass(frozen=True)
class ReadOptions:
    """What the user says about a spectrum; None leaves it to the file.

    Parameters
    ----------
    redshift : float, optional
        Redshift.
    medium : {"air", "vacuum"}, optional
        Medium of the wavelengths.
    resolution : float, optional
        Resolving power lambda / FWHM.
    fwhm : float, optional
        FWHM of the line-spread function in Angstrom in the observed frame; excludes `resolution`.
    ebv : float, optional
        E(B-V) of the Milky Way that the spectrum is to be corrected for.
    snr : float, optional
        Signal-to-noise ratio per pixel: one error for all pixels, the median flux divided by it.

    Raises
    ------
    SpectrumError
        If both `resolution` and `fwhm` are given, or one of them makes no sense.
    """

    redshift: float | None = None
    medium: str | None = None
    resolution: float | None = None
    fwhm: float | None = None
    ebv: float | None = None
    snr: float | None = None

    def __post_init__(self) -> None:
        if self.resolution is not None and self.fwhm is not None:
            raise SpectrumError(
                "--resolution and --fwhm are both given, expected one description of the resolution; drop one"
            )
        if self.resolution is not None and not _MIN_RESOLUTION <= self.resolution < np.inf:
            raise SpectrumError(
                f"--resolution is {self.resolution:g}, expected lambda / FWHM of at least "
                f"{_MIN_RESOLUTION:g}; give a width in Angstrom with --fwhm"
            )
        if self.fwhm is not None and not 0 < self.fwhm < np.inf:
            raise SpectrumError(
                f"--fwhm is {self.fwhm:g}, expected a positive width in Angstrom; "
                "leave it out if the resolution is unknown"
            )
        if self.snr is not None and not 0 < self.snr < np.inf:
            raise SpectrumError(
                f"--snr is {self.snr:g}, expected a positive signal-to-noise ratio per pixel; "
                "leave it out if the file holds errors"
            )


def ivar_from_error(error: NDArray[Any], where: str) -> NDArray[np.float64]:
    """Turn standard deviations into inverse variances; zero or non-finite errors mean no information.

    Parameters
    ----------
    error : array
        Standard deviations.
    where : str
        File (and column) named in messages.

    Returns
    -------
    array of the same shape

    Raises
    ------
    SpectrumError
        If an error is negative.
    """
    error = np.asarray(error, dtype=float)
    if np.any(error < 0):
        raise SpectrumError(
            f"{where}: {np.sum(error < 0)} pixels have negative errors, expected standard deviations >= 0; "
            "set the error of pixels without information to 0"
        )
    known = np.isfinite(error) & (error > 0)
    with np.errstate(over="ignore", divide="ignore"):
        return np.where(known, 1.0 / np.where(known, error, 1.0) ** 2, 0.0)


def to_spectrum(raw: RawSpectrum, options: ReadOptions, *, path: Path, name: str, label: str) -> Spectrum:
    """Complete a raw spectrum with the user's options and validate it.

    Parameters
    ----------
    raw : RawSpectrum
        What the reader found.
    options : ReadOptions
        What the user said; wins over the file.
    path : Path
        The file, kept in `Spectrum.meta`.
    name : str
        Name of the spectrum.
    label : str
        File and, where there are several, number of the spectrum; opens every message.

    Returns
    -------
    Spectrum

    Raises
    ------
    SpectrumError
        If something vital is missing or the spectrum is not usable.
    """
    redshift = raw.redshift if options.redshift is None else options.redshift
    redshift = redshift.item() if isinstance(redshift, np.generic) else redshift
    medium = raw.medium if options.medium is None else options.medium
    _check_known(label, redshift, medium, raw, options)
    order = _rising(label, np.asarray(raw.wavelength, dtype=float))
    wavelength = np.asarray(raw.wavelength, dtype=float)[order]
    try:
        return Spectrum(
            wavelength=wavelength,
            flux=_ordered(raw.flux, order),
            ivar=_ordered(_ivar(raw, options), order),
            mask=None if raw.mask is None else _ordered(raw.mask, order),  # type: ignore[arg-type]
            resolution=_resolution(raw, options, wavelength, order),
            redshift=redshift,
            medium=medium,  # type: ignore[arg-type]
            name=name,
            flux_unit=raw.flux_unit,
            meta={"file": path.name, **raw.meta, **_noise_note(options)},
        )
    except SpectrumError as error:
        raise SpectrumError(f"{label}: {str(error).removeprefix(f'{name}: ')}") from error


def _check_known(label: str, redshift: object, medium: object, raw: RawSpectrum, options: ReadOptions) -> None:
    """Refuse a spectrum of which something vital is not known, naming everything that is missing at once."""
    missing, flags = [], []
    if redshift is None:
        missing.append(f"no redshift{raw.hint and ' ' + raw.hint}")
        flags.append("--redshift (0 if the wavelengths are in the rest frame)")
    if medium is None:
        missing.append("no word on whether the wavelengths are in air or vacuum")
        flags.append("--medium air or --medium vacuum")
    if raw.ivar is None and options.snr is None:
        others = f"; give {' and '.join(flags)} too" if flags else ""
        raise SpectrumError(f"{label}: {raw.error_hint}, or give --snr (per pixel, one for all){others}")
    if missing:
        raise SpectrumError(
            f"{label}: found {' and '.join(missing)}, expected the file to state it; give {' and '.join(flags)}"
        )


def _ivar(raw: RawSpectrum, options: ReadOptions) -> Any:
    """Return the inverse variances: those of the user, or those of the file."""
    if options.snr is None:
        return raw.ivar
    flux = np.asarray(raw.flux, dtype=float)
    # pixels of exactly zero flux are gaps in all files without errors
    good = np.isfinite(flux) & (flux != 0)
    if raw.mask is not None and np.shape(raw.mask) == flux.shape:
        good &= ~raw.mask
    return _equal_ivar(flux, good, options.snr)


def _equal_ivar(flux: NDArray[np.float64], good: NDArray[np.bool_], snr: float) -> NDArray[np.float64]:
    level = np.median(np.abs(flux[good])) if good.any() else 1.0
    return np.where(good, (snr / level) ** 2, 0.0)


def _noise_note(options: ReadOptions) -> dict[str, str]:
    return {} if options.snr is None else {"errors": f"one for all pixels, S/N = {options.snr:g} given by hand"}


def with_snr(spectrum: Spectrum, snr: float) -> Spectrum:
    """Return a spectrum all of whose unmasked pixels have one error, the median flux divided by `snr`."""
    meta = {**spectrum.meta, **_noise_note(ReadOptions(snr=snr))}
    return replace(spectrum, ivar=_equal_ivar(spectrum.flux, ~spectrum.mask, snr), meta=meta)


def _rising(label: str, wavelength: NDArray[np.float64]) -> NDArray[np.intp]:
    order = np.argsort(wavelength, kind="stable")
    twice = np.flatnonzero(np.diff(wavelength[order]) == 0)
    if len(twice):
        raise SpectrumError(
            f"{label}: wavelength {wavelength[order][twice[0]]:.6g} appears more than once, expected each "
            "once; merge or remove the repeated pixels"
        )
    return order


def _ordered(array: ArrayLike, order: NDArray[np.intp]) -> NDArray[Any]:
    """Sort like the wavelengths; an array of another length is left for `Spectrum` to refuse."""
    array = np.asarray(array)
    return array[order] if array.shape == order.shape else array


def _resolution(
    raw: RawSpectrum, options: ReadOptions, wavelength: NDArray[np.float64], order: NDArray[np.intp]
) -> Any:
    if options.resolution is not None:
        return options.resolution
    if options.fwhm is not None:
        return wavelength / options.fwhm
    if raw.resolution is None:
        return None
    resolution = _ordered(np.asarray(raw.resolution, dtype=float), order)
    if resolution.shape not in ((), wavelength.shape):
        raise SpectrumError(
            f"resolution has shape {resolution.shape}, expected {wavelength.shape} as the wavelength; "
            "give one value per pixel"
        )
    return resolution if np.any(np.isfinite(resolution) & (resolution > 0)) else None
