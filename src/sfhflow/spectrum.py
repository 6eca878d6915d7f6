"""One observed galaxy spectrum.

A spectrum is flux and inverse variance on a wavelength grid, together with everything an analysis needs to
know about how it was taken: which pixels to ignore, the resolving power, the redshift, and whether the
wavelengths were measured in air or vacuum.  `Spectrum` is a frozen record that is valid by construction: an
object that exists has finite, rising wavelengths in Angstrom, non-negative inverse variances, at least one
usable pixel and a plausible redshift.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfhflow.errors import SpectrumError

__all__ = ["Medium", "Spectrum"]

Medium = Literal["air", "vacuum"]

# Optical wavelengths in Angstrom; a grid far outside was almost surely given in nm, micron or log10.
_PLAUSIBLE_WAVELENGTH = (900.0, 60_000.0)
_MAX_REDSHIFT = 10.0


@dataclass(frozen=True, eq=False)
class Spectrum:
    """An observed spectrum with its errors, mask, resolution, redshift and medium.

    Parameters
    ----------
    wavelength : array of shape (n,)
        Observed-frame wavelengths in Angstrom, strictly rising.
    flux : array of shape (n,)
        Flux density per unit wavelength, in any linear unit.
    ivar : array of shape (n,)
        Inverse variance of `flux`; zero means that the pixel holds no information.
    redshift : float
        Redshift of the galaxy (0 for a rest-frame spectrum).
    mask : array of shape (n,), optional
        True where a pixel must not be used.  Pixels with non-finite flux or ivar, or with zero ivar, are
        masked as well, and their values are set to zero so that they can never leak into a result.
    resolution : float or array of shape (n,), optional
        Resolving power lambda / FWHM.  None means unknown.
    medium : {"vacuum", "air"}
        Medium of `wavelength`.
    name : str
        Name used in messages and outputs, usually the file's stem.
    flux_unit : str
        Unit of `flux`, empty when unknown; masses need one such as ``1e-17 erg / (s cm2 Angstrom)``.
    distance_mpc : float, optional
        Luminosity distance in Mpc for masses, where it is known better than from the redshift.
    meta : dict of str to str
        Provenance, such as the file and the reader; not used in any computation.

    Raises
    ------
    SpectrumError
        If the arrays do not describe a usable spectrum.
    """

    wavelength: NDArray[np.float64]
    flux: NDArray[np.float64]
    ivar: NDArray[np.float64]
    redshift: float
    mask: NDArray[np.bool_] = None  # type: ignore[assignment]
    resolution: NDArray[np.float64] | None = None
    medium: Medium = "vacuum"
    name: str = "spectrum"
    flux_unit: str = ""
    distance_mpc: float | None = None
    meta: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wavelength = _numbers(self.name, "wavelength", self.wavelength)
        flux, ivar = _numbers(self.name, "flux", self.flux), _numbers(self.name, "ivar", self.ivar)
        _check_shapes(self.name, wavelength, flux, ivar)
        _check_wavelength(self.name, wavelength)
        _check_redshift(self.name, self.redshift)
        _check_distance(self.name, self.distance_mpc)
        if self.medium not in ("air", "vacuum"):
            raise SpectrumError(
                f"{self.name}: medium is {self.medium!r}, expected 'air' or 'vacuum'; give it with --medium"
            )
        good = np.isfinite(flux) & np.isfinite(ivar)
        if np.any(ivar[good] < 0):
            raise SpectrumError(
                f"{self.name}: {np.sum(ivar[good] < 0)} pixels have negative errors, expected inverse "
                "variances >= 0; give zero inverse variance (or mask) for pixels without information"
            )
        good &= ivar > 0
        if self.mask is not None:
            good &= ~_same_shape(self.name, "mask", np.asarray(self.mask, dtype=bool), wavelength)
        _check_usable(self.name, flux, ivar, good)
        set_ = object.__setattr__
        set_(self, "wavelength", wavelength)
        set_(self, "flux", np.where(good, flux, 0.0))
        set_(self, "ivar", np.where(good, ivar, 0.0))
        set_(self, "mask", ~good)
        set_(self, "redshift", float(self.redshift))
        if self.resolution is not None:
            set_(self, "resolution", _resolution(self.name, self.resolution, wavelength))

    def __len__(self) -> int:
        return len(self.wavelength)

    @property
    def error(self) -> NDArray[np.float64]:
        """Standard deviation of the flux, shape (n,); infinite where masked."""
        with np.errstate(divide="ignore"):
            return 1.0 / np.sqrt(self.ivar)

    @property
    def rest_wavelength(self) -> NDArray[np.float64]:
        """Wavelength / (1 + z) in Angstrom, in the medium of `wavelength`."""
        return self.wavelength / (1.0 + self.redshift)

    @property
    def snr(self) -> float:
        """Median signal-to-noise ratio per pixel over the unmasked pixels."""
        good = ~self.mask
        return float(np.median(self.flux[good] * np.sqrt(self.ivar[good])))

    def with_mask(self, extra: ArrayLike) -> Spectrum:
        """Return a copy in which the pixels where `extra` is True are masked as well."""
        return replace(self, mask=self.mask | np.asarray(extra, dtype=bool))


def _numbers(name: str, what: str, array: ArrayLike) -> NDArray[np.float64]:
    try:
        return np.array(array, dtype=float)
    except (TypeError, ValueError) as error:
        raise SpectrumError(
            f"{name}: {what} does not hold plain numbers ({error}), expected a 1-D array; convert it"
        ) from error


def _same_shape(name: str, what: str, array: NDArray, wavelength: NDArray) -> NDArray:
    if array.shape != wavelength.shape:
        raise SpectrumError(
            f"{name}: {what} has shape {array.shape}, expected {wavelength.shape} as the wavelength; "
            "give one value per pixel"
        )
    return array


def _check_shapes(name: str, wavelength: NDArray, flux: NDArray, ivar: NDArray) -> None:
    if wavelength.ndim != 1 or len(wavelength) < 2:
        raise SpectrumError(
            f"{name}: wavelength has shape {wavelength.shape}, expected a 1-D array of at least 2 pixels; "
            "select one spectrum"
        )
    _same_shape(name, "flux", flux, wavelength)
    _same_shape(name, "ivar", ivar, wavelength)


def _check_wavelength(name: str, wavelength: NDArray) -> None:
    if not np.all(np.isfinite(wavelength)):
        raise SpectrumError(f"{name}: wavelengths are not all finite, expected Angstrom; remove those pixels")
    if np.any(np.diff(wavelength) <= 0):
        raise SpectrumError(
            f"{name}: wavelengths are not strictly rising, expected a sorted grid; sort the pixels"
        )
    low, high = _PLAUSIBLE_WAVELENGTH
    if wavelength[0] < low or wavelength[-1] > high:
        raise SpectrumError(
            f"{name}: wavelengths run from {wavelength[0]:.4g} to {wavelength[-1]:.4g}, expected Angstrom "
            f"between {low:.0f} and {high:.0f}; convert nm (x 10), micron (x 1e4) or log10 wavelengths"
        )


def _check_redshift(name: str, redshift: float) -> None:
    is_number = isinstance(redshift, int | float | np.integer | np.floating) and not isinstance(redshift, bool)
    if not (is_number and np.isfinite(redshift)):
        raise SpectrumError(f"{name}: redshift is {redshift!r}, expected a finite number; give it with --redshift")
    if not -0.01 <= redshift <= _MAX_REDSHIFT:
        raise SpectrumError(
            f"{name}: redshift is {redshift:g}, expected between -0.01 and {_MAX_REDSHIFT:g}; "
            "check the header or give --redshift"
        )


def _check_distance(name: str, distance: float | None) -> None:
    if distance is not None and not 0 < distance < np.inf:
        raise SpectrumError(
            f"{name}: distance is {distance!r}, expected a positive number of Mpc; leave it out to take the one "
            "that follows from the redshift"
        )


def _check_usable(name: str, flux: NDArray, ivar: NDArray, good: NDArray) -> None:
    if not np.any(np.isfinite(flux)):
        raise SpectrumError(
            f"{name}: flux is NaN or infinite everywhere, expected numbers; check the file and its reader"
        )
    if not np.any(good):
        raise SpectrumError(
            f"{name}: all {len(flux)} pixels are masked or have no error estimate, expected at least one "
            "good pixel; check the mask and the errors"
        )


def _resolution(name: str, resolution: ArrayLike, wavelength: NDArray) -> NDArray[np.float64]:
    array = np.broadcast_to(np.asarray(resolution, dtype=float), wavelength.shape).copy()
    finite = np.isfinite(array) & (array > 0)
    if not np.any(finite):
        raise SpectrumError(
            f"{name}: resolution has no positive finite value, expected lambda / FWHM; leave it out if unknown"
        )
    if not np.all(finite):
        array = np.interp(wavelength, wavelength[finite], array[finite])
    return array
