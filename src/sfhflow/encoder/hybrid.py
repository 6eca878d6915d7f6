r"""The projection, and a look at what it leaves: its features and those of a network on the whitened residuals.

Where the data differ from their best fit by more than the errors, lines that the principal components do not
follow may still tell something.  With weights *w* and residuals *r* of the fit, the residual of a bin of `BIN`
pixels in units of its error is

.. math:: z = \sum w r / (\sum w)^{1/2},

zero where nothing was observed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from sfhflow.encoder.base import N_CONDITIONS, Encoder, unmasked
from sfhflow.encoder.layers import residual_layers
from sfhflow.encoder.projection import projection_features
from sfhflow.observation import Observation
from sfhflow.projection import Projection, typical_flux

__all__ = ["BIN", "HybridEncoder"]

BIN = 4
"""Pixels in a bin of the residuals."""


class HybridEncoder(Encoder):
    """Network on the projection and on the residuals of its fit.

    Parameters
    ----------
    n_pixels, n_components, n_context, error_floor
        As for `Encoder`.
    width, depth : int
        Width and number of blocks of the residual network; the residuals enter it through a quarter of the width.
    """

    def __init__(
        self,
        n_pixels: int,
        *,
        n_components: int = 80,
        width: int = 256,
        depth: int = 4,
        n_context: int = 128,
        error_floor: float = 0.006,
    ) -> None:
        n_projected, n_bins = 2 * n_components + 2 + N_CONDITIONS, -(-n_pixels // BIN)
        super().__init__(
            n_pixels,
            n_projected + n_bins,
            n_components=n_components,
            n_context=n_context,
            error_floor=error_floor,
        )
        self.sizes = [n_projected, n_bins]
        n_seen = max(1, width // 4)
        self.look = nn.Sequential(nn.Linear(n_bins, n_seen), nn.SiLU())
        self.network = residual_layers(n_projected + n_seen, width, depth, n_context)

    @torch.no_grad()
    def features(self, observation: Observation, projection: Projection | None = None) -> Tensor:
        """Features of the projection and binned residuals, shape (N, 2 K + 2 + N_CONDITIONS + P / BIN)."""
        clean = unmasked(observation)
        projection = self.project(clean) if projection is None else projection
        return torch.cat([projection_features(projection, clean), self._whitened(clean, projection)], dim=-1)

    def encode(self, features: Tensor) -> Tensor:
        """Context vectors of precomputed `features`."""
        projected, residuals = self.scaled(features).split(self.sizes, dim=-1)
        return self.network(torch.cat([projected, self.look(residuals)], dim=-1))

    def _whitened(self, observation: Observation, projection: Projection) -> Tensor:
        """Residuals of the fit in units of their errors, shape (N, P / BIN)."""
        flux, ivar = observation.flux.to(self.sum_dtype), observation.ivar.to(self.sum_dtype)
        scale = typical_flux(flux, ivar)[:, None]
        weight = ivar * scale**2
        weight = weight / (1 + weight * self.error_floor**2)
        fit = projection.amplitude[:, None] * (self.mean + projection.coefficients @ self.components)
        total, signal = _summed(weight), _summed(weight * (flux / scale - fit))
        return (signal / total.sqrt().clamp_min(1e-15)).clamp(-30, 30).float()


def _summed(pixels: Tensor) -> Tensor:
    """Sums over bins of `BIN` pixels, the last of which may be shorter."""
    return pad(pixels, (0, -pixels.shape[-1] % BIN)).unflatten(-1, (-1, BIN)).sum(-1)
