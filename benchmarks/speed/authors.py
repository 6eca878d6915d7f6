"""The thesis' way from a tuple to a spectrum, one galaxy and one SSP at a time.

For each galaxy a Gaussian process gives the star formation rate at 1000 times, as `dense_basis` does; then a loop
over these adds, for each, the SSP of its age and of the galaxy's metallicity, interpolated in the library, times
the mass formed (Iglesias-Navarro et al. 2024, A&A 689, A58, section 3).  Plain NumPy throughout, with the vector
operations that such a program has: along the 1000 times and along the pixels.  The SSP of a time step is the mean
over the step, in closed form, of the interpolation that is linear in log age; with the step's midpoint instead,
the last steps would be wrong by more than the 1e-5 to be checked.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sfhflow.ssp import SSPLibrary

__all__ = ["spectrum", "star_formation_rate"]

Array = NDArray[np.float64]


def star_formation_rate(sfh_tuple: Array, age_gyr: float, n_times: int = 1000) -> Array:
    """Rates (n_times,) of one tuple (log M, log SFR, Q, Q times), as `dense_basis.tuple_to_sfh`."""
    mass, rate, n_quantiles = 10 ** sfh_tuple[0], 10 ** sfh_tuple[1], int(sfh_tuple[2])
    time, fraction = _knots(sfh_tuple[3:], rate / mass * age_gyr * 1e9)
    noise = np.full(len(time), 1.25e-12)
    noise[2 : 2 + n_quantiles] += (0.001 / np.sqrt(n_quantiles)) ** 2
    weights = np.linalg.solve(_kernel(time[:, None], time[None, :], fraction) + np.diag(noise), fraction)
    grid = np.linspace(0, 1, n_times)
    curve = _kernel(grid[:, None], time[None, :], fraction) @ weights
    sfr = np.diff(curve) * mass / (age_gyr * 1e9 / n_times)
    sfr = np.insert(np.maximum(sfr, 0.0), 0, 0.0)
    return _present_rate(sfr, mass, rate, age_gyr)


def spectrum(
    sfh_tuple: Array, metallicity: float, age_gyr: float, library: SSPLibrary, n_times: int = 1000
) -> Array:
    """Spectrum (P,) per solar mass formed, on the wavelengths of `library`."""
    sfr = star_formation_rate(sfh_tuple, age_gyr, n_times)[1:]
    mass = sfr / sfr.sum()
    edges = age_gyr * (1.0 - np.linspace(0, 1, n_times))
    total = np.zeros(len(library.wavelength))
    for formed, oldest, youngest in zip(mass, edges[:-1], edges[1:], strict=True):
        total += formed * _ssp(max(youngest, 0.0), oldest, metallicity, library)
    return total


def _knots(quantile_times: Array, growth: float) -> tuple[Array, Array]:
    """Times and mass fractions that the curve passes: a start from zero, the quantiles, and the present rate."""
    n_quantiles = len(quantile_times)
    time = [0.0, 0.01, *quantile_times]
    mass = [0.0, 0.0, *np.linspace(0, 1, n_quantiles + 2)[1:-1]]
    for value in (0.97, 0.98, 0.99):
        reached = 1 - (1 - value) / growth
        if reached > time[-1] and reached > 0.9:
            time.append(reached)
            mass.append(value)
        else:
            time.append(value)
            mass.append(1 - growth * (1 - value))
    return np.array([*time, 1.0]), np.array([*mass, 1.0])


def _kernel(a: Array, b: Array, fraction: Array) -> Array:
    metric = np.median(fraction)
    r = np.sqrt(3 * (a - b) ** 2 / metric)
    return np.var(fraction) * ((1 + r) * np.exp(-r) + (a * b) ** 2 / np.exp(metric))


def _present_rate(sfr: Array, mass: float, rate: float, age_gyr: float) -> Array:
    """Give the last 10 Myr the present rate where the curve misses it, and the past the rest of the mass."""
    time = np.linspace(0, age_gyr, len(sfr))
    n_last = len(sfr) - np.argmin(np.abs(time - (age_gyr - 0.01))) - 1
    n_last = n_last if n_last > 0 else 2
    past, last = sfr[:-n_last].copy(), sfr[-n_last:].copy()
    mass_past, mass_last = np.trapezoid(past, time[:-n_last] * 1e9), np.trapezoid(last, time[-n_last:] * 1e9)
    past *= max(mass - mass_last, 0.0) / mass_past if mass_past > 0 else 0.0
    with np.errstate(divide="ignore"):
        last = np.where(np.abs(np.log10(last[-1]) - np.log10(rate)) > 0.05, rate, last)
    return np.concatenate([past, last])


def _ssp(youngest: float, oldest: float, metallicity: float, library: SSPLibrary) -> Array:
    """SSP of one metallicity, averaged over ages between two limits in Gyr."""
    nodes = library.ages_gyr
    z = int(np.clip(np.searchsorted(library.metallicities, metallicity) - 1, 0, len(library.metallicities) - 2))
    low, high = library.metallicities[z : z + 2]
    upper = (metallicity - low) / (high - low)
    total = np.zeros(library.flux.shape[-1])
    # ages below the youngest SSP are given its spectrum; a step may reach over several nodes of the library
    breaks = [youngest, *nodes[(nodes > youngest) & (nodes < oldest)], oldest]
    for start, stop in pairwise(breaks):
        share = (stop - start) / (oldest - youngest)
        a = int(np.clip(np.searchsorted(nodes, 0.5 * (start + stop)) - 1, 0, len(nodes) - 2))
        older = 0.0
        if start >= nodes[0]:
            older = (_mean_log(start, stop) - np.log(nodes[a])) / np.log(nodes[a + 1] / nodes[a])
        flux = library.flux[a : a + 2, z : z + 2]
        total += share * (
            (1 - older) * ((1 - upper) * flux[0, 0] + upper * flux[0, 1])
            + older * ((1 - upper) * flux[1, 0] + upper * flux[1, 1])
        )
    return total


def _mean_log(start: float, stop: float) -> float:
    return (stop * np.log(stop) - start * np.log(start)) / (stop - start) - 1.0
