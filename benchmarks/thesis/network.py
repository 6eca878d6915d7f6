"""The thesis' encoder (section 3.2.1, figure 7), of the layers that the package's `spender-attention` is made of.

Three blocks of convolution with 128, 256 and 512 channels and kernels of 5, 11 and 21 pixels, normalisation and
PReLU, pooling by 5 and 11 after the first two; dot-product attention over wavelength (thesis eq. 2); three hidden
layers of 128, 64 and 32 units with PReLU and a linear one to 16 latent numbers; and a head of two hidden layers,
16 and 32, that estimates the ten quantities and exists only to train the rest.  The loss is the mean of

    log cosh(estimate - truth) = |d| + log(1 + exp(-2 |d|)) - log 2

over the quantities as they are, Gyr and dex.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import max_pool1d, softplus

from sfhflow.encoder.attention import KERNELS, POOLS, convolution_block

__all__ = ["CHANNELS", "N_LATENTS", "ThesisNetwork", "log_cosh"]

N_LATENTS = 16
CHANNELS = 512
"""Of the last block; the first two have a quarter and a half of it."""

_COMPRESS = (128, 64, 32)
_HEAD = (16, 32)


class ThesisNetwork(nn.Module):
    """Encoder and head.

    Parameters
    ----------
    n_outputs : int
        Quantities that the head estimates.
    channels : int
        Channels of the last block, `CHANNELS` for the thesis' network; the first two have a quarter and a half.
    """

    def __init__(self, n_outputs: int = 10, channels: int = CHANNELS) -> None:
        super().__init__()
        widths = (1, channels // 4, channels // 2, channels)
        self.convolutions = nn.ModuleList(
            convolution_block(*sizes, kernel) for sizes, kernel in zip(pairwise(widths), KERNELS, strict=True)
        )
        self.compress = nn.Sequential()
        hidden = (channels // 2, *_COMPRESS)
        for n_in, n_out in pairwise(hidden):
            self.compress.extend([nn.Linear(n_in, n_out), nn.PReLU(n_out)])
        self.compress.append(nn.Linear(hidden[-1], N_LATENTS))
        self.head = nn.Sequential()
        for n_in, n_out in pairwise((N_LATENTS, *_HEAD)):
            self.head.extend([nn.Linear(n_in, n_out), nn.LeakyReLU()])
        self.head.append(nn.Linear(_HEAD[-1], n_outputs))

    def encode(self, spectra: Tensor) -> Tensor:
        """Latent numbers (N, 16) of spectra (N, L) whose median is one."""
        x = spectra[:, None]
        for block, pool in zip(self.convolutions, POOLS, strict=True):
            x = max_pool1d(block(x), pool, ceil_mode=True)
        features, attention = x.chunk(2, dim=1)
        return self.compress((features * attention.softmax(-1)).sum(-1))

    def forward(self, spectra: Tensor) -> Tensor:
        """Estimates (N, n_outputs) from spectra (N, L)."""
        return self.head(self.encode(spectra))


def log_cosh(estimate: Tensor, truth: Tensor) -> Tensor:
    """Mean of log cosh(estimate - truth) over everything."""
    difference = (estimate - truth).abs()
    return (difference + softplus(-2 * difference) - math.log(2)).mean()
