"""What every flow is: a density of coordinates given a context, and a way to make samples of noise."""

from __future__ import annotations

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

    @property
    def n_noise(self) -> int:
        """Standard-normal numbers that `sample` makes a sample of."""
        return self.n_features

    def standardise(self, u: Tensor) -> None:
        """Set location and scale of the coordinates from a sample (N, n_features)."""
        self.location.copy_(u.mean(0))
        self.scale.copy_(u.std(0))

    def log_prob(self, u: Tensor, context: Tensor) -> Tensor:
        """Log density (...,) of coordinates (..., n_features) given contexts (..., n_context)."""
        z, log_det = self.transform(u, context)
        return self.base_log_prob(z, context) + log_det

    @abstractmethod
    def transform(self, u: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates z (..., n_features) of a simpler density, and the log determinant of dz/du (...,)."""

    @abstractmethod
    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        """Coordinates u (N, S, n_features) that `transform` makes z (N, S, n_features) of, for N contexts."""

    @abstractmethod
    def base_log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        """Log density (...,) of the coordinates z (..., n_features) of samples."""

    @abstractmethod
    def base_sample(self, context: Tensor, noise: Tensor) -> Tensor:
        """Coordinates z (N, S, n_features) of samples, of noise as in `sample`."""

    def sample(self, context: Tensor, noise: Tensor) -> Tensor:
        """Transport standard-normal noise to samples.

        Parameters
        ----------
        context : Tensor of shape (N, n_context)
        noise : Tensor of shape (S, n_noise) or (N, S, n_noise)
            Shared by all galaxies, or each galaxy's own.

        Returns
        -------
        Tensor of shape (N, S, n_features)
        """
        return self.inverse(self.base_sample(context, noise), context)
