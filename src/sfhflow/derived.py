r"""What formation times imply: ages, recent star formation, quenching.

A sample is a set of cosmic times :math:`t_k` at which the mass fractions :math:`f_k` had formed, with a constant
rate in between, so the mass formed by time *t* is piecewise linear,

.. math:: F(t) = \sum_k (f_k - f_{k-1})\, \mathrm{clip}\!\left(\frac{t - t_{k-1}}{t_k - t_{k-1}}, 0, 1\right),

and everything here is a closed form of it: no quantity is integrated numerically.  Masses are masses *formed*;
specific rates are therefore per unit mass formed, lower than per unit mass remaining by about 0.2 dex.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfhflow.errors import InputError
from sfhflow.parameters import FRACTIONS

if TYPE_CHECKING:
    from sfhflow.posterior import Posterior

__all__ = [
    "LOG_SSFR_FLOOR",
    "all_columns",
    "cumulative_mass",
    "derived_columns",
    "log_ssfr",
    "mass_weighted_age",
    "recent_fraction",
    "star_formation_rate",
    "time_since_quenching",
]

Array = NDArray[np.float64]

LOG_SSFR_FLOOR = -14.0
"""Least log10 sSFR (1/yr) reported: the mass formed in a Hubble time would be a ten-thousandth of the galaxy's."""

_WINDOWS_GYR = {"10myr": 0.01, "100myr": 0.1, "1gyr": 1.0}


def cumulative_mass(times: ArrayLike, grid: ArrayLike, *, fractions: ArrayLike = FRACTIONS) -> Array:
    """Mass fraction formed up to and including given cosmic times.

    Parameters
    ----------
    times : array of shape (n, F)
        Cosmic times in Gyr at which `fractions` had formed, rising along the last axis.
    grid : array of shape (M,) or (n, M)
        Cosmic times in Gyr.
    fractions : array of shape (F,)
        Rising mass fractions from 0 to 1.

    Returns
    -------
    array of shape (n, M)

    Raises
    ------
    InputError
        If the times and the fractions do not match.
    """
    times, mass = _bins(times, fractions)
    grid = np.asarray(grid, dtype=float)
    formed = np.zeros(np.broadcast_shapes((len(times), 1), grid.shape))
    for k, bin_mass in enumerate(mass):
        start, end = times[:, k, None], times[:, k + 1, None]
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
    times : array of shape (n, F)
        Formation times, as in `cumulative_mass`.
    edges : array of shape (M + 1,) or (n, M + 1)
        Cosmic times in Gyr, strictly rising.
    fractions : array of shape (F,)
        Rising mass fractions from 0 to 1.

    Returns
    -------
    array of shape (n, M)
        In 1/Gyr.
    """
    return np.diff(cumulative_mass(times, edges, fractions=fractions), axis=-1) / np.diff(edges, axis=-1)


def mass_weighted_age(times: ArrayLike, age_of_universe: float, *, fractions: ArrayLike = FRACTIONS) -> Array:
    """Mean lookback time in Gyr at which the mass formed, shape (n,).

    Parameters
    ----------
    times : array of shape (n, F)
        Formation times, as in `cumulative_mass`.
    age_of_universe : float
        Gyr, at the galaxy's redshift.
    fractions : array of shape (F,)
        Rising mass fractions from 0 to 1.
    """
    times, mass = _bins(times, fractions)
    return age_of_universe - 0.5 * (times[:, 1:] + times[:, :-1]) @ mass


def recent_fraction(
    times: ArrayLike, age_of_universe: float, window_gyr: float, *, fractions: ArrayLike = FRACTIONS
) -> Array:
    """Fraction of the mass formed in the last `window_gyr`, shape (n,).

    Parameters
    ----------
    times : array of shape (n, F)
        Formation times, as in `cumulative_mass`.
    age_of_universe : float
        Gyr, at the galaxy's redshift.
    window_gyr : float
        Length of the window in Gyr; longer than the age of the Universe means all of it.
    fractions : array of shape (F,)
        Rising mass fractions from 0 to 1.
    """
    before = cumulative_mass(times, np.array([age_of_universe - window_gyr]), fractions=fractions)
    # 1 - F of a galaxy that is dead leaves a rounding error of either sign
    return np.clip(1.0 - before[:, 0], 0.0, 1.0)


def log_ssfr(
    times: ArrayLike, age_of_universe: float, window_gyr: float, *, fractions: ArrayLike = FRACTIONS
) -> Array:
    """log10 of the specific star formation rate (1/yr), averaged over the last `window_gyr`, shape (n,).

    The rate is per unit of mass formed over the whole history.  Values below `LOG_SSFR_FLOOR`, among them that
    of a galaxy without any star formation in the window, are set to it.

    Parameters
    ----------
    times, age_of_universe, window_gyr, fractions
        As in `recent_fraction`.
    """
    recent = recent_fraction(times, age_of_universe, window_gyr, fractions=fractions)
    return np.log10(np.maximum(recent / (1e9 * window_gyr), 10.0**LOG_SSFR_FLOOR))


def time_since_quenching(
    times: ArrayLike,
    age_of_universe: float,
    *,
    threshold: float = 0.2,
    window_gyr: float = 0.1,
    fractions: ArrayLike = FRACTIONS,
) -> Array:
    r"""Time in Gyr for which the galaxy has been quiescent; NaN where it still forms stars.  Shape (n,).

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
    """
    times, mass = _bins(times, fractions)
    formed = np.cumsum(mass)
    active = mass * times[:, 1:] >= threshold * formed * np.diff(times, axis=-1)
    # the first bin is always active; the last active one is found from the end
    last = active.shape[1] - np.argmax(active[:, ::-1], axis=1)
    quiet = age_of_universe - times[np.arange(len(times)), last]
    present = recent_fraction(times, age_of_universe, window_gyr, fractions=fractions) / window_gyr
    return np.where(present < threshold / age_of_universe, quiet, np.nan)


def all_columns(posterior: Posterior) -> dict[str, tuple[Array, str]]:
    """Samples (n,) and unit of every inferred and every derived quantity, by name."""
    return {**posterior.columns(), **derived_columns(posterior)}


def derived_columns(posterior: Posterior) -> dict[str, tuple[Array, str]]:
    """Samples (n,) and unit of every derived quantity, by name.

    Parameters
    ----------
    posterior : Posterior
        Samples of one galaxy.

    Returns
    -------
    dict
        ``age_mw`` mass-weighted age; ``log_ssfr_10myr``, ``log_ssfr_100myr`` and ``log_ssfr_1gyr`` recent specific
        rates; ``f_1gyr`` fraction of the mass formed in the last Gyr; ``quiescent_for`` time since quenching, NaN
        in samples that still form stars.
    """
    times, age = posterior.times, posterior.age_of_universe
    columns = {"age_mw": (mass_weighted_age(times, age), "Gyr")}
    for label, window in _WINDOWS_GYR.items():
        columns[f"log_ssfr_{label}"] = (log_ssfr(times, age, window), "dex(1/yr)")
    columns["f_1gyr"] = (recent_fraction(times, age, 1.0), "")
    columns["quiescent_for"] = (time_since_quenching(times, age), "Gyr")
    return columns


def _bins(times: ArrayLike, fractions: ArrayLike) -> tuple[Array, Array]:
    """Formation times (n, F) and the mass formed between them (F - 1,)."""
    times, fractions = np.asarray(times, dtype=float), np.asarray(fractions, dtype=float)
    if fractions.ndim != 1 or times.ndim != 2 or times.shape[1] != len(fractions):
        raise InputError(
            f"formation times have shape {times.shape}, expected (n, {fractions.size}), one time for each mass "
            "fraction; select the columns that match"
        )
    mass = np.diff(fractions)
    if len(mass) == 0 or fractions[0] != 0 or fractions[-1] != 1 or not np.all(mass > 0):
        raise InputError(
            f"mass fractions are {fractions.tolist()}, expected strictly rising numbers from 0 to 1; add the end "
            "points or sort them"
        )
    return times, mass
