"""What the network sees: spectra on the common rest-frame grid, with errors, resolution and cosmic age.

Simulated and real galaxies meet in `Observation`.  A real `Spectrum` gets there in four steps: wavelengths to
rest-frame air, information-preserving rebinning, smoothing to the resolution of the template library where
the data are sharper (the templates cannot follow them there), and masking of the emission-line windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfhflow.cosmology import age_of_universe
from sfhflow.errors import SpectrumError
from sfhflow.grid import C_KMS, FWHM_PER_SIGMA, LogGrid, air_to_vacuum, rebin, vacuum_to_air
from sfhflow.lines import emission_line_mask
from sfhflow.spectrum import Spectrum

__all__ = ["LSF_PIVOTS", "Observation", "observe", "observe_one", "pivot_pixels", "rest_frame_air"]

LSF_PIVOTS = (4000.0, 5200.0, 6500.0)
"""Rest-frame wavelengths (Angstrom) at which the line-spread function is summarised."""

MIN_PIXELS = 100
# A linear shift of a log-sampled spectrum by a random fraction of a pixel smooths it by sqrt(1/6) pixel.
_REBINNING_PIXELS = 6.0**-0.5


class Observation(NamedTuple):
    """A batch of observed spectra on the rest-frame grid (float32 tensors).

    Attributes
    ----------
    flux, ivar : Tensors of shape (N, P)
        Flux in any linear unit and its inverse variance; both zero where masked.
    lsf_kms : Tensor of shape (N, 3)
        Instrumental sigma in km/s at `LSF_PIVOTS`; NaN where the resolution is unknown.
    age_of_universe : Tensor of shape (N,)
        Cosmic age in Gyr at the galaxy's redshift.
    """

    flux: Tensor
    ivar: Tensor
    lsf_kms: Tensor
    age_of_universe: Tensor

    def rows(self, which: slice | Tensor) -> Observation:
        """Select galaxies."""
        return Observation(*(tensor[which] for tensor in self))

    def to(self, device: str | torch.device) -> Observation:
        """Copy to another device."""
        return Observation(*(tensor.to(device) for tensor in self))


def observe(
    spectra: Sequence[Spectrum], grid: LogGrid, library_fwhm: float, *, mask_lines: bool = True
) -> Observation:
    """Bring spectra onto the network's grid.

    Parameters
    ----------
    spectra : sequence of Spectrum
        The observed spectra.
    grid : LogGrid
        Rest-frame grid of the model.
    library_fwhm : float
        FWHM of the template library in Angstrom.
    mask_lines : bool
        Leave out the windows of the known emission lines.

    Raises
    ------
    SpectrumError
        If a spectrum has almost no usable pixel inside the grid.
    """
    rows = [observe_one(s, grid, library_fwhm, mask_lines=mask_lines) for s in spectra]
    flux, ivar, lsf = (
        torch.as_tensor(np.stack(column), dtype=torch.float32) for column in zip(*rows, strict=True)
    )
    ages = age_of_universe(np.array([max(s.redshift, 0.0) for s in spectra]))
    return Observation(flux, ivar, lsf, torch.as_tensor(ages, dtype=torch.float32))


def observe_one(
    spectrum: Spectrum, grid: LogGrid, library_fwhm: float, *, mask_lines: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Flux (P,), inverse variance (P,) and resolution (3,) of one spectrum on the grid.

    The flux is scaled to a mean of one so that float32 holds it whatever its unit.
    """
    rest = rest_frame_air(spectrum)
    flux, ivar = rebin(rest, spectrum.flux, spectrum.ivar, grid)
    library_kms = C_KMS * library_fwhm / (FWHM_PER_SIGMA * grid.wavelength)
    lsf = np.full(len(LSF_PIVOTS), np.nan)
    if spectrum.resolution is not None:
        sigma = C_KMS / (FWHM_PER_SIGMA * np.interp(grid.wavelength, rest, spectrum.resolution))
        sigma = np.hypot(sigma, _REBINNING_PIXELS * grid.velocity_step_kms)
        missing = np.sqrt(np.clip(library_kms**2 - sigma**2, 0.0, None)) / grid.velocity_step_kms
        flux = _smooth(flux, ivar, missing)
        lsf = np.maximum(sigma, library_kms)[pivot_pixels(grid)]
    if mask_lines:
        lines = _line_windows(grid)
        flux, ivar = np.where(lines, 0.0, flux), np.where(lines, 0.0, ivar)
    _check_overlap(spectrum, rest, grid, int(np.sum(ivar > 0)))
    scale = _mean_flux(spectrum, flux, ivar)
    return flux / scale, ivar * scale**2, lsf


@lru_cache(maxsize=8)
def _line_windows(grid: LogGrid) -> NDArray[np.bool_]:
    return emission_line_mask(grid.wavelength)


def pivot_pixels(grid: LogGrid) -> NDArray[np.int_]:
    """Indices of the pixels of `grid` at `LSF_PIVOTS`, or at its end where it does not reach them."""
    return np.minimum(np.searchsorted(grid.wavelength, LSF_PIVOTS), grid.n_pixels - 1)


def rest_frame_air(spectrum: Spectrum) -> NDArray[np.float64]:
    """Rest-frame wavelengths in air (Angstrom) of the pixels of a spectrum, shape (n,)."""
    vacuum = spectrum.wavelength if spectrum.medium == "vacuum" else air_to_vacuum(spectrum.wavelength)
    return vacuum_to_air(vacuum / (1.0 + spectrum.redshift))


def _smooth(
    flux: NDArray[np.float64], ivar: NDArray[np.float64], sigma_pixels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Gaussian smoothing by a local width (P,); the inverse variances stay as they are.

    Pixels count in proportion to their inverse variance, so that a badly measured one never spoils its
    neighbours and a masked one never counts.
    """
    if not np.any(sigma_pixels > 0.05):
        return flux
    n_pixels, reach = len(flux), int(np.ceil(4 * sigma_pixels.max())) + 1
    kernel = _discrete_gaussian(sigma_pixels, reach)
    # nothing lies beyond the ends: the two ends must not meet
    weight, signal = np.pad(ivar, reach), np.pad(ivar * flux, reach)
    total, norm = np.zeros_like(flux), np.zeros_like(flux)
    for shift in range(-reach, reach + 1):
        there = slice(reach + shift, reach + shift + n_pixels)
        total += kernel[abs(shift)] * signal[there]
        norm += kernel[abs(shift)] * weight[there]
    return np.divide(total, norm, out=np.zeros_like(flux), where=ivar > 0)


def _discrete_gaussian(sigma_pixels: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Weights (reach + 1, P) of the pixels 0 ... reach away.

    These are exp(-s^2) I_n(s^2), the positive kernel of variance exactly s^2 even where s is less than a pixel
    (Lindeberg 1990, IEEE PAMI 12, 234); samples of a Gaussian would then be too narrow.
    """
    n_nodes = 4 * (reach + 4)
    k = np.pi * (np.arange(n_nodes) + 0.5) / n_nodes
    transfer = np.exp(sigma_pixels**2 * (np.cos(k)[:, None] - 1.0))
    return np.cos(np.outer(np.arange(reach + 1), k)) @ transfer / n_nodes


def _check_overlap(spectrum: Spectrum, rest: NDArray[np.float64], grid: LogGrid, n_good: int) -> None:
    if n_good < MIN_PIXELS:
        raise SpectrumError(
            f"{spectrum.name}: only {n_good} usable pixels between {grid.low:.0f} and {grid.high:.0f} A "
            f"rest frame (the spectrum covers {rest[0]:.0f}-{rest[-1]:.0f} A at z = {spectrum.redshift:g}), "
            f"expected at least {MIN_PIXELS}; check the redshift, the wavelength unit and the mask"
        )


def _mean_flux(spectrum: Spectrum, flux: NDArray[np.float64], ivar: NDArray[np.float64]) -> float:
    # badly measured pixels count less, and none counts more than the average
    mean = float(np.average(flux, weights=np.minimum(ivar, ivar[ivar > 0].mean())))
    if not mean > 0:
        raise SpectrumError(
            f"{spectrum.name}: the mean flux over the usable pixels is {mean:.3g}, expected a positive "
            "number; check the sky subtraction and the flux unit"
        )
    return mean
