r"""The noiseless rest-frame spectrum of a galaxy: stars weighted by their history, seen through dust.

.. math:: F(\lambda) = \sum_i w_i([M/H], \mathrm{SFH})\, F_{SSP,i}(\lambda)\; 10^{-0.4 A(\lambda)}

(thesis eq. 5).  The weights :math:`w_i` are exact integrals of the star formation history over the linear
interpolation of the SSPs in log age, not samples at bin centres.  Because SSP spectra are low-rank, the sum is
taken over a few dozen basis spectra: weights times coefficients first, the long basis last.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sfhflow.bands import BANDS
from sfhflow.dust import TwoComponent
from sfhflow.errors import LibraryError
from sfhflow.grid import LogGrid, vacuum_to_air
from sfhflow.instrument import fwhm_to_sigma_kms
from sfhflow.light import Light
from sfhflow.sfh.history import StarFormationHistory, cumulative_mass
from sfhflow.ssp.library import SSPLibrary
from sfhflow.ssp.lowrank import compress
from sfhflow.ssp.weights import age_weights, metallicity_weights

__all__ = ["StellarPopulations", "light_of"]

# Lifetime of birth clouds (Charlot & Fall 2000).
_BIRTH_CLOUD_GYR = 0.01
# Part of a band that a library has to cover for its light to be told.
_COVERED = 0.99


class StellarPopulations:
    """An SSP library on a logarithmic grid, ready to be combined in batches.

    Parameters
    ----------
    library : SSPLibrary
        The library; vacuum wavelengths are converted to air.
    grid : LogGrid
        Output grid, inside the library's wavelength range.
    tolerance : float
        Largest relative error of the low-rank form.
    dtype : torch.dtype
        Precision of the spectra.

    Raises
    ------
    LibraryError
        If the grid reaches beyond the library.

    Attributes
    ----------
    library_kms : Tensor of shape (P,)
        The library's own line-spread function (Gaussian sigma, km/s).
    """

    def __init__(
        self,
        library: SSPLibrary,
        grid: LogGrid,
        *,
        tolerance: float = 1e-4,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        flux = resample_library(library, grid)
        # mean flux of each SSP is kept apart so that float32 holds fluxes of any unit
        self.unit = float(flux.mean())
        low_rank = compress(flux / self.unit, tolerance=tolerance)
        self.name = library.name
        self.grid = grid
        self.dtype = dtype
        self.ages_gyr = torch.tensor(library.ages_gyr, dtype=torch.float64)
        self.metallicities = torch.tensor(library.metallicities, dtype=torch.float64)
        self.coefficients = torch.as_tensor(low_rank.coefficients, dtype=dtype)
        self.basis = torch.as_tensor(low_rank.basis, dtype=dtype)
        fwhm = np.broadcast_to(library.fwhm, library.wavelength.shape)
        fwhm_on_grid = torch.as_tensor(np.interp(grid.wavelength, _air(library), fwhm))
        self.library_kms = fwhm_to_sigma_kms(fwhm_on_grid, torch.as_tensor(grid.wavelength)).to(dtype)

    def weights(
        self, history: StarFormationHistory, metallicity: Tensor, age_of_universe: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Weights of the SSPs: over ages (N, A) and over metallicities (N, Z); both sum to one."""
        ages = age_weights(history.time_edges, history.mass, age_of_universe, self.ages_gyr)
        return ages, metallicity_weights(metallicity, self.metallicities)

    def spectra(self, history: StarFormationHistory, metallicity: Tensor, age_of_universe: Tensor) -> Tensor:
        """Dust-free composite spectra per solar mass formed, in units of `unit` Lsun/Angstrom.

        Parameters
        ----------
        history : StarFormationHistory
            N histories.
        metallicity, age_of_universe : Tensors of shape (N,)
            [M/H] in dex and cosmic age in Gyr.

        Returns
        -------
        Tensor of shape (N, P)

        Raises
        ------
        LibraryError
            If an age or a metallicity lies outside the library.
        """
        by_age, by_metallicity = self.weights(history, metallicity, age_of_universe)
        return self.combine(by_age.to(self.dtype), by_metallicity.to(self.dtype))

    def dusty_spectra(
        self, history: StarFormationHistory, metallicity: Tensor, age_of_universe: Tensor, dust: TwoComponent
    ) -> Tensor:
        """Composite spectra (N, P) seen through dust that may treat the stars younger than 10 Myr differently.

        The library's youngest SSP stands for all of those, so they are a fraction of the mass times one
        spectrum.
        """
        stars = self.spectra(history, metallicity, age_of_universe)
        if dust.young is dust.old:
            return stars * dust.old
        young_mass = self.young_mass(history, age_of_universe)
        youngest = torch.nn.functional.one_hot(torch.tensor([0]), len(self.ages_gyr)).to(self.dtype)
        by_metallicity = metallicity_weights(metallicity, self.metallicities).to(self.dtype)
        young = young_mass[:, None].to(self.dtype) * self.combine(youngest.expand(len(stars), -1), by_metallicity)
        return (stars - young) * dust.old + young * dust.young

    def within(self, metallicity: Tensor) -> Tensor:
        """[M/H] (N,) moved into the range of the library."""
        return metallicity.clamp(self.metallicities[0], self.metallicities[-1])

    def young_mass(self, history: StarFormationHistory, age_of_universe: Tensor) -> Tensor:
        """Share (N,) of the stars that are still in their birth clouds."""
        return 1 - cumulative_mass(history, age_of_universe[:, None] - _BIRTH_CLOUD_GYR)[:, 0]

    def combine(self, by_age: Tensor, by_metallicity: Tensor) -> Tensor:
        """Spectra (N, P) for SSP weights (N, A) and (N, Z)."""
        n_ages, n_met, rank = self.coefficients.shape
        per_metallicity = by_age @ self.coefficients.reshape(n_ages, n_met * rank)
        mixed = torch.einsum("nzr,nz->nr", per_metallicity.view(-1, n_met, rank), by_metallicity)
        return mixed @ self.basis


def resample_library(library: SSPLibrary, grid: LogGrid) -> np.ndarray:
    """Library flux (A, Z, P) at the pixel centres of `grid`, by cubic interpolation.

    Raises
    ------
    LibraryError
        If the grid reaches beyond the library.
    """
    wavelength = _air(library)
    low, high = grid.wavelength[[0, -1]]
    if low < wavelength[0] or high > wavelength[-1]:
        raise LibraryError(
            f"{library.name}: covers {wavelength[0]:.1f}-{wavelength[-1]:.1f} Angstrom in air, expected at least "
            f"{low:.1f}-{high:.1f}; use a wider library or a shorter grid"
        )
    return _spline(wavelength, library.flux, grid.wavelength)


def light_of(library: SSPLibrary) -> Light | None:
    """Table of the light of a library in the bands that it covers; None if it covers none of them."""
    wavelength = _air(library)
    bands = {
        name: band.mean_flux(wavelength, library.flux) / band.solar
        for name, band in BANDS.items()
        if band.covered(wavelength[0], wavelength[-1]) >= _COVERED
    }
    return Light(library.name, library.ages_gyr, library.metallicities, bands) if bands else None


def _air(library: SSPLibrary) -> np.ndarray:
    return vacuum_to_air(library.wavelength) if library.medium == "vacuum" else library.wavelength


def _spline(x: np.ndarray, y: np.ndarray, x_new: np.ndarray) -> np.ndarray:
    """Natural cubic spline through (x, y) along the last axis of y (..., L), at x_new (P,)."""
    h = np.diff(x)
    curvature = _second_derivatives(h, y)
    i = np.clip(np.searchsorted(x, x_new) - 1, 0, len(x) - 2)
    right = (x_new - x[i]) / h[i]
    left = 1 - right
    bend = (left**3 - left) * curvature[..., i] + (right**3 - right) * curvature[..., i + 1]
    return left * y[..., i] + right * y[..., i + 1] + bend * h[i] ** 2 / 6


def _second_derivatives(h: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Second derivatives of the natural spline at its knots: a tridiagonal system by forward elimination."""
    slope = np.diff(y, axis=-1) / h
    wanted = np.moveaxis(6 * np.diff(slope, axis=-1), -1, 0)
    diagonal = 2 * (h[:-1] + h[1:])
    rows = np.zeros((len(diagonal) + 2, *y.shape[:-1]))
    upper = np.zeros(len(diagonal) + 1)
    for k in range(len(diagonal)):
        pivot = diagonal[k] - h[k] * upper[k]
        upper[k + 1] = h[k + 1] / pivot
        rows[k + 1] = (wanted[k] - h[k] * rows[k]) / pivot
    for k in range(len(diagonal), 0, -1):
        rows[k] -= upper[k] * rows[k + 1]
    return np.moveaxis(rows, 0, -1)
