r"""The observation itself as features, for encoders that look at every pixel.

For each pixel the difference from the mean spectrum of the training set, :math:`r = f / s - \mu`, with the
typical flux *s* of the spectrum, and how well it is measured, :math:`q = \log(1 + s / \sigma)`.  Both are zero
where the spectrum is masked, and *q* nowhere else: mask and error are inputs of their own.  They are kept in
half precision, whose rounding of the flux (at most 1/4096 of its departure from the mean) is below a tenth
of the error of a pixel up to a signal-to-noise ratio of 300, in half the memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sfhflow.encoder.base import N_CONDITIONS, Encoder, conditions, unmasked
from sfhflow.observation import Observation
from sfhflow.projection import Projection, typical_flux

__all__ = ["PixelEncoder"]

# departures from the mean spectrum, in units of the typical flux, that no galaxy has
_FAR = 30.0
# the largest signal-to-noise ratio of a pixel that is told apart, and the smallest, which half precision resolves
_SNR_RANGE = (1e-3, 1e4)


class PixelEncoder(Encoder):
    """Base of the encoders of pixels; parameters as for `Encoder`."""

    def __init__(self, n_pixels: int, *, n_components: int, n_context: int, error_floor: float) -> None:
        n_features = 2 * n_pixels + N_CONDITIONS
        super().__init__(
            n_pixels, n_features, n_components=n_components, n_context=n_context, error_floor=error_floor
        )
        self.n_pixels = n_pixels

    @torch.no_grad()
    def features(self, observation: Observation, projection: Projection | None = None) -> Tensor:
        """Flux, precision and conditions, shape (N, 2 P + N_CONDITIONS), in half precision."""
        clean = unmasked(observation)
        good = clean.ivar > 0
        scale = typical_flux(clean.flux.to(self.sum_dtype), clean.ivar.to(self.sum_dtype))[:, None]
        residual = torch.where(good, clean.flux / scale - self.mean, 0.0).clamp(-_FAR, _FAR)
        quality = torch.where(good, (clean.ivar.sqrt() * scale).clamp(*_SNR_RANGE).log1p(), 0.0)
        return torch.cat([residual.float(), quality.float(), conditions(clean)], dim=-1).half()

    def standardise(self, features: Tensor) -> None:
        """Set the scaling of the network's inputs, which leaves the zeros of masked pixels as they are."""
        super().standardise(features)
        pixels = features[:, : 2 * self.n_pixels].float()
        observed = (pixels[:, self.n_pixels :] > 0).sum(0).clamp_min(1).repeat(2)
        self.feature_mean[: 2 * self.n_pixels] = 0.0
        self.feature_std[: 2 * self.n_pixels] = (pixels.square().sum(0) / observed).sqrt().clamp_min(1e-3)

    def parts(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Flux (N, P), precision (N, P), mask (N, P, one where observed) and conditions for the network."""
        flux, quality, scalars = self.scaled(features).split([self.n_pixels, self.n_pixels, N_CONDITIONS], dim=-1)
        return flux, quality, (quality > 0).float(), scalars
