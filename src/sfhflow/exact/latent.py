r"""A model's density of the parameters of one galaxy: as it is, and in the coordinates of its flow.

A flow is a bijection :math:`z = f(u)` after which the model's posterior is a plain mixture of Gaussians.  A target
*t* becomes :math:`t(u)\,|\det \partial u / \partial z|` in *z*: its evidence is the same, its shape is simpler
wherever the flow has learned that of the posterior, and easier to describe (`sfhflow.exact.importance`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor

from sfhflow.model import Model
from sfhflow.observation import Observation

__all__ = ["AmortizedProposal", "LatentProposal"]

# difference of z and f(u(z)) beyond which a point is beyond the reach of floating-point numbers
_ROUNDING = 1e-4


class AmortizedProposal:
    """A model's density of the parameters given one observation (a batch of one)."""

    def __init__(self, model: Model, observation: Observation) -> None:
        self._flow = model.network.flow
        with torch.inference_mode():
            self._context = model.network.encoder(observation)

    @torch.inference_mode()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Unbounded coordinates (n, D)."""
        noise = torch.randn(n, self._flow.n_noise, generator=generator)
        return self._flow.sample(self._context, noise)[0].double()

    @torch.inference_mode()
    def log_prob(self, u: Tensor) -> Tensor:
        """Log density (N,) at coordinates (N, D)."""
        # one context for all: it is broadcast, and what depends on it alone is computed once
        return self._flow.log_prob(u.float(), self._context).double()


class LatentProposal:
    """The same density in the coordinates of the flow, in double precision."""

    def __init__(self, model: Model, observation: Observation) -> None:
        self._flow = deepcopy(model.network.flow).double()
        with torch.inference_mode():
            self._context = model.network.encoder(observation).double()

    @torch.inference_mode()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Coordinates z (n, D)."""
        noise = torch.randn(n, self._flow.n_noise, generator=generator, dtype=torch.float64)
        return self._flow.base_sample(self._context, noise)[0].clone()

    @torch.inference_mode()
    def log_prob(self, z: Tensor) -> Tensor:
        """Log density (N,) at z (N, D)."""
        return self._flow.base_log_prob(z, self._context)

    @torch.inference_mode()
    def to_unbounded(self, z: Tensor) -> Tensor:
        """Unbounded coordinates u (N, D) of the parameters."""
        return self._flow.inverse(z[None], self._context)[0]

    def pull_back(self, log_density: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """A log density of u as a log density of z, minus infinity where z is too far out for the flow."""

        def of_z(z: Tensor) -> Tensor:
            with torch.inference_mode():
                u = self.to_unbounded(z)
                back, log_det = self._flow.transform(u, self._context)
            far = ~((back - z).abs().amax(-1) < _ROUNDING)
            return (log_density(u) - log_det).masked_fill(far, -math.inf)

        return of_z
