r"""Convolutions along wavelength and dot-product attention, after SPENDER (Melchior et al. 2023, AJ 166, 74).

Three blocks of convolution with kernels that widen (5, 11 and 21 pixels), normalisation of each spectrum, PReLU
and, after the first two, max-pooling by 5 and 11.  Half of the channels are features *h*, the other half say
where to look: with *k*

.. math:: e = \sum_\lambda h(\lambda)\, \mathrm{softmax}_\lambda k(\lambda),

which finds a spectral feature wherever it is; three linear layers turn *e* into the context.  This is the
encoder of Iglesias-Navarro et al. (2024, A&A 689, A58); here the mask and the errors are two more input channels,
attention passes over what was not observed, and the last layers are told how the galaxy was observed.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool1d

from sfhflow.encoder.base import N_CONDITIONS
from sfhflow.encoder.pixels import PixelEncoder

__all__ = ["KERNELS", "POOLS", "AttentionEncoder", "convolution_block"]

KERNELS = (5, 11, 21)
"""Width of the convolutions in pixels."""
POOLS = (5, 11, 1)
"""Pixels that the pooling after each of them makes one of."""
# logit of what cannot be attended to; finite, so that a spectrum without data has an answer
_NEVER = -1e4


class AttentionEncoder(PixelEncoder):
    """Convolutions and attention over wavelength.

    Parameters
    ----------
    n_pixels, n_components, n_context, error_floor
        As for `Encoder`.
    width : int
        Channels of the last block; the first two have a quarter and a half of it (512 for the published ones).
    depth : int
        Linear layers after the attention.
    """

    def __init__(
        self,
        n_pixels: int,
        *,
        n_components: int = 80,
        width: int = 128,
        depth: int = 3,
        n_context: int = 128,
        error_floor: float = 0.006,
    ) -> None:
        super().__init__(n_pixels, n_components=n_components, n_context=n_context, error_floor=error_floor)
        # widths that can be halved twice
        half = 2 * max(1, width // 4)
        channels = (3, half // 2, half, 2 * half)
        self.convolutions = nn.ModuleList(
            convolution_block(channels[i], channels[i + 1], kernel) for i, kernel in enumerate(KERNELS)
        )
        sizes = [half + N_CONDITIONS, *[half] * max(0, depth - 1)]
        self.network = nn.Sequential()
        for n_in, n_out in pairwise(sizes):
            self.network.extend([nn.Linear(n_in, n_out), nn.PReLU(n_out)])
        self.network.append(nn.Linear(sizes[-1], n_context))

    def encode(self, features: Tensor) -> Tensor:
        """Context vectors of precomputed `features`."""
        flux, quality, good, scalars = self.parts(features)
        h, attention = self.attend(torch.stack([flux, quality, good], dim=1), good)
        return self.network(torch.cat([(h * attention).sum(-1), scalars], dim=-1))

    def attend(self, channels: Tensor, good: Tensor) -> tuple[Tensor, Tensor]:
        """Features and attention, each (N, channels, wavelengths), of inputs (N, 3, P) and the mask (N, P)."""
        x, seen = channels, good[:, None]
        for block, pool in zip(self.convolutions, POOLS, strict=True):
            x = max_pool1d(block(x), pool, ceil_mode=True)
            seen = max_pool1d(seen, pool, ceil_mode=True)
        h, logits = x.chunk(2, dim=1)
        return h, torch.where(seen > 0, logits, _NEVER).softmax(-1)


def convolution_block(n_in: int, n_out: int, kernel: int) -> nn.Sequential:
    """Convolution along wavelength, normalisation of each channel of each spectrum, and PReLU."""
    convolution = nn.Conv1d(n_in, n_out, kernel, padding=kernel // 2)
    return nn.Sequential(convolution, nn.InstanceNorm1d(n_out), nn.PReLU(n_out))
