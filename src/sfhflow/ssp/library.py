"""A grid of simple stellar populations (SSPs).

An SSP is the spectrum of stars that formed together, with one age and one metallicity, for each solar mass
of gas turned into stars.  A library holds such spectra on a rectangular grid of age and [M/H]; in between,
the spectrum is taken as linear in log10(age) and in [M/H], with the hat functions

    S(t, z) = sum_ij  hat_i(log t) hat_j(z) S_ij,        sum_i hat_i = sum_j hat_j = 1,

so that any star formation history is a linear combination of the grid's spectra.  Outside the grid nothing
is known, and nothing is invented.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfhflow.errors import LibraryError
from sfhflow.spectrum import Medium

__all__ = ["SSPLibrary", "bracket"]

_Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SSPLibrary:
    """Spectra of simple stellar populations on a grid of age and metallicity.

    Parameters
    ----------
    name : str
        Name used in messages and files.
    ages_gyr : array of shape (A,)
        Ages in Gyr, positive and strictly rising.
    metallicities : array of shape (Z,)
        [M/H] in dex, strictly rising.
    wavelength : array of shape (L,)
        Rest-frame wavelengths in Angstrom, positive and strictly rising.
    flux : array of shape (A, Z, L)
        Luminosity in Lsun / Angstrom for each Msun formed; never negative, and not zero everywhere.
    fwhm : float or array of shape (L,)
        Full width at half maximum of the line-spread function in Angstrom.
    medium : {"air", "vacuum"}
        Medium of `wavelength`.
    metadata : mapping of str to str
        IMF, isochrones, credit, licence, limits of validity.

    Raises
    ------
    LibraryError
        If the arrays do not describe a grid of spectra.
    """

    name: str
    ages_gyr: _Array
    metallicities: _Array
    wavelength: _Array
    flux: _Array
    fwhm: float | _Array
    medium: Medium
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        for key in ("ages_gyr", "metallicities", "wavelength"):
            set_(self, key, _axis(self.name, key, getattr(self, key), positive=key != "metallicities"))
        set_(self, "flux", _flux(self.name, self.flux, self.shape))
        set_(self, "fwhm", _fwhm(self.name, self.fwhm, self.wavelength))
        set_(self, "metadata", {str(key): str(value) for key, value in self.metadata.items()})
        if self.medium not in ("air", "vacuum"):
            raise LibraryError(f"{self.name}: medium is {self.medium!r}, expected 'air' or 'vacuum'; set it")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of ages, metallicities and wavelengths (A, Z, L)."""
        return len(self.ages_gyr), len(self.metallicities), len(self.wavelength)

    def interpolate(self, age_gyr: ArrayLike, metallicity: ArrayLike) -> _Array:
        """Spectrum at any age and metallicity inside the grid, linear in log10(age) and in [M/H].

        Parameters
        ----------
        age_gyr : array of shape (...)
            Ages in Gyr.
        metallicity : array of shape (...)
            [M/H] in dex, broadcast against `age_gyr`.

        Returns
        -------
        array of shape (..., L)
            Spectra in Lsun / Angstrom / Msun formed.

        Raises
        ------
        LibraryError
            If an age or a metallicity lies outside the grid.
        """
        age, mh = np.broadcast_arrays(np.asarray(age_gyr, dtype=float), np.asarray(metallicity, dtype=float))
        with np.errstate(divide="ignore", invalid="ignore"):
            i, u = bracket(f"{self.name}: log10(age / Gyr)", np.log10(self.ages_gyr), np.log10(age))
        j, v = bracket(f"{self.name}: [M/H]", self.metallicities, mh)
        i1, j1 = np.minimum(i + 1, len(self.ages_gyr) - 1), np.minimum(j + 1, len(self.metallicities) - 1)
        u, v = u[..., None], v[..., None]
        young = (1 - v) * self.flux[i, j] + v * self.flux[i, j1]
        old = (1 - v) * self.flux[i1, j] + v * self.flux[i1, j1]
        return (1 - u) * young + u * old

    def cut(self, low: float, high: float) -> SSPLibrary:
        """Return the library restricted to wavelengths from `low` to `high` Angstrom, ends included.

        Raises
        ------
        LibraryError
            If fewer than two wavelengths remain.
        """
        keep = (self.wavelength >= low) & (self.wavelength <= high)
        if np.sum(keep) < 2:
            raise LibraryError(
                f"{self.name}: {np.sum(keep)} wavelengths between {low:g} and {high:g} Angstrom, expected a "
                f"window inside {self.wavelength[0]:.1f}-{self.wavelength[-1]:.1f}; widen it"
            )
        fwhm = self.fwhm if isinstance(self.fwhm, float) else self.fwhm[keep]
        return replace(self, wavelength=self.wavelength[keep], flux=self.flux[..., keep], fwhm=fwhm)


def bracket(where: str, nodes: _Array, values: ArrayLike) -> tuple[NDArray[np.intp], _Array]:
    """Find the cell of each value in a rising grid of nodes, and its place in the cell.

    Parameters
    ----------
    where : str
        Name of the quantity, for the message.
    nodes : array of shape (K,)
        Rising nodes.
    values : array of shape (...)
        Values inside the nodes' range (a rounding error of 1e-9 is allowed).

    Returns
    -------
    tuple of arrays of shape (...)
        Lower node i and fraction u in [0, 1], so that value = (1 - u) nodes[i] + u nodes[i + 1].

    Raises
    ------
    LibraryError
        If a value lies outside the nodes or is not a number.
    """
    values = np.asarray(values, dtype=float)
    inside = (values >= nodes[0] - 1e-9) & (values <= nodes[-1] + 1e-9)
    if not np.all(inside):
        raise LibraryError(
            f"{where} is {values[~inside].flat[0]:g}, expected {nodes[0]:g} to {nodes[-1]:g}; SSP libraries "
            "are not extrapolated, so stay in this range or use a wider library"
        )
    if len(nodes) == 1:
        return np.zeros(values.shape, dtype=np.intp), np.zeros(values.shape)
    i = np.clip(np.searchsorted(nodes, values, side="right") - 1, 0, len(nodes) - 2)
    return i, np.clip((values - nodes[i]) / (nodes[i + 1] - nodes[i]), 0.0, 1.0)


def _axis(name: str, key: str, values: ArrayLike, *, positive: bool) -> _Array:
    array = np.array(values, dtype=float)
    if array.ndim != 1 or len(array) == 0:
        raise LibraryError(f"{name}: {key} has shape {array.shape}, expected a 1-D array; flatten it")
    if not np.all(np.isfinite(array)) or (positive and np.any(array <= 0)):
        expected = "positive finite" if positive else "finite"
        raise LibraryError(f"{name}: {key} holds invalid values, expected {expected} numbers; remove them")
    if np.any(np.diff(array) <= 0):
        raise LibraryError(f"{name}: {key} is not strictly rising, expected a sorted grid; sort it")
    return array


def _flux(name: str, values: ArrayLike, shape: tuple[int, int, int]) -> _Array:
    flux = np.array(values, dtype=float)
    if flux.shape != shape:
        raise LibraryError(
            f"{name}: flux has shape {flux.shape}, expected {shape} as (ages, metallicities, wavelengths); "
            "transpose it or complete the grid"
        )
    bad = ~np.isfinite(flux) | (flux < 0)
    if np.any(bad) or not np.all(np.any(flux > 0, axis=-1)):
        raise LibraryError(
            f"{name}: {np.sum(bad)} fluxes are negative or not finite, or a spectrum is zero everywhere, "
            "expected luminosities >= 0; cut the library to the wavelengths that hold data"
        )
    return flux


def _fwhm(name: str, values: ArrayLike, wavelength: _Array) -> float | _Array:
    fwhm = np.array(values, dtype=float)
    if fwhm.shape not in ((), wavelength.shape) or not np.all(np.isfinite(fwhm) & (fwhm > 0)):
        raise LibraryError(
            f"{name}: fwhm has shape {fwhm.shape} or invalid values, expected one positive number in "
            f"Angstrom, or one for each of the {len(wavelength)} wavelengths; correct it"
        )
    return fwhm if fwhm.ndim else float(fwhm)
