"""A masked residual network on the spectrum, with masks and errors at low resolution.

One linear layer reads all pixels, those masked being zero; beside them, in bins of `BIN` pixels, the fraction
observed and the mean logarithm of the signal-to-noise ratio.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d

from sfhflow.encoder.base import N_CONDITIONS
from sfhflow.encoder.layers import residual_layers
from sfhflow.encoder.pixels import PixelEncoder

__all__ = ["BIN", "ResidualEncoder"]

BIN = 16
"""Pixels in a bin of the mask and of the errors."""


class ResidualEncoder(PixelEncoder):
    """Linear layer on the pixels, then residual blocks.

    Parameters
    ----------
    n_pixels, n_components, n_context, error_floor
        As for `Encoder`.
    width, depth : int
        Width and number of the residual blocks.
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
        super().__init__(n_pixels, n_components=n_components, n_context=n_context, error_floor=error_floor)
        n_inputs = n_pixels + 2 * -(-n_pixels // BIN) + N_CONDITIONS
        self.network = residual_layers(n_inputs, width, depth, n_context)

    def encode(self, features: Tensor) -> Tensor:
        """Context vectors of precomputed `features`."""
        flux, quality, good, scalars = self.parts(features)
        return self.network(torch.cat([flux, _binned(quality), _binned(good), scalars], dim=-1))


def _binned(pixels: Tensor) -> Tensor:
    """Means over bins of `BIN` pixels, the last of which may be shorter."""
    return avg_pool1d(pixels[:, None], BIN, ceil_mode=True)[:, 0]
