r"""The curves that figures show, whatever draws them: data and fit on one scale, and bands of the history.

Fluxes are divided by the median of the data; model spectra are scaled to the data by weighted least squares,

.. math:: s = \frac{\sum_i w_i d_i m_i}{\sum_i w_i m_i^2},

over the fitted pixels, because a model knows nothing of the data's flux unit.  Bands are quantiles of the samples
at each time; the median curve is not itself a history.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sfhflow import derived
from sfhflow.cosmology import age_of_universe
from sfhflow.grid import pixel_edges
from sfhflow.lines import emission_line_mask
from sfhflow.observation import rest_frame_air
from sfhflow.posterior import Posterior

__all__ = [
    "BAND_LEVELS",
    "Data",
    "Predictive",
    "assembly",
    "bands",
    "formation_rate",
    "normalised",
    "pixel_runs",
    "redshift_ticks",
    "residuals",
    "scaled",
]

Array = NDArray[np.float64]

Predictive = tuple[Array, Array, Array, Array]
"""Model spectra of the posterior: rest-frame air wavelengths (Angstrom), and the 16, 50 and 84 % quantiles of the
noiseless flux there, each of shape (p,), in any linear unit."""

BAND_LEVELS = (0.025, 0.16, 0.5, 0.84, 0.975)
"""Quantiles of `bands`: the 95 % interval, the 68 % interval and the median."""

_REDSHIFTS = np.array([6.0, 3.0, 2.0, 1.0, 0.5, 0.2, 0.0])
# on the cube root of lookback time the early Universe is crowded, and the last Gyr wide
_REDSHIFTS_LATE = np.array([4.0, 1.0, 0.5, 0.2, 0.05, 0.01, 0.0])
# shorter times cannot be told apart in a spectrum of stars
_SHORTEST_GYR = 0.01


class Data(NamedTuple):
    """An observed spectrum as figures show it.

    Attributes
    ----------
    wavelength : array of shape (n,)
        Rest frame, air, Angstrom.
    flux, error : arrays of shape (n,)
        Divided by the median flux; NaN where masked.
    good : array of bool, shape (n,)
        Pixels that are not masked.
    """

    wavelength: Array
    flux: Array
    error: Array
    good: NDArray[np.bool_]


def normalised(posterior: Posterior) -> Data:
    """Return the spectrum behind a posterior, divided by its median flux."""
    data = posterior.spectrum
    good = ~data.mask
    scale = np.abs(np.median(data.flux[good])) or 1.0
    flux, error = (np.where(good, values, np.nan) / scale for values in (data.flux, data.error))
    return Data(rest_frame_air(data), flux, error, good)


def scaled(predictive: Predictive, data: Data) -> Predictive:
    """Scale model spectra to the data, over the unmasked pixels outside the windows of emission lines."""
    grid, low, median, high = (np.asarray(part, dtype=float) for part in predictive)
    used = np.isfinite(data.flux) & ~emission_line_mask(data.wavelength)
    used &= (data.wavelength >= grid[0]) & (data.wavelength <= grid[-1])
    model, weight = np.interp(data.wavelength[used], grid, median), data.error[used] ** -2
    norm = np.sum(weight * model**2)
    scale = np.sum(weight * model * data.flux[used]) / norm if norm > 0 else 1.0
    return grid, scale * low, scale * median, scale * high


def residuals(data: Data, fit: Predictive, *, mask_lines: bool = True) -> Array:
    """Return (data - fit) / error of each pixel, NaN where it was not fitted, shape (n,).

    Parameters
    ----------
    data : Data
        The spectrum.
    fit : Predictive
        Model spectra on the scale of the data.
    mask_lines : bool
        The windows of the emission lines were left out.
    """
    grid, _, median, _ = fit
    chi = (data.flux - np.interp(data.wavelength, grid, median, left=np.nan, right=np.nan)) / data.error
    return np.where(emission_line_mask(data.wavelength), np.nan, chi) if mask_lines else chi


def pixel_runs(wavelength: Array, pixels: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """First and last wavelength of each run of chosen pixels, from edge to edge."""
    edges = pixel_edges(wavelength)
    change = np.flatnonzero(np.diff(np.concatenate([[False], pixels, [False]]).astype(int)))
    return [(float(edges[a]), float(edges[b])) for a, b in zip(change[::2], change[1::2], strict=True)]


def bands(samples: Array) -> Array:
    """Quantiles `BAND_LEVELS` of samples (n, M) at each of M places, shape (5, M)."""
    return np.quantile(samples, BAND_LEVELS, axis=0)


def assembly(posterior: Posterior, *, n_times: int = 201) -> tuple[Array, Array]:
    """Cosmic times in Gyr, shape (M,), and the mass fraction of each sample formed by then, shape (n, M)."""
    grid = np.linspace(0.0, posterior.age_of_universe, n_times)
    return grid, derived.cumulative_mass(posterior.times, grid)


def formation_rate(posterior: Posterior, *, n_bins: int = 60) -> tuple[Array, Array]:
    """Star formation rate per unit of mass formed, averaged over bins of lookback time.

    Parameters
    ----------
    posterior : Posterior
        Samples of one galaxy.
    n_bins : int
        Bins, equal in the cube root of the lookback time but none shorter than 10 Myr.

    Returns
    -------
    edges : array of shape (M + 1,)
        Lookback times in Gyr, falling to zero.
    rates : array of shape (n, M)
        In 1/Gyr.
    """
    age = posterior.age_of_universe
    lookback = np.linspace(np.cbrt(age), 0.0, n_bins + 1) ** 3
    lookback = np.append(lookback[lookback >= _SHORTEST_GYR], 0.0)
    return lookback, derived.star_formation_rate(posterior.times, age - lookback)


def redshift_ticks(age: float, *, cube_root: bool = False) -> tuple[Array, list[str]]:
    """Where to mark redshifts on an axis of time.

    Parameters
    ----------
    age : float
        Age of the Universe in Gyr at which the axis ends.
    cube_root : bool
        The axis is linear in the cube root of lookback time.

    Returns
    -------
    ages : ndarray of shape (k,)
        Ages of the Universe in Gyr, none beyond `age`.
    labels : list of str
        The redshifts at which the Universe had them.
    """
    redshifts = _REDSHIFTS_LATE if cube_root else _REDSHIFTS
    ages = age_of_universe(redshifts)
    keep = ages <= age * 1.001
    return np.minimum(ages[keep], age), [f"{z:g}" for z in redshifts[keep]]
