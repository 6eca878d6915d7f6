r"""What formation times imply for the assembly of a galaxy: its history, age, recent rates and quenching.

A sample is a set of cosmic times :math:`t_k` at which the mass fractions :math:`f_k` had formed, with a constant
rate in between, so the mass formed by time *t* is piecewise linear,

.. math:: F(t) = \sum_k (f_k - f_{k-1})\, \mathrm{clip}\!\left(\frac{t - t_{k-1}}{t_k - t_{k-1}}, 0, 1\right),

and everything here is a closed form of it: no quantity is integrated numerically.  Masses are masses *formed*;
specific rates are therefore per unit mass formed, lower than per unit mass remaining by about 0.2 dex.

All functions take any number of leading axes, such as galaxies and samples, before that of the formation times.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfhflow.errors import InputError
from sfhflow.parameters import FRACTIONS

__all__ = [
    "LOG_SSFR_FLOOR",
    "cumulative_mass",
    "log_rate",
    "log_ssfr",
    "mass_weighted_age",
    "quenching_time",
    "quiescent_probability",
    "recent_fraction",
    "star_formation_rate",
    "time_since_quenching",
]

Array = NDArray[np.float64]

LOG_SSFR_FLOOR = -14.0
"""Least log10 sSFR (1/yr) reported: the mass formed in a Hubble time would be a ten-thousandth of the galaxy's."""

# specific rate, in units of the inverse age of the Universe, below which a galaxy is quiescent
_QUIESCENT = 0.2


def cumulative_mass(times: ArrayLike, grid: ArrayLike, *, fractions: ArrayLike = FRACTIONS) -> Array:
    """Mass fraction formed up to and including given cosmic times: the history of each sample on a grid.

    Parameters
    ----------
    times : array of shape (..., F)
        Cosmic times in Gyr at which `fractions` had formed, rising along the last axis.
    grid : array of shape (M,) or (..., M)
        Cosmic times in Gyr.
    fractions : array of shape (F,)
        Rising mass fractions from 0 to 1.

    Returns
    -------
    array of shape (..., M)

    Raises
    ------
    InputError
        If the times and the fractions do not match.
    """
    times, mass = _bins(times, fractions)
    grid = np.asarray(grid, dtype=float)
    formed = np.zeros(np.broadcast_shapes((*times.shape[:-1], 1), grid.shape))
    for k, bin_mass in enumerate(mass):
        start, end = times[..., k, None], times[..., k + 1, None]
        width = end - start
        # a bin of zero width is an instantaneous burst: all of its mass is there once its time has come
        inside = np.divide(grid - start, width, out=np.where(grid >= end, 1.0, 0.0), where=width > 0)
        formed += bin_mass * np.clip(inside, 0.0, 1.0)
    return formed


def star_formation_rate(times: ArrayLike, edges: ArrayLike, *, fractions: ArrayLike = FRACTIONS) -> Array:
    """Fraction of the mass formed per Gyr, averaged between neighbouring `edges`.

    Averages, unlike values at points, conserve mass whatever the bins and are finite for any burst.

    Parameters
    ----------
    times : array of shape (..., F)
        Formation times, as in `cumulative_mass`.
    edges : array of shape (M + 1,) or (..., M + 1)
        Cosmic times in Gyr, strictly rising.
    fractions : array of shape (F,)
        Rising mass fractions from 0 to 1.

    Returns
    -------
    array of shape (..., M)
        In 1/Gyr.
    """
    return np.diff(cumulative_mass(times, edges, fractions=fractions), axis=-1) / np.diff(edges, axis=-1)


def mass_weighted_age(
    times: ArrayLike, age_of_universe: float | Array, *, fractions: ArrayLike = FRACTIONS
) -> Array:
    """Mean lookback time in Gyr at which the mass formed, shape (...).

    Parameters
    ----------
    times : array of shape (..., F)
        Formation times, as in `cumulative_mass`.
    age_of_universe : float or array that broadcasts against (...)
        Gyr, at the galaxy's redshift.
    fractions : array of shape (F,)
        Rising mass fractions from 0 to 1.
    """
    times, mass = _bins(times, fractions)
    # each time ends one bin and starts the next
    weights = 0.5 * (np.append(mass, 0.0) + np.append(0.0, mass))
    return age_of_universe - times @ weights


def recent_fraction(
    times: ArrayLike, age_of_universe: float | Array, window_gyr: float, *, fractions: ArrayLike = FRACTIONS
) -> Array:
    """Fraction of the mass formed in the last `window_gyr`, shape (...).

    Parameters
    ----------
    times : array of shape (..., F)
        Formation times, as in `cumulative_mass`.
    age_of_universe : float or array that broadcasts against (...)
        Gyr, at the galaxy's redshift.
    window_gyr : float
        Length of the window in Gyr; longer than the age of the Universe means all of it.
    fractions : array of shape (F,)
        Rising mass fractions from 0 to 1.
    """
    times, mass = _bins(times, fractions)
    start = np.asarray(age_of_universe) - window_gyr
    recent = np.zeros(np.broadcast_shapes(times.shape[:-1], start.shape))
    # summed from the present backwards, over the bins that the window reaches anywhere
    for k in range(len(mass) - 1, -1, -1):
        begin, end = times[..., k], times[..., k + 1]
        if np.all(end <= start):
            break
        width = end - begin
        # a bin of zero width is an instantaneous burst: it lies within the window or before it
        share = np.divide(end - start, width, out=np.where(end > start, 1.0, 0.0), where=width > 0)
        recent += mass[k] * np.clip(share, 0.0, 1.0)
    # a sum of masses misses one by a rounding error
    return np.where(times[..., 0] >= start, 1.0, np.minimum(recent, 1.0))


def log_ssfr(
    times: ArrayLike, age_of_universe: float | Array, window_gyr: float, *, fractions: ArrayLike = FRACTIONS
) -> Array:
    """log10 of the specific star formation rate (1/yr), averaged over the last `window_gyr`, shape (...).

    The rate is per unit of mass formed over the whole history.  Values below `LOG_SSFR_FLOOR`, among them that
    of a galaxy without any star formation in the window, are set to it.

    Parameters
    ----------
    times, age_of_universe, window_gyr, fractions
        As in `recent_fraction`.
    """
    return log_rate(recent_fraction(times, age_of_universe, window_gyr, fractions=fractions), window_gyr)


def log_rate(fraction: ArrayLike, window_gyr: float) -> Array:
    """log10 of the specific rate (1/yr) that forms a fraction of the mass in a window, not below the floor."""
    rate = np.maximum(np.asarray(fraction) / (1e9 * window_gyr), 10.0**LOG_SSFR_FLOOR)
    # several times faster than log10, but not exact at the floor
    return np.maximum(np.log(rate) / np.log(10), LOG_SSFR_FLOOR)


def quenching_time(
    times: ArrayLike,
    age_of_universe: float | Array,
    *,
    threshold: float = _QUIESCENT,
    window_gyr: float = 0.1,
    fractions: ArrayLike = FRACTIONS,
) -> Array:
    r"""Cosmic time in Gyr since which the galaxy has been quiescent; infinite where it still forms stars.

    Quiescent means a specific rate below `threshold` over the age of the Universe at the time,

    .. math:: \dot F(t) / F(t) < 0.2 / t,

    the criterion of Pacifici et al. (2016, ApJ 832, 79); since :math:`F(t)/t` is the mean rate up to *t*, it is
    the normalised rate whose fall Carnall et al. (2018, MNRAS 480, 4379) call quenching.  At a constant rate
    :math:`\dot F t / F` moves towards one, from above in the first bin and from below after a pause, so a bin is
    quiescent throughout if it is so at its end, and quenching happens at a formation time.

    Parameters
    ----------
    times, age_of_universe, fractions
        As in `recent_fraction`.
    threshold : float
        Specific rate in units of the inverse age of the Universe.
    window_gyr : float
        The present rate is the mean over this time, so that the pause after the last formation time of a
        galaxy in full activity does not count as quenching.

    Returns
    -------
    array of shape (...)
    """
    times, mass = _bins(times, fractions)
    recent = recent_fraction(times, age_of_universe, window_gyr, fractions=fractions)
    # the end of the last bin that was active at its end; the first bin always is
    last = times[..., 1]
    for k, formed in enumerate(np.cumsum(mass)[1:], 1):
        start, end = times[..., k], times[..., k + 1]
        last = np.where(mass[k] * end >= threshold * formed * (end - start), end, last)
    return np.where(recent / window_gyr * age_of_universe < threshold, last, np.inf)


def time_since_quenching(
    times: ArrayLike,
    age_of_universe: float | Array,
    *,
    threshold: float = _QUIESCENT,
    window_gyr: float = 0.1,
    fractions: ArrayLike = FRACTIONS,
) -> Array:
    """Time in Gyr since `quenching_time`, with its parameters; NaN where the galaxy still forms stars."""
    when = quenching_time(times, age_of_universe, threshold=threshold, window_gyr=window_gyr, fractions=fractions)
    return np.where(np.isfinite(when), age_of_universe - when, np.nan)


def quiescent_probability(when: ArrayLike) -> Array:
    """Probability that a galaxy is quiescent when it is observed: the fraction of its samples that are.

    Its standard error from *n* samples is sqrt(p (1 - p) / n).

    Parameters
    ----------
    when : array of shape (...)
        `quenching_time` of the samples.

    Returns
    -------
    array of shape (...)
    """
    return np.mean(np.isfinite(when), axis=-1)


def _bins(times: ArrayLike, fractions: ArrayLike) -> tuple[Array, Array]:
    """Formation times (..., F) and the mass formed between them (F - 1,)."""
    times, fractions = np.asarray(times, dtype=float), np.asarray(fractions, dtype=float)
    if fractions.ndim != 1 or times.ndim < 2 or times.shape[-1] != len(fractions):
        raise InputError(
            f"formation times have shape {times.shape}, expected (..., {fractions.size}), one time for each mass "
            "fraction; select the columns that match"
        )
    mass = np.diff(fractions)
    if len(mass) == 0 or fractions[0] != 0 or fractions[-1] != 1 or not np.all(mass > 0):
        raise InputError(
            f"mass fractions are {fractions.tolist()}, expected strictly rising numbers from 0 to 1; add the end "
            "points or sort them"
        )
    return times, mass
