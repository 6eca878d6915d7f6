"""Spectra that are in memory already: arrays, as pPXF takes them, and the objects of specutils.

Both become a `Spectrum` by the way that files take: units are converted, pixels sorted, errors become inverse
variances, and what is missing is asked for.  A specutils object is used through its attributes
(``spectral_axis``, ``flux``, ``uncertainty``, ``mask``, ``redshift``), so that specutils need not be there.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.nddata import InverseVariance, UnknownUncertainty
from numpy.typing import ArrayLike, NDArray

from sfhflow.errors import SpectrumError
from sfhflow.readers.columns import Column, spectrum_from_columns
from sfhflow.readers.raw import RawSpectrum, ReadOptions, ivar_from_error, to_spectrum
from sfhflow.readers.stated import Stated
from sfhflow.spectrum import Medium, Spectrum

__all__ = ["from_arrays", "from_specutils"]


def from_arrays(
    wavelength: ArrayLike,
    flux: ArrayLike,
    error: ArrayLike,
    *,
    redshift: float,
    medium: Medium,
    mask: ArrayLike | None = None,
    good_pixels: ArrayLike | None = None,
    resolution: ArrayLike | None = None,
    fwhm: ArrayLike | None = None,
    name: str = "spectrum",
) -> Spectrum:
    """Make a spectrum of arrays, such as pPXF's ``lam``, ``galaxy``, ``noise`` and ``goodpixels``.

    Parameters
    ----------
    wavelength : array of shape (n,)
        Observed-frame wavelengths in Angstrom (``np.exp(ln_lam)`` after pPXF's ``log_rebin``), in any order.
    flux : array of shape (n,)
        Flux density per unit wavelength, in any linear unit.
    error : float or array of shape (n,)
        Standard deviation of `flux`; 0 means that the pixel holds no information.
    redshift : float
        Redshift of the galaxy; 0 if `wavelength` is in the rest frame.
    medium : {"air", "vacuum"}
        Medium of `wavelength`.
    mask : array of shape (n,), optional
        True where a pixel must not be used (pPXF's keyword of this name is the reverse).
    good_pixels : array of int, optional
        Numbers of the pixels that may be used, counted in the given order.
    resolution : float or array of shape (n,), optional
        Resolving power lambda / FWHM.
    fwhm : float or array of shape (n,), optional
        FWHM of the line-spread function in Angstrom, such as pPXF's ``fwhm_gal``; excludes `resolution`.
    name : str
        Name used in messages and outputs.

    Returns
    -------
    Spectrum

    Raises
    ------
    SpectrumError
        If the arrays do not describe a usable spectrum.
    """
    wavelength = _vector(name, "wavelength", wavelength)
    raw = RawSpectrum(
        wavelength=wavelength,
        flux=_vector(name, "flux", flux),
        ivar=ivar_from_error(_vector(name, "error", error, length=len(wavelength)), name),
        mask=_mask(name, mask, good_pixels, len(wavelength)),
        resolution=_resolving_power(name, resolution, fwhm, wavelength),
        redshift=redshift,
        medium=medium,
        meta={"reader": "arrays"},
    )
    return to_spectrum(raw, ReadOptions(), path=Path(name), name=name, label=name)


def from_specutils(
    spectrum: Any,
    *,
    medium: Medium,
    redshift: float | None = None,
    resolution: float | None = None,
    fwhm: float | None = None,
    name: str = "spectrum",
) -> Spectrum:
    """Make a spectrum of a ``specutils.Spectrum`` (``Spectrum1D`` before version 2).

    Parameters
    ----------
    spectrum : specutils.Spectrum
        One-dimensional, with an uncertainty of any type and units of any kind; nonzero `mask` is bad.  (The
        loaders of specutils mask every pixel with any bit set, more than `read_spectrum` does.)
    medium : {"air", "vacuum"}
        Medium of the wavelengths, which specutils does not know.
    redshift : float, optional
        Redshift; overrides that of `spectrum`, whose 0 means unknown as well as rest frame and is not believed.
    resolution : float, optional
        Resolving power lambda / FWHM.
    fwhm : float, optional
        FWHM of the line-spread function in Angstrom; excludes `resolution`.
    name : str
        Name used in messages and outputs.

    Returns
    -------
    Spectrum

    Raises
    ------
    SpectrumError
        If there are several spectra, no uncertainty, no redshift, or units that do not fit.
    """
    missing = [key for key in ("spectral_axis", "flux", "uncertainty", "mask") if not hasattr(spectrum, key)]
    if missing:
        raise SpectrumError(
            f"{name}: found an object of type {type(spectrum).__name__} without {', '.join(missing)}, expected "
            "a specutils.Spectrum; use from_arrays for arrays"
        )
    if spectrum.flux.ndim != 1:
        raise SpectrumError(
            f"{name}: flux has shape {spectrum.flux.shape}, expected one spectrum; select one, as in spectrum[0]"
        )
    columns = [
        Column("wavelength", "Angstrom", _angstrom(name, spectrum.spectral_axis)),
        Column("flux", _linear_unit(name, spectrum.flux), spectrum.flux.value),
        Column("ivar", "", _inverse_variance(name, spectrum)),
    ]
    stated = Stated(redshift=_redshift(name, spectrum, redshift), medium=medium)
    mask = None if spectrum.mask is None else np.asarray(spectrum.mask) != 0
    raw = replace(spectrum_from_columns(columns, stated, where=name), mask=mask, meta={"reader": "specutils"})
    options = ReadOptions(resolution=resolution, fwhm=fwhm)
    return to_spectrum(raw, options, path=Path(name), name=name, label=name)


def _vector(name: str, what: str, values: ArrayLike, *, length: int | None = None) -> NDArray[np.float64]:
    try:
        array = np.array(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise SpectrumError(
            f"{name}: {what} does not hold plain numbers ({error}), expected a 1-D array; convert it"
        ) from error
    if array.ndim == 0 and length is not None:
        array = np.full(length, array)
    if array.ndim != 1:
        raise SpectrumError(f"{name}: {what} has shape {array.shape}, expected a 1-D array; select one spectrum")
    if length is not None and len(array) != length:
        raise SpectrumError(
            f"{name}: {what} has {len(array)} values, expected {length} as the wavelength; "
            "give one value per pixel"
        )
    return array


def _mask(
    name: str, mask: ArrayLike | None, good_pixels: ArrayLike | None, length: int
) -> NDArray[np.bool_] | None:
    if good_pixels is None:
        return None if mask is None else np.asarray(mask, dtype=bool)
    good = np.asarray(good_pixels)
    if good.dtype.kind not in "iu" or np.any((good < 0) | (good >= length)):
        raise SpectrumError(
            f"{name}: good_pixels are not all pixel numbers, expected integers from 0 to {length - 1}; "
            "give a mask instead"
        )
    bad = ~np.isin(np.arange(length), good)
    return bad if mask is None else bad | np.asarray(mask, dtype=bool)


def _resolving_power(
    name: str, resolution: ArrayLike | None, fwhm: ArrayLike | None, wavelength: NDArray[np.float64]
) -> Any:
    if resolution is not None and fwhm is not None:
        raise SpectrumError(
            f"{name}: resolution and fwhm are both given, expected one description of the resolution; drop one"
        )
    if fwhm is not None:
        return wavelength / _vector(name, "fwhm", fwhm, length=len(wavelength))
    return None if resolution is None else _vector(name, "resolution", resolution, length=len(wavelength))


def _angstrom(name: str, axis: Any) -> NDArray[np.float64]:
    try:
        return u.Quantity(axis).to_value(u.AA, u.spectral())
    except u.UnitConversionError as error:
        raise SpectrumError(
            f"{name}: the spectral axis is in {axis.unit}, expected a wavelength, frequency or energy; "
            "convert it to Angstrom"
        ) from error


def _linear_unit(name: str, flux: Any) -> str:
    if isinstance(flux.unit, u.function.FunctionUnitBase):
        raise SpectrumError(
            f"{name}: flux unit is '{flux.unit}', expected a linear flux density; convert magnitudes to flux"
        )
    return str(flux.unit)


def _inverse_variance(name: str, spectrum: Any) -> NDArray[np.float64]:
    """Return inverse variances in the inverse square of the flux's unit."""
    uncertainty = spectrum.uncertainty
    if uncertainty is None or isinstance(uncertainty, UnknownUncertainty):
        raise SpectrumError(
            f"{name}: found no uncertainty of a known type, expected a standard deviation, variance or inverse "
            "variance; give uncertainty=StdDevUncertainty(...)"
        )
    if np.any(np.asarray(uncertainty.array) < 0):
        raise SpectrumError(
            f"{name}: {np.sum(np.asarray(uncertainty.array) < 0)} pixels have negative uncertainties, expected "
            "values >= 0; set those without information to 0 in a standard deviation"
        )
    with np.errstate(divide="ignore"):
        inverse = uncertainty.represent_as(InverseVariance)
    wanted = spectrum.flux.unit**-2
    try:
        ivar = np.asarray((inverse.array * (inverse.unit or wanted)).to_value(wanted), dtype=float)
    except u.UnitConversionError as error:
        raise SpectrumError(
            f"{name}: the uncertainty is in {uncertainty.unit}, expected the unit of the flux, "
            f"{spectrum.flux.unit}; convert it"
        ) from error
    return np.where(np.isfinite(ivar), ivar, 0.0)


def _redshift(name: str, spectrum: Any, redshift: float | None) -> float:
    if redshift is not None:
        return redshift
    own = float(u.Quantity(getattr(spectrum, "redshift", 0.0)).to_value(u.dimensionless_unscaled))
    if own == 0:
        raise SpectrumError(
            f"{name}: found no redshift, expected spectrum.redshift other than 0; give redshift=... (0 if the "
            "wavelengths are in the rest frame)"
        )
    return own
