r"""The spectrum about which nuisances are linear: velocity, amplitude and derivatives.

The reference is the mean of the spectra of approximate posterior samples, scaled to the data.  A redshift error
moves lines by more than their width, which no derivative describes, so the velocity is found first, by
Gauss-Newton steps; what remains of its error is linear.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfhflow.dust import calzetti_k
from sfhflow.errors import InputError
from sfhflow.exact.covariance import Covariance
from sfhflow.exact.nuisances import Amplitudes, Nuisances
from sfhflow.exact.templates import Templates
from sfhflow.observation import Observation

__all__ = ["Data", "Reference", "find_reference", "observed", "slope_change"]

Array = NDArray[np.float64]

# relative error that no spectrum is below, since templates have it
FLOOR = 0.002
_STEPS = 4
_CONVERGED_KMS = 1.0
_DELTA_KMS, _DELTA_LSF, _DELTA_DEX = 20.0, 0.03, 0.02


class Data(NamedTuple):
    """The observed pixels of a spectrum: which of the grid, their flux and their standard errors, shape (n,)."""

    pixels: NDArray[np.int_]
    flux: Array
    error: Array


class Reference(NamedTuple):
    """Templates at the best velocity, spectrum (P,) in the unit of the data, and its changes of one rms (K, P).

    The changes are those with velocity, with resolution, and with the zero points of age and [M/H] if these are
    uncertain.
    """

    templates: Templates
    spectrum: Array
    derivatives: Array

    def covariance(self, nuisances: Nuisances, data: Data, *, velocity: bool = True) -> Covariance:
        """Covariance of the nuisances, with or without the error of the velocity."""
        derivatives = self.derivatives if velocity else self.derivatives[1:]
        return Covariance(nuisances, data.pixels, data.error, self.spectrum, derivatives)


def observed(observation: Observation) -> Data:
    """Observed pixels of a batch of one.

    Raises
    ------
    InputError
        If the flux is not positive on the whole.
    """
    flux, ivar = (tensor[0].double().numpy() for tensor in (observation.flux, observation.ivar))
    pixels = np.flatnonzero(ivar > 0)
    if not np.sum(flux * ivar) > 0:
        raise InputError("the mean flux is not positive, expected the light of a galaxy; check the spectrum")
    return Data(pixels, flux[pixels], ivar[pixels] ** -0.5)


def find_reference(
    templates: Templates, u: Tensor, data: Data, nuisances: Nuisances, middle: Amplitudes
) -> Reference:
    """Reference of samples u (S, D), at the velocity where it fits best given the `middle` amplitudes."""
    limit = nuisances.simulator.instrument.max_shift_kms
    rms = _shift_rms(templates)
    for _ in range(_STEPS):
        reference = _linearised(templates, u, data)
        if limit == 0:
            break
        columns = np.stack([reference.spectrum, reference.derivatives[0]])[:, data.pixels]
        covariance = reference.covariance(nuisances, data, velocity=False)
        gram, _ = covariance.products(np.vstack([columns, data.flux]).T, middle)
        velocity = _best_velocity(gram, templates.shift_kms / rms) * rms
        velocity = min(max(velocity, -limit), limit)
        if abs(velocity - templates.shift_kms) < _CONVERGED_KMS:
            break
        templates = templates.moved(velocity)
    else:
        reference = _linearised(templates, u, data)
    return reference


def slope_change(templates: Templates) -> tuple[Array, float]:
    """Change (P,) of ln flux with the slope of the attenuation law for A_V = 1, and the rms of the slope."""
    dust = templates.simulator.dust
    wavelength = torch.as_tensor(templates.simulator.grid.wavelength)
    low, high = dust.slope_range
    tilt = (wavelength / 5500.0).log()
    curve = calzetti_k(wavelength) / calzetti_k(wavelength.new_tensor(5500.0))
    change = -0.4 * math.log(10) * curve * (0.5 * (low + high) * tilt).exp() * tilt
    return change.numpy(), (high - low) / math.sqrt(12)


def _linearised(templates: Templates, u: Tensor, data: Data) -> Reference:
    spectrum = templates(u).mean(0).numpy()
    seen = spectrum[data.pixels]
    weight = seen / (data.error**2 + (FLOOR * data.flux.mean()) ** 2)
    amplitude = float(weight @ data.flux / (weight @ seen))
    velocity, mismatch = templates.shift_kms, templates.simulator.mismatch
    changes = [
        _change(lambda by: templates.moved(velocity + by), _DELTA_KMS, _shift_rms(templates), u),
        _change(lambda by: templates.blurred(1 + by), _DELTA_LSF, _resolution_rms(templates), u),
    ]
    if mismatch.age_zero_point > 0:
        changes.append(
            _change(lambda by: templates.with_zero_points(older=by), _DELTA_DEX, mismatch.age_zero_point, u)
        )
    if mismatch.metallicity_zero_point > 0:
        changes.append(
            _change(
                lambda by: templates.with_zero_points(richer=by), _DELTA_DEX, mismatch.metallicity_zero_point, u
            )
        )
    return Reference(templates, amplitude * spectrum, amplitude * np.stack(changes))


def _change(moved: Callable[[float], Templates], delta: float, rms: float, u: Tensor) -> Array:
    """Change (P,) of the mean spectrum of samples u (S, D) with a quantity of which `rms` is the uncertainty."""
    up, down = (moved(sign * delta)(u).mean(0).numpy() for sign in (1, -1))
    return (up - down) / (2 * delta) * rms


def _best_velocity(gram: Array, now: float) -> float:
    """Velocity in units of its rms from products (3, 3) of spectrum, derivative and data; now it is `now`."""
    normal, right = gram[:2, :2].copy(), gram[:2, 2].copy()
    # the prior of unit rms about zero
    normal[1, 1] += 1.0
    right[1] -= now
    return now + float(np.linalg.solve(normal, right)[1])


def _shift_rms(templates: Templates) -> float:
    """Rms of the Gaussian that is as high in its middle as the uniform distribution of the shifts."""
    return 2 * templates.simulator.instrument.max_shift_kms / math.sqrt(2 * math.pi)


def _resolution_rms(templates: Templates) -> float:
    """Rms of the logarithm of the true over the stated instrumental sigma."""
    instrument = templates.simulator.instrument
    if templates.lsf_kms.isnan().any():
        low, high = instrument.sigma_range_kms
        return math.log(high / low) / math.sqrt(12)
    return instrument.resolution_error
