"""What every encoder is: features of an observation, and a network that turns them into a context vector.

    context = encode(features(observation))

The features hold no trained weight, so those of simulated galaxies are made once, by any process, and used in
many steps of training (`sfhflow.feed`).  Every encoder is also a `Projector`: the verdict needs the projection
on principal components whatever network makes the context.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from sfhflow.observation import LSF_PIVOTS, Observation
from sfhflow.projection import Projection, Projector

__all__ = ["N_CONDITIONS", "Encoder", "conditions", "unmasked"]

_LSF_REFERENCE_KMS = 75.0

N_CONDITIONS = 6 + len(LSF_PIVOTS)
"""Length of `conditions`."""


class Encoder(Projector, ABC):
    """From a spectrum with errors and gaps to a context vector.

    Parameters
    ----------
    n_pixels : int
        P, pixels of the rest-frame grid.
    n_features : int
        F, length of the features.
    n_components : int
        K, principal components of the projection.
    n_context : int
        Length of the context vector.
    error_floor : float
        See `sfhflow.projection.Projector`.
    """

    feature_mean: Tensor
    feature_std: Tensor

    def __init__(
        self, n_pixels: int, n_features: int, *, n_components: int, n_context: int, error_floor: float
    ) -> None:
        super().__init__(n_pixels, n_components=n_components, error_floor=error_floor)
        self.n_context = n_context
        self.register_buffer("feature_mean", torch.zeros(n_features))
        self.register_buffer("feature_std", torch.ones(n_features))

    @abstractmethod
    def features(self, observation: Observation, projection: Projection | None = None) -> Tensor:
        """Inputs of the network before scaling, shape (N, F); masked pixels have no part in them.

        `projection` is that of the observation if it is known already.
        """

    @abstractmethod
    def encode(self, features: Tensor) -> Tensor:
        """Context vectors (N, n_context) of precomputed `features`."""

    def forward(self, observation: Observation, projection: Projection | None = None) -> Tensor:
        """Context vectors of shape (N, n_context); `projection` if it is known already."""
        return self.encode(self.features(observation, projection))

    def scaled(self, features: Tensor) -> Tensor:
        """Features (N, F) of about zero mean and unit variance, within 8."""
        return ((features.float() - self.feature_mean) / self.feature_std).clamp(-8, 8)

    def standardise(self, features: Tensor) -> None:
        """Set the scaling of the network's inputs from a sample of features (N, F)."""
        self.feature_mean.copy_(features.float().mean(0))
        self.feature_std.copy_(features.float().std(0).clamp_min(1e-3))


def unmasked(observation: Observation) -> Observation:
    """The observation with zeros in the masked pixels, whatever was there."""
    return observation._replace(flux=torch.where(observation.ivar > 0, observation.flux, 0.0))


def conditions(observation: Observation) -> Tensor:
    """How the galaxy was observed, shape (N, N_CONDITIONS).

    Logarithm of the signal-to-noise ratio, first and last observed pixel and observed fraction, age of the
    Universe, logarithm of the resolution at its pivots, and whether that is known.
    """
    good = observation.ivar > 0
    snr = observation.flux.clamp_min(0) * observation.ivar.sqrt()
    known = ~observation.lsf_kms.isnan()
    lsf = torch.where(known, (observation.lsf_kms / _LSF_REFERENCE_KMS).log(), 0.0)
    log_snr = (snr.sum(-1) / good.sum(-1).clamp_min(1) + 0.1).log()
    scalars = torch.stack([log_snr, *_coverage(good), observation.age_of_universe], dim=-1)
    return torch.cat([scalars, lsf, known[:, :1].float()], dim=-1)


def _coverage(good: Tensor) -> list[Tensor]:
    """First and last observed pixel and the observed fraction, each (N,) in [0, 1]."""
    n_pixels = good.shape[-1]
    pixel = torch.arange(n_pixels, device=good.device)
    first = torch.where(good, pixel, n_pixels).amin(-1) / n_pixels
    last = torch.where(good, pixel, 0).amax(-1) / n_pixels
    return [first, last, good.float().mean(-1)]
