"""Age and distance in the flat Lambda-CDM cosmology of Planck 2018.

With E(a)^2 = Omega_m a^-3 + Omega_r(a) a^-4 + Omega_Lambda, the age of the Universe and the luminosity
distance at redshift z = 1/a - 1 are

    t(z)   = 1/H_0  int_0^a  da' / (a' E(a')),
    D_L(z) = (1 + z) c/H_0  int_0^z  dz' / E(z').

Parameters are those of Planck Collaboration VI (2020, A&A 641, A6, table 2, TT,TE,EE+lowE+lensing+BAO):
H_0 = 67.66 km/s/Mpc, Omega_m = 0.30966, photons at 2.7255 K and three neutrinos, one with 0.06 eV, whose
density follows the fit of Komatsu et al. (2011, ApJS 192, 18, eq. 26).  Both integrals use Gauss-Legendre
quadrature in a variable in which the integrand is smooth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfhflow.errors import InputError

__all__ = ["age_of_universe", "luminosity_distance", "redshift_at_age"]

Values = TypeVar("Values", float, NDArray, Tensor)

_H0 = 67.66  # km / s / Mpc
_OMEGA_M = 0.30966  # baryons and cold dark matter
_T_CMB = 2.7255  # K
_N_EFF = 3.046
_NEUTRINO_MASS = 0.06  # eV, of one neutrino; the other two are massless
_C = 299_792.458  # km / s
_HUBBLE_TIME = 977.792221 / _H0  # Gyr; 977.79 Gyr = 1 Mpc / (km / s)
_OMEGA_PHOTON = 2.4728e-5 * (_T_CMB / 2.7255) ** 4 / (_H0 / 100) ** 2
_N_NODES = 64
_MAX_REDSHIFT = 1e4


def age_of_universe(redshift: Values) -> Values:
    """Age of the Universe in Gyr.

    Parameters
    ----------
    redshift : float, array or Tensor of any shape
        Redshift, above -1.

    Returns
    -------
    float, array or Tensor
        Age in Gyr, of the kind and shape of `redshift`.

    Raises
    ------
    InputError
        If a redshift is -1 or below, or not a number.
    """
    return _apply(_age, _checked_redshift(redshift))


def luminosity_distance(redshift: Values) -> Values:
    """Luminosity distance in Mpc.

    Parameters
    ----------
    redshift : float, array or Tensor of any shape
        Redshift, above -1.

    Returns
    -------
    float, array or Tensor
        Distance in Mpc, of the kind and shape of `redshift`.

    Raises
    ------
    InputError
        If a redshift is -1 or below, or not a number.
    """
    return _apply(_luminosity_distance, _checked_redshift(redshift))


def redshift_at_age(age_gyr: Values) -> Values:
    """Redshift at which the Universe had the given age, the inverse of `age_of_universe`.

    Parameters
    ----------
    age_gyr : float, array or Tensor of any shape
        Age of the Universe in Gyr.

    Returns
    -------
    float, array or Tensor
        Redshift, of the kind and shape of `age_gyr`; interpolated, good to 1e-5 of 1 + z.

    Raises
    ------
    InputError
        If an age lies outside the table, which spans redshift -0.1 to 10,000.
    """
    log_age, log_scale = _table()
    values = np.asarray(age_gyr if not isinstance(age_gyr, Tensor) else age_gyr.detach().cpu())
    low, high = math.exp(log_age[0]), math.exp(log_age[-1])
    if not np.all((values >= low) & (values <= high)):
        raise InputError(
            f"age of the Universe spans {values.min():.4g} to {values.max():.4g}, expected Gyr between "
            f"{low:.1e} and {high:.4g}; give cosmic time since the Big Bang in Gyr"
        )

    def invert(age: Tensor) -> Tensor:
        scale = np.interp(age.log().cpu().numpy(), log_age, log_scale)
        return torch.expm1(-torch.as_tensor(scale, dtype=age.dtype, device=age.device))

    return _apply(invert, age_gyr)


def _apply(function: Callable[[Tensor], Tensor], values: Values) -> Values:
    """Evaluate in float64 tensors and give the result the kind of `values`."""
    if isinstance(values, Tensor):
        result = function(values.to(torch.float64))
        return result.to(values.dtype if values.dtype.is_floating_point else torch.float64)
    array: Any = function(torch.as_tensor(np.asarray(values, dtype=float))).numpy()
    return array.item() if np.ndim(values) == 0 else array


def _checked_redshift(redshift: Values) -> Values:
    values = redshift if isinstance(redshift, Tensor) else np.asarray(redshift)
    if not bool((values > -1).all()):
        raise InputError(f"redshift is {redshift}, expected numbers above -1; correct it")
    return redshift


def _neutrinos_per_photon(a: Tensor) -> Tensor:
    """Energy density of the neutrinos over that of the photons (Komatsu et al. 2011, eq. 26)."""
    temperature = (4 / 11) ** (1 / 3) * _T_CMB * 8.617333e-5  # eV today
    massive = (1 + (0.3173 * _NEUTRINO_MASS / temperature * a) ** 1.83) ** (1 / 1.83)
    return 7 / 8 * (4 / 11) ** (4 / 3) * _N_EFF / 3 * (2 + massive)


def _expansion(a: Tensor) -> Tensor:
    """a^4 E(a)^2, which stays finite at a = 0."""
    radiation = _OMEGA_PHOTON * (1 + _neutrinos_per_photon(a))
    today = _OMEGA_PHOTON * (1 + _neutrinos_per_photon(torch.ones_like(a)))
    return radiation + _OMEGA_M * a + (1 - _OMEGA_M - today) * a**4


def _integrate(function: Callable[[Tensor], Tensor], upper: Tensor) -> Tensor:
    """Integral of `function` from 0 to each value of `upper`."""
    nodes, weights = (upper.new_tensor(part) for part in _gauss_legendre())
    x = upper[..., None] * (0.5 * (nodes + 1))
    return 0.5 * upper * (function(x) * weights).sum(-1)


@cache
def _gauss_legendre() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.polynomial.legendre.leggauss(_N_NODES)


def _age(redshift: Tensor) -> Tensor:
    # a = x^2 turns the square root of the matter era into a polynomial
    def integrand(x: Tensor) -> Tensor:
        return 2 * x**3 / _expansion(x**2).sqrt()

    return _HUBBLE_TIME * _integrate(integrand, (1 + redshift).rsqrt())


def _luminosity_distance(redshift: Tensor) -> Tensor:
    # x = ln(1 + z), dz / E = dx exp(-x) / sqrt(a^4 E^2)
    def integrand(x: Tensor) -> Tensor:
        return (-x).exp() / _expansion((-x).exp()).sqrt()

    return _C / _H0 * (1 + redshift) * _integrate(integrand, torch.log1p(redshift))


@cache
def _table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log age in Gyr and log scale factor, both rising."""
    log_scale = torch.linspace(-math.log1p(_MAX_REDSHIFT), -math.log(0.9), 4000, dtype=torch.float64)
    return _age(torch.expm1(-log_scale)).log().numpy(), log_scale.numpy()
