"""Attenuation of starlight by dust.

Light is transmitted by the factor 10^(-0.4 A(lambda)), with A(lambda) = A_V k(lambda) / k(5500 A):

    Calzetti      k of Calzetti et al. (2000, ApJ 533, 682, eq. 4), R_V = 4.05, times (lambda / 5500)^slope
                  (Noll et al. 2009, A&A 507, 1793, eq. 8, without the bump)
    power law     k = (lambda / 5500)^slope (Charlot & Fall 2000, ApJ 539, 718, with slope -0.7)
    two-component old stars see a diffuse medium, stars younger than about 10 Myr also their birth cloud

Dividing by k(5500 A), which is R_V within 1 %, makes A_V the attenuation at 5500 Angstrom for every curve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

__all__ = ["DustModel", "TwoComponent", "calzetti", "calzetti_k", "power_law", "two_component"]

_R_V = 4.05
_V_BAND = 5500.0  # Angstrom
_BREAK = 6300.0  # Angstrom, between the two polynomials of Calzetti et al.
_TO_EXPONENT = -0.4 * math.log(10)


class TwoComponent(NamedTuple):
    """Transmission of the light of old and of young stars, each of shape (N, L)."""

    old: Tensor
    young: Tensor


def calzetti_k(wavelength: Tensor) -> Tensor:
    """Attenuation curve k(lambda) = A(lambda) / E(B-V) of Calzetti et al. (2000, eq. 4).

    Parameters
    ----------
    wavelength : Tensor of any shape
        Rest-frame wavelength in Angstrom.  The curve was measured from 1200 to 22,000; beyond, the
        polynomials are continued, and never below zero.  As published, it steps by 0.7 % at 6300.

    Returns
    -------
    Tensor
        k(lambda), of the shape of `wavelength`.
    """
    x = 1e4 / wavelength  # per micron
    red = 2.659 * (-1.857 + 1.040 * x)
    blue = 2.659 * (-2.156 + 1.509 * x - 0.198 * x**2 + 0.011 * x**3)
    return (torch.where(wavelength >= _BREAK, red, blue) + _R_V).clamp(min=0)


def calzetti(wavelength: Tensor, a_v: Tensor, *, slope: Tensor | float = 0.0) -> Tensor:
    """Transmission through dust with the curve of Calzetti et al. (2000), optionally tilted.

    Parameters
    ----------
    wavelength : Tensor of shape (L,)
        Rest-frame wavelength in Angstrom.
    a_v : Tensor of shape (N,)
        Attenuation at 5500 Angstrom in mag.
    slope : Tensor of shape (N,) or float
        Exponent delta of the extra factor (lambda / 5500)^delta (Noll et al. 2009); negative is steeper.

    Returns
    -------
    Tensor of shape (N, L)
        Fraction of the light that gets through.
    """
    curve = calzetti_k(wavelength) / calzetti_k(wavelength.new_tensor(_V_BAND))
    return _transmission(curve, wavelength, a_v, slope)


def power_law(wavelength: Tensor, a_v: Tensor, *, slope: Tensor | float = -0.7) -> Tensor:
    """Transmission through dust with A(lambda) = A_V (lambda / 5500)^slope.

    Parameters
    ----------
    wavelength : Tensor of shape (L,)
        Rest-frame wavelength in Angstrom.
    a_v : Tensor of shape (N,)
        Attenuation at 5500 Angstrom in mag.
    slope : Tensor of shape (N,) or float
        Exponent, -0.7 in Charlot & Fall (2000).

    Returns
    -------
    Tensor of shape (N, L)
        Fraction of the light that gets through.
    """
    return _transmission(torch.ones_like(wavelength), wavelength, a_v, slope)


def two_component(
    wavelength: Tensor,
    a_v: Tensor,
    birth_cloud_a_v: Tensor,
    *,
    slope: Tensor | float = 0.0,
    birth_cloud_slope: Tensor | float = -1.0,
) -> TwoComponent:
    """Transmission of a diffuse medium for all stars and of a birth cloud for the young ones.

    The diffuse medium follows `calzetti` (as in Kriek & Conroy 2013, ApJ 775, L16) and the birth cloud a
    power law (Charlot & Fall 2000).  Which stars are young, 10 Myr in Charlot & Fall, is the caller's choice.

    Parameters
    ----------
    wavelength : Tensor of shape (L,)
        Rest-frame wavelength in Angstrom.
    a_v, birth_cloud_a_v : Tensor of shape (N,)
        Attenuation at 5500 Angstrom in mag, of the diffuse medium and of the birth cloud alone.
    slope : Tensor of shape (N,) or float
        Tilt of the diffuse medium's curve, see `calzetti`.
    birth_cloud_slope : Tensor of shape (N,) or float
        Exponent of the birth cloud.

    Returns
    -------
    TwoComponent
        Transmission for old and young stars, each of shape (N, L).
    """
    old = calzetti(wavelength, a_v, slope=slope)
    return TwoComponent(old, old * power_law(wavelength, birth_cloud_a_v, slope=birth_cloud_slope))


@dataclass(frozen=True)
class DustModel:
    """Distribution of the attenuation laws of galaxies.

    Attributes
    ----------
    law : {"calzetti", "two_component"}
        One law for all stars, or one with an extra birth cloud around stars younger than 10 Myr.
    slope_range : (float, float)
        Tilt of the diffuse medium's curve, uniform, see `calzetti`.
    birth_cloud_ratio : float
        Attenuation of the birth cloud alone over that of the diffuse medium, for the two-component law
        (Charlot & Fall 2000 find about two).
    """

    law: Literal["calzetti", "two_component"] = "calzetti"
    slope_range: tuple[float, float] = (-0.3, 0.2)
    birth_cloud_ratio: float = 2.0

    def sample(self, wavelength: Tensor, a_v: Tensor, generator: torch.Generator) -> TwoComponent:
        """Draw slopes, and return the transmission (N, L) for old and young stars of galaxies with `a_v` (N,)."""
        low, high = self.slope_range
        slope = low + (high - low) * torch.rand(a_v.shape, generator=generator, dtype=a_v.dtype)
        if self.law == "two_component":
            return two_component(wavelength, a_v, self.birth_cloud_ratio * a_v, slope=slope)
        transmission = calzetti(wavelength, a_v, slope=slope)
        return TwoComponent(transmission, transmission)


def _transmission(curve: Tensor, wavelength: Tensor, a_v: Tensor, slope: Tensor | float) -> Tensor:
    """10^(-0.4 A_V curve (lambda / 5500)^slope), with `curve` one at 5500 Angstrom."""
    slope = torch.as_tensor(slope, dtype=a_v.dtype, device=a_v.device)
    exponent = (slope[..., None] * (wavelength / _V_BAND).log()).exp_().mul_(curve)
    return torch.exp(_TO_EXPONENT * a_v[:, None] * exponent)
