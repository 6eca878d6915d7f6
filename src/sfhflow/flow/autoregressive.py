r"""Masked autoregressive flow (Papamakarios et al. 2017, arXiv:1705.07057).

.. math:: z_i = x_i \, e^{a_i} + b_i, \qquad (a_i, b_i) = \mathrm{MADE}(x_{<i}, c)_i

Every layer shifts and scales each coordinate by functions of the coordinates before it and of the context, all
of them from one masked network; the order of the coordinates is reversed from layer to layer.  The density costs
one pass through each network; a sample needs one for each coordinate, which makes it slow to sample.  This is
the flow of Iglesias-Navarro et al. (2024, A&A 689, A58), with five layers of 2 x 128 hidden units.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from zuko.flows import MaskedAutoregressiveTransform

from sfhflow.flow.base import Flow

__all__ = ["AutoregressiveFlow"]

# a limit far beyond any use that keeps samples finite whatever the weights
_FAR = 1e4


class AutoregressiveFlow(Flow):
    """Masked autoregressive flow over `n_features` coordinates given a context vector.

    Parameters
    ----------
    n_features, n_context : int
        Sizes of the coordinates and of the context.
    transforms : int
        Autoregressive layers.
    hidden : tuple of int
        Hidden layers of their networks.
    seed : int
        Seed of the initial weights.
    """

    def __init__(
        self,
        n_features: int,
        n_context: int,
        *,
        transforms: int = 5,
        hidden: tuple[int, ...] = (128, 128),
        seed: int = 0,
    ) -> None:
        super().__init__(n_features)
        forward = torch.arange(n_features)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layers = nn.ModuleList(
                MaskedAutoregressiveTransform(
                    n_features,
                    n_context,
                    order=forward.flip(0) if i % 2 else forward,
                    hidden_features=hidden,
                    activation=nn.SiLU,
                )
                for i in range(transforms)
            )

    def transform(self, u: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Noise z (..., n_features) that `sample` makes u of, and the log determinant of dz/du (...,)."""
        z = (u - self.location) / self.scale
        log_det = -self.scale.log().sum()
        for layer in self.layers:
            z, more = layer(context).call_and_ladj(z)
            log_det = log_det + more
        return z, log_det

    def base_log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        """Log density of standard-normal numbers, see `Flow.base_log_prob`."""
        return -0.5 * (z.square().sum(-1) + self.n_features * math.log(2 * math.pi))

    def base_sample(self, context: Tensor, noise: Tensor) -> Tensor:
        """The noise itself, see `Flow.base_sample`."""
        return noise.expand(len(context), -1, -1)

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        """Inverse of `transform`, see `Flow.inverse`."""
        x = z
        for layer in reversed(self.layers):
            x = layer(context[:, None]).inv(x)
            x = torch.nan_to_num(x, 0.0, _FAR, -_FAR).clamp(-_FAR, _FAR)
        return x * self.scale + self.location
