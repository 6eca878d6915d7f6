"""Likelihood-weighted projection on principal components, followed by a residual network.

The posterior of the coefficients (`sfhflow.projection`) is the input: its mean and standard deviations, the
amplitude and the goodness of fit, and how the galaxy was observed.  The network need not learn what an error or
a mask is, and its cost does not depend on the number of pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sfhflow.encoder.base import N_CONDITIONS, Encoder, conditions, unmasked
from sfhflow.encoder.layers import residual_layers
from sfhflow.observation import Observation
from sfhflow.projection import Projection

__all__ = ["ProjectionEncoder", "projection_features"]


class ProjectionEncoder(Encoder):
    """Network on the posterior of the coefficients of the principal components.

    Parameters
    ----------
    n_pixels, n_components, n_context, error_floor
        As for `Encoder`.
    width, depth : int
        Width and number of blocks of the residual network.
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
        n_features = 2 * n_components + 2 + N_CONDITIONS
        super().__init__(
            n_pixels, n_features, n_components=n_components, n_context=n_context, error_floor=error_floor
        )
        self.network = residual_layers(n_features, width, depth, n_context)

    @torch.no_grad()
    def features(self, observation: Observation, projection: Projection | None = None) -> Tensor:
        """Inputs of the network, shape (N, 2 K + 2 + N_CONDITIONS), before scaling."""
        projection = self.project(observation) if projection is None else projection
        return projection_features(projection, unmasked(observation))

    def encode(self, features: Tensor) -> Tensor:
        """Context vectors of precomputed `features`."""
        return self.network(self.scaled(features))


def projection_features(projection: Projection, observation: Observation) -> Tensor:
    """What a projection says, (N, 2 K + 2 + N_CONDITIONS): numbers of a size that a network can take."""
    return torch.cat(
        [
            projection.coefficients.clamp(-30, 30),
            projection.sigma.clamp_min(1e-6).log(),
            projection.amplitude.log()[:, None],
            (projection.chi2 + 1e-3).log()[:, None],
            conditions(observation),
        ],
        dim=-1,
    )
