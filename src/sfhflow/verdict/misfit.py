r"""How the residuals of the projection betray a bad spectrum.

The projection on the principal components (`sfhflow.encoder`) leaves residuals *r* around a model *m* with
variances :math:`\sigma^2`.  Templates differ from galaxies by up to a few per cent, so where misfit is to be
told from template mismatch the weights are :math:`w = 1 / (\sigma^2 + (0.03\, m)^2)`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sfhflow.observation import Observation
from sfhflow.projection import Projection, Projector, typical_flux

__all__ = ["Residual", "bad_fit", "bad_window", "misfit", "noise_scale", "outside_training", "residual_of"]

TOLERANCE = 0.03
WINDOW_PIXELS = 100
# an empty window must not count, nor a handful of pixels
_MIN_PIXELS = 10.0


class Residual(NamedTuple):
    """Residuals of the projection, in units of the typical flux; tensors of shape (N, P), zero where masked.

    Attributes
    ----------
    model : Tensor
        The fit, everywhere.
    residual : Tensor
        Data minus fit.
    ivar : Tensor
        Inverse variance as stated.
    weight : Tensor
        Inverse variance with the tolerance for template mismatch.
    """

    model: Tensor
    residual: Tensor
    ivar: Tensor
    weight: Tensor


def residual_of(encoder: Projector, observation: Observation, projection: Projection) -> Residual:
    """Residuals of a projection."""
    good = observation.ivar > 0
    flux = torch.where(good, observation.flux, 0.0)
    scale = typical_flux(flux, observation.ivar)[:, None]
    model = torch.addmm(encoder.mean, projection.coefficients, encoder.components)
    model = model * projection.amplitude[:, None]
    residual = torch.where(good, flux / scale - model, 0.0)
    ivar = observation.ivar * scale**2
    return Residual(model, residual, ivar, ivar / (1 + ivar * (TOLERANCE * model) ** 2))


def bad_fit(fit: Residual) -> Tensor:
    r"""Chi squared per pixel with the tolerance, :math:`\sum w r^2 / n`."""
    return (fit.weight * fit.residual**2).sum(-1) / (fit.ivar > 0).sum(-1).clamp_min(1)


def misfit(projection: Projection) -> Tensor:
    """Chi squared per pixel of the projection, with its small error floor: sensitive to template mismatch."""
    return projection.chi2.clamp_min(1e-6)


def bad_window(fit: Residual) -> Tensor:
    r"""Largest :math:`\sum_W w r^2 / (n_W + 10)` of the windows *W* of 100 pixels, over that of the whole.

    The division makes it a matter of places, not of the errors' scale.
    """
    chi2 = _windows(fit.weight * fit.residual**2) / (_windows((fit.ivar > 0).float()) + _MIN_PIXELS)
    return chi2.amax(-1) / bad_fit(fit).clamp_min(0.2)


def noise_scale(fit: Residual) -> tuple[Tensor, Tensor]:
    r"""Variance of the noise over that stated, at least and at most, each (N,).

    With the autocovariances *C* of :math:`u = r / \sigma` at lags of so many pixels, it is :math:`C_0 + 2 C_1`: a
    resampling by a fraction of a pixel moves variance from the first to the second and leaves this sum, which is
    the variance of averages over many pixels.  Template mismatch adds to it, but unlike noise it is correlated at
    longer lags, so :math:`C_0 + 2 C_1 - 2 (C_2 + C_3)` is about free of it (mismatch that is linear between nodes
    of 4 pixels has a ratio of 2.4 of the two parts).
    """
    u = fit.residual * fit.ivar.sqrt()
    good = (fit.ivar > 0).float()
    c = [_product(u, lag) / _product(good, lag).clamp_min(1) for lag in range(4)]
    most = c[0] + 2 * c[1]
    return (most - 2 * (c[2] + c[3])).clamp_min(1e-3), most.clamp_min(1e-3)


def outside_training(projection: Projection) -> Tensor:
    r"""Mean squared coefficient, :math:`\sum (1 - s^2) \hat a^2 / \sum (1 - s^2)`.

    Each counts as far as its standard error *s*, in units of the prior's, shows it to be measured.
    """
    informed = 1 - projection.sigma**2
    return (informed * projection.coefficients**2).sum(-1) / informed.sum(-1).clamp_min(1e-3)


def _product(x: Tensor, lag: int) -> Tensor:
    """Sum (N,) over pixels of x with itself `lag` pixels on."""
    return (x[:, lag:] * x[:, : x.shape[-1] - lag]).sum(-1)


def _windows(x: Tensor) -> Tensor:
    """Sums (N, W) over windows of pixels."""
    short = -x.shape[-1] % WINDOW_PIXELS
    return torch.nn.functional.pad(x, (0, short)).unflatten(-1, (-1, WINDOW_PIXELS)).sum(-1)
