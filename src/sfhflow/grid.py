"""The rest-frame wavelength grid shared by simulations and data, and the way of getting onto it.

Everything the network sees lies on one grid: air wavelengths, rest frame, equal steps in ln(lambda), so that
a velocity is a shift by a fixed number of pixels and broadening by a velocity dispersion is a convolution.

Resampling keeps the *information* of the data, not the variance of single pixels.  With o_ij the overlap of
input pixel i (width w_i, inverse variance v_i) with output pixel j, all in ln(lambda),

    ivar_j = sum_i (o_ij / w_i) v_i ,        flux_j = sum_i (o_ij / w_i) v_i f_i / ivar_j ,

so the summed inverse variance over any window equals that of the input.  Neighbouring output pixels are
slightly correlated, but every average over more than a pixel has the right error, which is what matters for
features that are all wider than a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["C_KMS", "FWHM_PER_SIGMA", "LogGrid", "air_to_vacuum", "rebin", "vacuum_to_air"]

C_KMS = 299_792.458
FWHM_PER_SIGMA = float(np.sqrt(8.0 * np.log(2.0)))


@dataclass(frozen=True)
class LogGrid:
    """Wavelengths equally spaced in ln(lambda), air, rest frame.

    Parameters
    ----------
    low, high : float
        First and last pixel centre in Angstrom (the last is rounded to a whole number of steps).
    step : float
        Step in ln(lambda); the default is the 1e-4 dex (69 km/s) of SDSS and MaNGA.
    """

    low: float = 3600.0
    high: float = 7350.0
    step: float = 1e-4 * float(np.log(10.0))

    @property
    def n_pixels(self) -> int:
        """Number of pixels."""
        return round((np.log(self.high) - np.log(self.low)) / self.step) + 1

    @property
    def velocity_step_kms(self) -> float:
        """Width of a pixel in km/s."""
        return C_KMS * self.step

    @cached_property
    def wavelength(self) -> NDArray[np.float64]:
        """Pixel centres in Angstrom (air), shape (n_pixels,)."""
        return self.low * np.exp(self.step * np.arange(self.n_pixels))

    @cached_property
    def log_edges(self) -> NDArray[np.float64]:
        """Pixel edges in ln(Angstrom), shape (n_pixels + 1,)."""
        return np.log(self.low) + self.step * (np.arange(self.n_pixels + 1) - 0.5)

    def padded(self, low: float, high: float) -> tuple[LogGrid, slice]:
        """Extend the grid in phase to [low, high] Angstrom; also the slice that gets back to this one.

        An end that already lies outside the range stays where it is.
        """
        before = max(0, int(np.floor((np.log(self.low) - np.log(low)) / self.step)))
        after = max(0, int(np.floor((np.log(high) - np.log(self.wavelength[-1])) / self.step)))
        grid = LogGrid(
            low=self.low * float(np.exp(-before * self.step)),
            high=float(self.wavelength[-1] * np.exp(after * self.step)),
            step=self.step,
        )
        return grid, slice(before, before + self.n_pixels)


def vacuum_to_air(wavelength: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert vacuum to air wavelengths in Angstrom (Morton 2000, ApJS 130, 403, eq. 8)."""
    return wavelength / _refractive_index(wavelength)


def air_to_vacuum(wavelength: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert air to vacuum wavelengths in Angstrom; inverse of `vacuum_to_air` to better than 1e-6."""
    vacuum = wavelength * _refractive_index(wavelength)
    return wavelength * _refractive_index(vacuum)


def _refractive_index(vacuum: NDArray[np.float64]) -> NDArray[np.float64]:
    s2 = (1e4 / vacuum) ** 2
    return 1.0 + 8.34254e-5 + 2.406147e-2 / (130.0 - s2) + 1.5998e-4 / (38.9 - s2)


def pixel_edges(centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges half-way between pixel centres, shape (n + 1,)."""
    middle = 0.5 * (centres[1:] + centres[:-1])
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])


def rebin(
    wavelength: NDArray[np.float64],
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64],
    grid: LogGrid,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rebin flux and inverse variance onto `grid`, keeping the information (see the module's docstring).

    Parameters
    ----------
    wavelength : array of shape (n,)
        Rest-frame air wavelengths in Angstrom, rising.
    flux, ivar : arrays of shape (n,)
        Flux and inverse variance; pixels with zero ivar are ignored.
    grid : LogGrid
        The output grid.

    Returns
    -------
    flux, ivar : arrays of shape (grid.n_pixels,)
        Zero where less than half of an output pixel is covered by good input pixels.
    """
    edges = pixel_edges(np.log(wavelength))
    good = ivar > 0
    total_ivar = _integral_between(edges, np.where(good, ivar, 0.0), grid.log_edges)
    total_flux = _integral_between(edges, np.where(good, ivar * flux, 0.0), grid.log_edges)
    covered = _integral_between(edges, np.where(good, np.diff(edges), 0.0), grid.log_edges) / grid.step
    keep = (covered > 0.5) & (total_ivar > 0)
    out_flux = np.divide(total_flux, total_ivar, out=np.zeros_like(total_flux), where=keep)
    return out_flux, np.where(keep, total_ivar, 0.0)


def _integral_between(
    edges: NDArray[np.float64], per_pixel: NDArray[np.float64], out_edges: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share out what each input pixel holds over the output pixels, in proportion to overlap."""
    # A local sum per output pixel, rather than differences of one long cumulative sum, would be exact to
    # rounding; float64 cumulative sums are good to 1e-12 of the total, far below any error bar.
    cumulative = np.concatenate([[0.0], np.cumsum(per_pixel)])
    return np.diff(np.interp(out_edges, edges, cumulative))
