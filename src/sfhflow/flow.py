r"""Conditional density of the unbounded parameters: a coupling flow of rational-quadratic splines.

.. math:: \log p(u | c) = \log N(z; 0, 1) + \log |\det \partial z / \partial u|, \qquad z = f_c(u)

(Durkan et al. 2019, Neural Spline Flows, arXiv:1906.04032).  Coupling layers invert at the price of one
forward pass, so sampling is as fast as training.  Coordinates are standardised before the splines, whose
domain is [-5, 5].
"""

from __future__ import annotations

from functools import partial

import torch
import zuko
from torch import Tensor, nn

__all__ = ["ConditionalFlow"]


class ConditionalFlow(nn.Module):
    """Coupling spline flow over `n_features` coordinates given a context vector.

    Parameters
    ----------
    n_features, n_context : int
        Sizes of the coordinates and of the context.
    transforms : int
        Coupling layers, each with its own random split of the coordinates.
    hidden : tuple of int
        Hidden layers of the networks that give the splines.
    bins : int
        Bins of each spline.
    seed : int
        Seed of the random splits.
    """

    location: Tensor
    scale: Tensor

    def __init__(
        self,
        n_features: int,
        n_context: int,
        *,
        transforms: int = 8,
        hidden: tuple[int, ...] = (128, 128),
        bins: int = 8,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.n_features = n_features
        self.register_buffer("location", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.flow = zuko.flows.NICE(
                n_features,
                n_context,
                transforms=transforms,
                randmask=True,
                univariate=partial(zuko.transforms.MonotonicRQSTransform, slope=1e-3),
                shapes=[(bins,), (bins,), (bins - 1,)],
                hidden_features=hidden,
                activation=nn.SiLU,
            )

    def standardise(self, u: Tensor) -> None:
        """Set location and scale of the coordinates from a sample (N, n_features)."""
        self.location.copy_(u.mean(0))
        self.scale.copy_(u.std(0))

    def log_prob(self, u: Tensor, context: Tensor) -> Tensor:
        """Log density (...,) of coordinates (..., n_features) given contexts (..., n_context)."""
        x = (u - self.location) / self.scale
        return self.flow(context).log_prob(x) - self.scale.log().sum()

    def sample(self, context: Tensor, noise: Tensor) -> Tensor:
        """Transport standard-normal noise to samples.

        Parameters
        ----------
        context : Tensor of shape (N, n_context)
        noise : Tensor of shape (S, n_features)
            Shared by all galaxies: a galaxy's samples do not depend on the batch it is in.

        Returns
        -------
        Tensor of shape (N, S, n_features)
        """
        transform = self.flow(context[:, None, :].expand(-1, len(noise), -1)).transform
        x = transform.inv(noise.expand(len(context), -1, -1))
        return x * self.scale + self.location
