"""The single stellar populations of the thesis (table 1), and the windows in which spectra are compared.

A library of A ages and Z metallicities is F[a, z, l] = sum_r C[a, z, r] B[r, l] exactly, with B orthonormal (all
singular vectors are kept).  Seen through an instrument it is the same C with other B; white noise of the pixels
stays white noise of the same size on the coefficients, and nothing of a noise-free spectrum lies outside B.

The thesis broadened its library to the largest dispersion of the stacks and the resolution of SDSS, mixing
Angstrom and km/s; here every width is in km/s at the wavelength in question,

    sigma^2 = (320 km/s)^2 + (69 km/s)^2 - (c 2.51 A / 2.355 lambda)^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfhflow.errors import InputError
from sfhflow.ssp import load_shipped
from sfhflow.ssp import open_library as open_ssp
from sfhflow.ssp.library import SSPLibrary
from sfhflow.ssp.weights import metallicity_weights

__all__ = ["LARGEST_KMS", "SDSS_KMS", "Library", "View", "Window", "broadening", "open_library"]

Window = Literal["full", "stack", "stack-long"]
Array = NDArray[np.float64]

LIMITS = 3540.5, 7409.6
"""Wavelengths of the thesis' training spectra in Angstrom."""
LARGEST_KMS = 320.0
"""Dispersion to which all stacks are broadened."""
SDSS_KMS = 69.0
"""Resolution of SDSS, one standard deviation."""
STACK_GRIDS: dict[Window, tuple[float, float]] = {"stack": (4023.0, 5500.0), "stack-long": (4023.0, 6000.0)}

_FOLDER = Path("ssp") / "miuscat_basti_ku1.30"
_C_KMS = 299792.458
_SIGMA_PER_FWHM = 1 / np.sqrt(8 * np.log(2))


@dataclass(frozen=True, eq=False)
class View:
    """The library in a window.

    Attributes
    ----------
    wavelength : array of shape (L,)
        Angstrom, in air.
    coefficients : Tensor of shape (A, Z, R)
        In units of the library's mean flux.
    basis : Tensor of shape (R, L)
        Orthonormal rows.
    metallicities : Tensor of shape (Z,)
        [M/H] in dex.
    ages_gyr : Tensor of shape (A,)
        Ages of the populations.
    """

    wavelength: Array
    coefficients: Tensor
    basis: Tensor
    metallicities: Tensor
    ages_gyr: Tensor

    def combine(self, by_age: Tensor, metallicity: Tensor) -> Tensor:
        """Coefficients (N, R) of galaxies with weights of age (N, A) and [M/H] (N,), not normalised."""
        n_ages, n_met, rank = self.coefficients.shape
        by_met = metallicity_weights(metallicity.to(by_age), self.metallicities)
        table = self.coefficients.to(by_age).reshape(n_ages, n_met * rank)
        parts = []
        for ages, mets in zip(by_age.split(1024), by_met.split(1024), strict=True):
            mixed = (ages @ table).view(-1, n_met, rank)
            parts.append(torch.einsum("nzr,nz->nr", mixed, mets))
        return torch.cat(parts)


@dataclass(frozen=True, eq=False)
class Library:
    """The library cut to the thesis' wavelengths, and its views.

    Attributes
    ----------
    ssp : SSPLibrary
        Its record.
    is_thesis : bool
        Whether these are the thesis' own models, not the package's stand-in.
    """

    ssp: SSPLibrary
    is_thesis: bool

    def view(self, window: Window) -> View:
        """The library as a window shows it."""
        flux, wavelength = self.ssp.flux / self.ssp.flux.mean(), self.ssp.wavelength
        if window != "full":
            low, high = STACK_GRIDS[window]
            grid = np.arange(low, high + 0.5)
            sigma = np.sqrt(LARGEST_KMS**2 + SDSS_KMS**2 - self.resolution_kms(grid) ** 2)
            flux, wavelength = flux @ broadening(wavelength, grid, sigma).T, grid
        spectra = flux.reshape(-1, flux.shape[-1])
        # each spectrum divided by its mean, so that faint old populations count as much as bright young ones
        norm = spectra.mean(1, keepdims=True)
        left, singular, basis = np.linalg.svd(spectra / norm, full_matrices=False)
        keep = singular > 1e-7 * singular[0]
        coefficients = ((left * singular * norm)[:, keep]).reshape(*flux.shape[:-1], -1)
        parts = (coefficients, basis[keep], self.ssp.metallicities, self.ssp.ages_gyr)
        return View(wavelength, *(torch.tensor(part, dtype=torch.float64) for part in parts))

    def resolution_kms(self, wavelength: Array) -> Array:
        """Resolution of the library in km/s, one standard deviation."""
        fwhm = np.interp(
            wavelength, self.ssp.wavelength, np.broadcast_to(self.ssp.fwhm, self.ssp.wavelength.shape)
        )
        return _C_KMS * fwhm * _SIGMA_PER_FWHM / wavelength


def broadening(wavelength: Array, new: Array, sigma_kms: Array | float) -> Array:
    """Matrix (M, L) that convolves spectra at `wavelength` (L,) with a Gaussian and reads them at `new` (M,)."""
    width = np.broadcast_to(np.asarray(sigma_kms) / _C_KMS * new, new.shape)[:, None]
    kernel = np.exp(-0.5 * ((wavelength - new[:, None]) / width) ** 2)
    kernel *= np.gradient(wavelength)
    return kernel / kernel.sum(1, keepdims=True)


def open_library(data: Path, folder: Path) -> Library:
    """The thesis' library from `data`, kept in `folder` once read, or the shipped one where that is absent."""
    path = folder / "library.npz"
    if path.exists():
        with np.load(path) as file:
            kept = {key: file[key] for key in file.files}
        parts = {key: kept[key] for key in ("ages_gyr", "metallicities", "wavelength", "flux", "fwhm")}
        ssp = SSPLibrary(name=str(kept["name"]), medium=str(kept["medium"]), **parts)
        return Library(ssp, bool(kept["is_thesis"]))
    is_thesis = (data / _FOLDER).is_dir()
    ssp = (open_ssp(data / _FOLDER) if is_thesis else load_shipped()).cut(*LIMITS)
    if ssp.medium != "air":
        raise InputError(f"{ssp.name}: wavelengths in {ssp.medium}, expected air; use a library in air")
    folder.mkdir(parents=True, exist_ok=True)
    names = ("name", "medium", "ages_gyr", "metallicities", "wavelength", "flux", "fwhm")
    np.savez(path, is_thesis=is_thesis, **{name: getattr(ssp, name) for name in names})
    return Library(ssp, is_thesis)
