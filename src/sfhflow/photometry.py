r"""Luminosity of a galaxy in a band, from its spectrum, the unit of its flux, and its distance.

With the flux density per observed Angstrom :math:`f_\lambda`, averaged over the band in the rest frame,

.. math:: L = 4 \pi D_L^2\, (1 + z)\, \langle f_\lambda \rangle,

where :math:`1 + z` turns a flux per observed into one per emitted Angstrom (Hogg 1999, astro-ph/9905116, sec. 7).
It is the light that entered the fibre or the slit: nothing corrects for what fell beside it.  Emission lines and
masked pixels are bridged by straight lines, so that stars alone count.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from functools import lru_cache

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from sfhflow.bands import BANDS, SOLAR_LUMINOSITY, SQUARE_MPC
from sfhflow.cosmology import luminosity_distance
from sfhflow.lines import emission_line_mask
from sfhflow.observation import rest_frame_air
from sfhflow.spectrum import Spectrum

__all__ = ["MIN_REDSHIFT", "distance_mpc", "flux_scale", "log_luminosities"]

Array = NDArray[np.float64]

MIN_REDSHIFT = 0.003
"""Redshift below which none tells a distance: the motions of galaxies are then more than a third of it."""

_FLAM = u.erg / u.s / u.cm**2 / u.AA
# part of a band that must have been observed
_COVERED = 0.95
_MIN_SIGNAL = 3.0


@lru_cache(maxsize=256)
def flux_scale(unit: str) -> float | None:
    """Return what a flux is to be multiplied by to be in erg/s/cm2/Angstrom, or None if its unit does not tell.

    A unit per spaxel or per fibre counts as the light of that spaxel or fibre.  One per solid angle tells nothing.

    Parameters
    ----------
    unit : str
        As files write it, for example ``1e-17 erg / (s cm2 Angstrom)`` or ``10**(-20)*erg/s/cm**2/Angstrom``.
    """
    # nobody measures spectra in amperes
    text = re.sub(r"\b(A|[Aa]ng(strom)?s?)\b", "Angstrom", unit.strip().strip("[]"))
    text = re.sub(r"\bergs\b", "erg", text)
    text = re.sub(r"\bsec\b", "s", text)
    text = re.sub(r"[/ ]\s*(spaxel|spax|fib(er|re))\b", "", text, flags=re.IGNORECASE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", u.UnitsWarning)
            return float(u.Unit(text).to(_FLAM))
    except (ValueError, TypeError):
        return None


def distance_mpc(spectrum: Spectrum) -> float | None:
    """Luminosity distance in Mpc: the one that is given, or that of the redshift; None below `MIN_REDSHIFT`."""
    if spectrum.distance_mpc is not None:
        return spectrum.distance_mpc
    return luminosity_distance(spectrum.redshift) if spectrum.redshift >= MIN_REDSHIFT else None


def log_luminosities(spectrum: Spectrum, bands: Iterable[str] = tuple(BANDS)) -> dict[str, float]:
    """Logarithms of the luminosity in the first band that the spectrum covers.

    Parameters
    ----------
    spectrum : Spectrum
        A galaxy.
    bands : iterable of str
        Names in `sfhflow.bands.BANDS`, the one to be preferred first.

    Returns
    -------
    dict of str to float
        By band, log10 of the luminosity in solar luminosities of the band, attenuated by the dust of the galaxy;
        NaN for all bands but one, and for all of them if unit or distance is unknown or the light not significant.
    """
    result = dict.fromkeys(bands, np.nan)
    scale, distance = flux_scale(spectrum.flux_unit), distance_mpc(spectrum)
    if scale is None or distance is None:
        return result
    wavelength = rest_frame_air(spectrum)
    for name in result:
        weights = BANDS[name].weights(wavelength)
        inside = slice(*np.searchsorted(wavelength, BANDS[name].wavelength[[0, -1]]))
        mean = _mean_flux(wavelength[inside], weights[inside], spectrum.flux[inside], spectrum.ivar[inside])
        if mean is not None:
            density = scale * mean * (1 + spectrum.redshift) * SQUARE_MPC * distance**2
            result[name] = float(np.log10(density / SOLAR_LUMINOSITY / BANDS[name].solar))
            break
    return result


def _mean_flux(wavelength: Array, weights: Array, flux: Array, ivar: Array) -> float | None:
    """Mean flux of the stars with the weights of a band; None if it was hardly observed or is not significant."""
    good = ivar > 0
    if weights[good].sum() < _COVERED:
        return None
    used = good & ~emission_line_mask(wavelength)
    mean = weights @ np.interp(wavelength, wavelength[used], flux[used])
    noise = np.sqrt(weights[used] ** 2 @ (1 / ivar[used]))
    return float(mean / weights.sum()) if mean > _MIN_SIGNAL * noise else None
