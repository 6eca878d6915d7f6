r"""What every flow is: a density of coordinates given a context, made by moving noise about.

.. math:: \log p(u | c) = \log N(z; 0, 1) + \log |\det \partial z / \partial u|, \qquad z = f_c(u)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

__all__ = ["Flow"]


class Flow(nn.Module, ABC):
    """Conditional density of `n_features` coordinates, located and scaled as a sample of them is."""

    location: Tensor
    scale: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.n_features = n_features
        self.register_buffer("location", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))

    def standardise(self, u: Tensor) -> None:
        """Set location and scale of the coordinates from a sample (N, n_features)."""
        self.location.copy_(u.mean(0))
        self.scale.copy_(u.std(0))

    def log_prob(self, u: Tensor, context: Tensor) -> Tensor:
        """Log density (...,) of coordinates (..., n_features) given contexts (..., n_context)."""
        z, log_det = self.transform(u, context)
        return log_det - 0.5 * (z.square().sum(-1) + self.n_features * math.log(2 * math.pi))

    @abstractmethod
    def transform(self, u: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Noise z (..., n_features) that `sample` makes u of, and the log determinant of dz/du (...,)."""

    @abstractmethod
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
