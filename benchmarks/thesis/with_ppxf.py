"""pPXF (Cappellari 2023, MNRAS 526, 3273) on the same stacks and library, where it is installed.

The templates are the library's populations of one solar mass, broadened as the stacks are, so that weights are
masses formed; with regularised weights and multiplicative polynomials of degree 15, as in the thesis.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.thesis.dataset import AGE_OF_UNIVERSE
from benchmarks.thesis.library import View

__all__ = ["DEGREE", "Fit", "fit", "is_installed"]

Array = NDArray[np.float64]
DEGREE = 15
_C_KMS = 299792.458
_STRENGTH = 10.0
_ERROR = 0.01
# of the ages, one in so many is a template: more make the fit slow, and the thesis had 34
_EVERY = 2


class Fit(NamedTuple):
    """What pPXF finds.

    Attributes
    ----------
    times : array of shape (k,)
        Cosmic times in Gyr when given shares of the mass had formed.
    metallicity : float
        Weighted by mass, dex.
    model : array of shape (L,)
        Best fit at the wavelengths of the stack, polynomials included.
    """

    times: Array
    metallicity: float
    model: Array


def is_installed() -> bool:
    """Whether pPXF can be imported."""
    return find_spec("ppxf") is not None


def fit(wavelength: Array, flux: Array, view: View, ages_gyr: Array, shares: Array) -> Fit:
    """Fit a stack (L,), broadened and normalised, at `wavelength` in Angstrom, as the views of the library."""
    ppxf: Any = import_module("ppxf.ppxf").ppxf
    # populations older than the Universe are of no use
    young = np.flatnonzero(ages_gyr <= AGE_OF_UNIVERSE)[::-_EVERY][::-1]
    spectra = view.coefficients[young].numpy() @ view.basis.numpy()
    n_ages, n_met, _ = spectra.shape
    logs = np.linspace(*np.log(wavelength[[0, -1]]), len(wavelength))
    grid = np.exp(logs)
    scale = np.median(spectra)
    templates = np.stack([np.interp(grid, wavelength, row) for row in spectra.reshape(-1, len(wavelength))], 1)
    galaxy = np.interp(grid, wavelength, flux)
    step_kms = _C_KMS * (logs[1] - logs[0])
    found = ppxf(
        (templates / scale).reshape(-1, n_ages, n_met),
        galaxy,
        np.full(len(grid), _ERROR),
        step_kms,
        [0.0, step_kms],
        moments=2,
        degree=-1,
        mdegree=DEGREE,
        regul=_STRENGTH,
        reg_dim=(n_ages, n_met),
        quiet=True,
    )
    weights = found.weights[: n_ages * n_met].reshape(n_ages, n_met)
    by_age = weights.sum(1) / weights.sum()
    return Fit(
        _formation_times(ages_gyr[young], by_age, shares),
        float((weights.sum(0) * view.metallicities.numpy()).sum() / weights.sum()),
        np.interp(wavelength, grid, found.bestfit),
    )


def _formation_times(ages_gyr: Array, mass: Array, shares: Array) -> Array:
    """Times when shares of the mass had formed; the mass of an age is spread to half way to its neighbours."""
    edges = np.concatenate([[0.0], 0.5 * (ages_gyr[1:] + ages_gyr[:-1]), [AGE_OF_UNIVERSE]])
    formed = np.concatenate([[0.0], np.cumsum(mass[::-1])])
    times = AGE_OF_UNIVERSE - edges[::-1]
    # the bin in which a share is reached; those without mass are passed over
    bins = np.searchsorted(formed, shares * formed[-1]) - 1
    inside = (shares * formed[-1] - formed[bins]) / np.diff(formed)[bins]
    return times[bins] + inside * np.diff(times)[bins]
