"""Everything that follows from the samples of a posterior: assembly, light and mass, as named columns.

Closed forms of the formation times come from `sfhflow.assembly`, light from the table that the model keeps
(`sfhflow.light`), and the mass from the luminosity of the observed spectrum (`sfhflow.photometry`),

    log M = log L(band) + log (M/L)(band, seen through dust),

where both are those of the stars in the aperture.  Masses are masses *formed*.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfhflow.answers import PosteriorBatch
from sfhflow.assembly import (
    LOG_SSFR_FLOOR,
    cumulative_mass,
    log_rate,
    log_ssfr,
    mass_weighted_age,
    quenching_time,
    quiescent_probability,
    recent_fraction,
    star_formation_rate,
    time_since_quenching,
)
from sfhflow.light import Light, attenuation
from sfhflow.photometry import log_luminosities
from sfhflow.posterior import Posterior

__all__ = [
    "LOG_SSFR_FLOOR",
    "all_columns",
    "cumulative_mass",
    "derived_columns",
    "log_ssfr",
    "mass_weighted_age",
    "quantities",
    "quenching_time",
    "quiescent_probability",
    "recent_fraction",
    "star_formation_rate",
    "time_since_quenching",
]

Array = NDArray[np.float64]

_WINDOWS_GYR = {"10myr": 0.01, "100myr": 0.1, "1gyr": 1.0}


def all_columns(posterior: Posterior | PosteriorBatch) -> dict[str, tuple[Array, str]]:
    """Samples (n,) or (N, n) and unit of every inferred and every derived quantity, by name."""
    return {**posterior.columns(), **derived_columns(posterior)}


def derived_columns(posterior: Posterior | PosteriorBatch) -> dict[str, tuple[Array, str]]:
    """Samples (n,) or (N, n) and unit of every derived quantity, by name; see `quantities`."""
    return quantities(
        posterior.times,
        np.asarray(posterior.age_of_universe)[..., None],
        metallicity=posterior.metallicity,
        a_v=posterior.a_v,
        light=posterior.light,
        log_luminosity=_luminosities(posterior),
    )


def quantities(
    times: ArrayLike,
    age_of_universe: float | Array,
    *,
    metallicity: Array,
    a_v: Array,
    light: Light | None = None,
    log_luminosity: Mapping[str, float | Array] | None = None,
) -> dict[str, tuple[Array, str]]:
    """Samples and unit of every derived quantity, by name, for any number of galaxies at once.

    Parameters
    ----------
    times : array of shape (..., n, 13)
        Cosmic times in Gyr at which `FRACTIONS` of the mass had formed.
    age_of_universe : float or array that broadcasts against (..., n)
        Gyr, at the galaxy's redshift: shape (N, 1) for N galaxies.
    metallicity, a_v : arrays of shape (..., n)
        [M/H] in dex and attenuation at 5500 Angstrom in mag.
    light : Light, optional
        Light of the stellar populations; without it there are no quantities of light and no mass.
    log_luminosity : mapping of str to float or array that broadcasts against (..., n), optional
        log10 of the observed luminosity by band, in solar luminosities of the band, NaN where unknown, as
        `sfhflow.photometry.log_luminosities` measures it.

    Returns
    -------
    dict
        Arrays (..., n) with their units.  ``age_mw`` mass-weighted age; ``log_ssfr_10myr``, ``log_ssfr_100myr``
        and ``log_ssfr_1gyr`` recent specific rates; ``f_1gyr`` fraction of the mass formed in the last Gyr;
        ``quiescent_for`` time since quenching, NaN in samples that still form stars; ``t_quench`` cosmic time of
        quenching, infinite in those.  With `light`, ``age_lw`` light-weighted age (r band); ``log_ml_r`` and
        ``log_ml_v`` ratio of the mass formed to the light in a band; ``log_ml_r_dusty`` and ``log_ml_v_dusty`` to
        what dust lets through of it; ``log_mass`` mass formed, NaN where no luminosity is known.
    """
    times = np.asarray(times, dtype=float)
    recent = {label: recent_fraction(times, age_of_universe, window) for label, window in _WINDOWS_GYR.items()}
    columns = {"age_mw": (mass_weighted_age(times, age_of_universe), "Gyr")}
    for label, window in _WINDOWS_GYR.items():
        columns[f"log_ssfr_{label}"] = (log_rate(recent[label], window), "dex(1/yr)")
    columns["f_1gyr"] = (recent["1gyr"], "")
    when = quenching_time(times, age_of_universe)
    columns["quiescent_for"] = (np.where(np.isfinite(when), age_of_universe - when, np.nan), "Gyr")
    columns["t_quench"] = (when, "Gyr")
    if light:
        columns |= _of_light(times, age_of_universe, metallicity, a_v, light, log_luminosity or {})
    return columns


def _luminosities(posterior: Posterior | PosteriorBatch) -> dict[str, Array]:
    """Logarithms of the observed luminosity by band, each (1,) or (N, 1)."""
    if posterior.light is None:
        return {}
    bands = tuple(posterior.light.bands)
    if isinstance(posterior, PosteriorBatch):
        rows = [log_luminosities(spectrum, bands) for spectrum in posterior.spectra]
        return {name: np.array([[row[name]] for row in rows]) for name in bands}
    return {name: np.array([value]) for name, value in log_luminosities(posterior.spectrum, bands).items()}


def _of_light(
    times: Array,
    age_of_universe: float | Array,
    metallicity: Array,
    a_v: Array,
    light: Light,
    log_luminosity: Mapping[str, float | Array],
) -> dict[str, tuple[Array, str]]:
    stars = light.of(times, age_of_universe, metallicity)
    columns = {} if stars.age is None else {"age_lw": (stars.age, "Gyr")}
    ratio = {name: -np.log(values) / np.log(10) for name, values in stars.bands.items()}
    dusty = {name: values + 0.4 * attenuation(name, a_v) for name, values in ratio.items()}
    columns |= {f"log_ml_{name}": (values, "dex(Msun/Lsun)") for name, values in ratio.items()}
    columns |= {f"log_ml_{name}_dusty": (values, "dex(Msun/Lsun)") for name, values in dusty.items()}
    log_mass = np.full(times.shape[:-1], np.nan)
    for name, values in dusty.items():
        measured = log_luminosity.get(name, np.nan) + values
        log_mass = np.where(np.isnan(log_mass), measured, log_mass)
    return columns | {"log_mass": (log_mass, "dex(Msun)")}
