r"""Broad-band filters: how much of a spectrum's light one would measure through them.

Detectors count photons, so the mean flux density in a band of response :math:`R(\lambda)` (per photon) is

.. math:: \langle f_\lambda \rangle = \frac{\int f_\lambda\, R\, \lambda\, d\lambda}{\int R\, \lambda\, d\lambda},
          \qquad \langle f_\nu \rangle = \langle f_\lambda \rangle \frac{\lambda_p^2}{c}, \qquad
          \lambda_p^2 = \frac{\int R\, \lambda\, d\lambda}{\int R\, d\lambda / \lambda}

(Bessell & Murphy 2012, PASP 124, 140, appendix).  Luminosities are in units of the Sun's in the same band,
from its absolute AB magnitude :math:`M = -2.5 \log_{10} \langle f_\nu \rangle - 48.60` at 10 pc.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["BANDS", "SOLAR_LUMINOSITY", "SQUARE_MPC", "Band"]

Array = NDArray[np.float64]

SOLAR_LUMINOSITY = 3.828e33
"""erg/s, bolometric (IAU 2015 resolution B3)."""

SQUARE_MPC = 4.0 * math.pi * 3.085677581491367e24**2
"""Area in cm2 of a sphere with a radius of 1 Mpc."""

_LIGHT_AA = 2.99792458e18  # Angstrom / s
_AB_ZERO = 48.60
_TEN_PARSEC = 1e-5  # Mpc


@dataclass(frozen=True, eq=False)
class Band:
    """A filter.

    Attributes
    ----------
    title : str
        Filter, and the source of its response.
    wavelength, response : arrays of shape (K,)
        Angstrom, rising, and the response per photon in any unit, zero outside.
    sun_ab : float
        Absolute AB magnitude of the Sun.
    """

    title: str
    wavelength: Array
    response: Array
    sun_ab: float

    @cached_property
    def pivot(self) -> float:
        """Pivot wavelength in Angstrom."""
        inverse = np.trapezoid(self.response / self.wavelength, self.wavelength)
        return math.sqrt(self._total / inverse)

    @cached_property
    def solar(self) -> float:
        """Luminosity density of the Sun in the band, in bolometric solar luminosities per Angstrom."""
        f_nu = 10.0 ** (-0.4 * (self.sun_ab + _AB_ZERO))
        return f_nu * _LIGHT_AA / self.pivot**2 * SQUARE_MPC * _TEN_PARSEC**2 / SOLAR_LUMINOSITY

    def covered(self, low: float, high: float) -> float:
        """Fraction of the band between two wavelengths in Angstrom."""
        inside = np.clip(self.wavelength, low, high)
        part = np.interp(inside, self.wavelength, self.response) * inside
        return float(np.trapezoid(part, inside)) / self._total

    def weights(self, wavelength: Array) -> Array:
        """Weights (L,) of the pixels of a spectrum; their sum is the fraction of the band that it covers.

        Parameters
        ----------
        wavelength : array of shape (L,)
            Centres of the pixels in Angstrom, rising.
        """
        sampled = np.interp(wavelength, self.wavelength, self.response, left=0.0, right=0.0)
        return sampled * wavelength * np.gradient(wavelength) / self._total

    def mean_flux(self, wavelength: Array, flux: Array) -> Array:
        """Mean flux density (...) of spectra (..., L) in the band, or in the part of it that they cover."""
        weights = self.weights(wavelength)
        return flux @ weights / weights.sum()

    @cached_property
    def _total(self) -> float:
        return float(np.trapezoid(self.response * self.wavelength, self.wavelength))


def _table(text: str) -> Array:
    return np.array([float(word) for word in text.split()])


# reference response through an airmass of 1.3, every 20 Angstrom
_SDSS_R = _table("""
    .0015 .0043 .009 .0193 .0388 .0645 .101 .1411 .1822 .2209 .2565 .2902 .321 .3486 .3734 .3912 .4031 .4126
    .4209 .4282 .4344 .4395 .4447 .4493 .4523 .4553 .4583 .4614 .4644 .4671 .4692 .4718 .4742 .4767 .4788
    .4794 .4796 .4797 .4799 .4809 .4841 .4871 .49 .4929 .4954 .4968 .498 .4992 .5004 .5012 .501 .5008 .5006
    .5003 .5002 .5009 .5011 .501 .5001 .4992 .4968 .4906 .4784 .4603 .432 .3903 .3402 .2799 .2166 .1593
    .1121 .0779 .0502 .0326 .0234 .0175 .0115 .0087 .007 .005 .0033 .0018 .0003
""")

# every 100 Angstrom
_BESSELL_V = _table("""
    0 .03 .163 .458 .78 .967 1 .973 .898 .792 .684 .574 .461 .359 .27 .197 .135 .081 .045 .025 .017 .013
    .009 0
""")

BANDS = {
    "r": Band(
        "SDSS r (Doi et al. 2010, AJ 139, 1628)",
        np.linspace(5400.0, 7040.0, len(_SDSS_R)),
        _SDSS_R,
        sun_ab=4.65,
    ),
    "v": Band(
        "V (Bessell 1990, PASP 102, 1181)",
        np.linspace(4700.0, 7000.0, len(_BESSELL_V)),
        _BESSELL_V,
        sun_ab=4.80,
    ),
}
"""The bands that outputs are given in; magnitudes of the Sun from Willmer (2018, ApJS 236, 47, table 3)."""
