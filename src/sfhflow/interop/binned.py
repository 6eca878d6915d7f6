r"""To Bagpipes and Prospector: star formation rates in bins of lookback time.

A bin from lookback time a to b holds the mass :math:`M [F(t_0 - a) - F(t_0 - b)]`, with F the fraction formed by a
cosmic time and :math:`t_0` the age of the Universe: this is exact, whatever the bins.  Both packages parametrise
such histories by the total mass formed and logarithms of ratios of neighbouring rates, in opposite order:

* Prospector (``continuity_sfh``): bins from the youngest on, ``logsfr_ratios[j]`` = log10(SFR_j / SFR_j+1);
* Bagpipes (``continuity``): ``dsfr1`` is log10 of the rate of the second oldest bin over that of the oldest.

The spectrum fixes no masses, only their fractions: give the total mass formed, else it is one solar mass.  A rate
of zero has no logarithm; in ratios, rates below 1e-14 a year per mass formed count as that.

Source: Leja et al. 2019, ApJ 876, 3 (Prospector's ``logsfr_ratios_to_masses``); Carnall et al. 2019, MNRAS 490,
417 (Bagpipes' ``continuity``).
"""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable
from numpy.typing import ArrayLike, NDArray

from sfhflow.derived import LOG_SSFR_FLOOR, star_formation_rate
from sfhflow.errors import InputError
from sfhflow.posterior import QUANTILES, Posterior

__all__ = ["bagpipes_continuity", "default_edges", "prospector_continuity", "sfh_table"]

Array = NDArray[np.float64]

# as Leja et al. 2019: two young bins, then equal steps of the logarithm, and an oldest bin
_YOUNG_GYR = (0.0, 0.03, 0.1)
_OLDEST_FRACTION = 0.85


def default_edges(age_of_universe: float, n_bins: int = 7) -> Array:
    """Edges of bins in lookback time, as Leja et al. (2019) choose them.

    Parameters
    ----------
    age_of_universe : float
        Gyr, at the galaxy's redshift.
    n_bins : int
        Number of bins, four at least: 0 to 30 Myr, 30 to 100 Myr, equal steps of log time, and the last 15 % of
        the age of the Universe.

    Returns
    -------
    array of shape (n_bins + 1,)
        Lookback times in Gyr, rising from zero to `age_of_universe`.

    Raises
    ------
    InputError
        If there are fewer than four bins.
    """
    if n_bins < 4:
        raise InputError(f"n_bins is {n_bins}, expected at least 4; ask for more, or give edges of your own")
    middle = np.geomspace(_YOUNG_GYR[-1], _OLDEST_FRACTION * age_of_universe, n_bins - 2)
    return np.concatenate([_YOUNG_GYR[:-1], middle, [age_of_universe]])


def sfh_table(posterior: Posterior, edges_gyr: ArrayLike | None = None, *, mass: float = 1.0) -> QTable:
    """Return the star formation history as a table of bins, from the youngest to the oldest.

    Parameters
    ----------
    posterior : Posterior
        Samples of one galaxy.
    edges_gyr : array of shape (B + 1,), optional
        Edges in lookback time (Gyr), rising from 0 to the age of the Universe; by default `default_edges`.
    mass : float
        Total stellar mass formed in solar masses.

    Returns
    -------
    QTable
        ``lookback_start``, ``lookback_end`` (Gyr); ``sfr_median``, ``sfr_p16``, ``sfr_p84``, ``sfr_p2_5``,
        ``sfr_p97_5`` (Msun/yr); ``mass_...`` likewise, the mass formed in the bin (Msun).

    Raises
    ------
    InputError
        If the edges or the mass make no sense.
    """
    edges, rates = _rates(posterior, edges_gyr, mass)
    widths = 1e9 * np.diff(edges)
    table = QTable({"lookback_start": edges[:-1] * u.Gyr, "lookback_end": edges[1:] * u.Gyr})
    for kind, samples, unit in (("sfr", rates, u.Msun / u.yr), ("mass", rates * widths, u.Msun)):
        for name, level in QUANTILES.items():
            table[f"{kind}_{name}"] = np.quantile(samples, level, axis=0) * unit
    table.meta.update(
        {"name": posterior.spectrum.name, "redshift": posterior.spectrum.redshift, "mass_formed": mass}
    )
    return table


def prospector_continuity(
    posterior: Posterior, edges_gyr: ArrayLike | None = None, *, mass: float = 1.0
) -> dict[str, Array]:
    """Return samples in the parameters of Prospector's ``continuity_sfh`` template.

    Parameters
    ----------
    posterior, edges_gyr, mass
        As in `sfh_table`.

    Returns
    -------
    dict
        ``agebins`` (B, 2), log10 of lookback years, beginning at 0 (one year) as Prospector's do; ``logmass``
        (n,), log10 of the mass formed (Msun); ``mass`` (n, B), Msun formed in each bin; ``logsfr_ratios``
        (n, B - 1).

    Raises
    ------
    InputError
        If the edges or the mass make no sense.
    """
    edges, rates = _rates(posterior, edges_gyr, mass)
    years = np.log10(np.maximum(1e9 * edges, 1.0))
    return {
        "agebins": np.column_stack([years[:-1], years[1:]]),
        "logmass": np.full(len(rates), np.log10(mass)),
        "mass": rates * 1e9 * np.diff(edges),
        "logsfr_ratios": -np.diff(_log_rates(rates, mass), axis=1),
    }


def bagpipes_continuity(
    posterior: Posterior, edges_gyr: ArrayLike | None = None, *, mass: float = 1.0
) -> dict[str, Any]:
    """Return samples in the parameters of Bagpipes' ``continuity`` component.

    Parameters
    ----------
    posterior, edges_gyr, mass
        As in `sfh_table`.

    Returns
    -------
    dict
        ``bin_edges``, lookback times in Myr, shape (B + 1,); ``massformed`` (n,), log10 of Msun; ``metallicity``
        (n,), 10**[M/H]; and ``dsfr1`` ... ``dsfr{B-1}`` (n,) each.  One sample of each is a component that
        ``bagpipes.model_galaxy`` takes.

    Raises
    ------
    InputError
        If the edges or the mass make no sense.
    """
    edges, rates = _rates(posterior, edges_gyr, mass)
    steps = np.diff(_log_rates(rates, mass)[:, ::-1], axis=1)
    return {
        "bin_edges": 1e3 * edges,
        "massformed": np.full(len(rates), np.log10(mass)),
        "metallicity": 10**posterior.metallicity,
        **{f"dsfr{k + 1}": steps[:, k] for k in range(steps.shape[1])},
    }


def _rates(posterior: Posterior, edges_gyr: ArrayLike | None, mass: float) -> tuple[Array, Array]:
    """Edges (B + 1,) in Gyr and rates (n, B) in Msun/yr, from the youngest bin to the oldest."""
    age = posterior.age_of_universe
    edges = default_edges(age) if edges_gyr is None else np.asarray(edges_gyr, dtype=float)
    _check(edges, age, mass)
    by_cosmic_time = star_formation_rate(posterior.times, age - edges[::-1])
    return edges, 1e-9 * mass * by_cosmic_time[:, ::-1]


def _log_rates(rates: Array, mass: float) -> Array:
    return np.log10(np.maximum(rates, mass * 10.0**LOG_SSFR_FLOOR))


def _check(edges: Array, age: float, mass: float) -> None:
    rising = edges.ndim == 1 and len(edges) > 1 and bool(np.all(np.diff(edges) > 0))
    if not rising or edges[0] != 0 or not np.isclose(edges[-1], age, rtol=1e-3):
        shown = np.array2string(edges, precision=4, threshold=8)
        raise InputError(
            f"edges_gyr are {shown}, expected lookback times in Gyr that rise from 0 to the age of the Universe, "
            f"{age:.4g}, so that no mass is lost; correct them"
        )
    if not 0 < mass < np.inf:
        raise InputError(f"mass is {mass}, expected a positive number of solar masses formed; correct it")
