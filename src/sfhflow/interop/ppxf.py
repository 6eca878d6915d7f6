r"""To pPXF: weights of single stellar populations on a grid of age and [M/H].

The mass formed at each age of the grid, :math:`w_i = \int \mathrm{hat}_i(\log t)\, dM(t)`, times the linear
interpolation in [M/H] (see `sfhflow.ssp.weights`): the galaxy is exactly the sum of these populations.  pPXF's
weights are of mass if its templates are spectra of one solar mass formed, and of light if they were normalised in
a band; then

.. math:: w^L_{ij} = w_{ij} L_{ij} / \sum_{kl} w_{kl} L_{kl} ,

with L the light of a solar mass in that band (`light_per_mass`).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from sfhflow.errors import InputError
from sfhflow.parameters import FRACTIONS
from sfhflow.posterior import Posterior
from sfhflow.ssp import SSPLibrary, age_weights, metallicity_weights

__all__ = ["light_per_mass", "ssp_weights"]

Array = NDArray[np.float64]


def ssp_weights(
    posterior: Posterior, ages_gyr: ArrayLike, metallicities: ArrayLike, *, light: ArrayLike | None = None
) -> Array:
    """Return each sample as weights of populations on a grid.

    Parameters
    ----------
    posterior : Posterior
        Samples of one galaxy.
    ages_gyr : array of shape (A,)
        Ages of the grid in Gyr, rising; the oldest no younger than the galaxy's oldest stars.
    metallicities : array of shape (Z,)
        [M/H] of the grid in dex, rising, from below to above those of the samples.
    light : array of shape (A, Z), optional
        Light of one solar mass formed, from `light_per_mass`: the weights are then fractions of light.

    Returns
    -------
    array of shape (n, A, Z)
        Fractions that sum to one in each sample: of the mass formed, or of the light.

    Raises
    ------
    LibraryError
        If the grid does not hold the samples.
    InputError
        If `light` does not match the grid.
    """
    ages, nodes = (torch.as_tensor(np.array(x, dtype=float)) for x in (ages_gyr, metallicities))
    n = len(posterior)
    mass = torch.as_tensor(np.diff(FRACTIONS)).expand(n, -1)
    age = torch.full((n,), posterior.age_of_universe, dtype=torch.float64)
    by_age = age_weights(torch.as_tensor(posterior.times), mass, age, ages)
    by_metallicity = metallicity_weights(torch.as_tensor(posterior.metallicity), nodes)
    weights = (by_age[:, :, None] * by_metallicity[:, None, :]).numpy()
    return weights if light is None else _by_light(weights, np.asarray(light, dtype=float))


def light_per_mass(library: SSPLibrary, band: tuple[float, float] = (5070.0, 5950.0)) -> Array:
    """Return the mean flux of each population in a band, per solar mass formed.

    Parameters
    ----------
    library : SSPLibrary
        The populations.
    band : tuple of float
        Wavelengths in Angstrom; the default is the one in which pPXF's examples normalise, near V.

    Returns
    -------
    array of shape (A, Z)
        In Lsun / Angstrom / Msun.

    Raises
    ------
    InputError
        If the library does not cover the band.
    """
    low, high = band
    covered = (library.wavelength[0], library.wavelength[-1])
    if not covered[0] <= low < high <= covered[1]:
        raise InputError(
            f"band is {low:g} to {high:g} Angstrom, expected one within {covered[0]:.0f} to {covered[1]:.0f}, the "
            f"wavelengths of {library.name}; choose another"
        )
    inside = (library.wavelength >= low) & (library.wavelength <= high)
    return np.asarray(library.flux[..., inside].mean(axis=-1))


def _by_light(weights: Array, light: Array) -> Array:
    if light.shape != weights.shape[1:]:
        raise InputError(
            f"light has shape {light.shape}, expected {weights.shape[1:]}, a value for each age and [M/H] of the "
            "grid; use light_per_mass of the library whose grid it is"
        )
    luminous = weights * light
    return luminous / luminous.sum(axis=(1, 2), keepdims=True)
