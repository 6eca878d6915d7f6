r"""Nested sampling of the posterior with nautilus (Lange 2023, MNRAS 525, 3181): the reference for all else.

Nested samplers want a unit cube.  The cube is mapped to the parameters by logistic distributions after an affine
map, :math:`u = \mu + L\,s\,\mathrm{logit}(x)`, with a density *b(u)* that is known and has heavy tails; sampling
:math:`t(u)/b(u)` over the cube then gives the target *t* and its evidence, whatever *b*.  With :math:`\mu` and
:math:`L L^T` from samples of the prior, nothing of the amortized posterior enters.

A likelihood costs less here than what the sampler adds to it, which is mostly the making of its bounds and the
search for points inside: so there are few of them, of few ellipsoids, with small networks.  Points of the
exploration are discarded: with them the evidence came out too low by 0.5.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfhflow.exact.importance import WeightedSamples
from sfhflow.extras import optional

__all__ = ["LogisticBase", "nested_sampling"]

# standard deviation of the logistic distribution
_LOGISTIC_RMS = math.pi / math.sqrt(3)
_BATCH = 500
# new points for a new bound, relative to the live points
_UPDATE = 2
_NETWORK = {"hidden_layer_sizes": (40, 20), "max_iter": 60}
# fewest points of an ellipsoid, and how much it is widened in each dimension
_LEAST_POINTS, _ENLARGE = 600, 1.1


@dataclass(frozen=True)
class LogisticBase:
    """Product of logistic distributions after an affine map: mean (D,) and lower-triangular root (D, D)."""

    mean: Tensor
    root: Tensor

    @classmethod
    def around(cls, u: Tensor, *, inflation: float = 1.3) -> LogisticBase:
        """With the mean of samples u (N, D), and `inflation` times their standard deviations."""
        covariance = torch.cov(u.double().T)
        n_features = u.shape[1]
        covariance += 1e-8 * covariance.trace() / n_features * torch.eye(n_features, dtype=covariance.dtype)
        return cls(u.double().mean(0), inflation / _LOGISTIC_RMS * torch.linalg.cholesky(covariance))

    def from_cube(self, x: Tensor) -> Tensor:
        """Points (N, D) of points in the unit cube (N, D)."""
        return self.mean + torch.logit(x, eps=1e-12) @ self.root.T

    def log_prob(self, u: Tensor) -> Tensor:
        """Log density (N,) at points (N, D)."""
        z = torch.linalg.solve_triangular(self.root, (u - self.mean).T, upper=False).T
        logsigmoid = torch.nn.functional.logsigmoid
        return (logsigmoid(z) + logsigmoid(-z)).sum(-1) - self.root.diagonal().log().sum()


def nested_sampling(
    log_target: Callable[[Tensor], Tensor],
    base: LogisticBase,
    *,
    seed: int,
    n_live: int = 500,
    n_effective: int = 5000,
    budget: int = 400_000,
    seconds: float = 600.0,
) -> WeightedSamples:
    """Sample a target by nested sampling.

    Parameters
    ----------
    log_target : callable
        Log of the unnormalised density (N,) at points (N, D).
    base : LogisticBase
        Where to look.
    seed : int
        Of the sampler.
    n_live : int
        Live points.
    n_effective : int
        Effective samples to collect.
    budget : int
        Evaluations of the target after which no more samples are collected, however few are effective.
    seconds : float
        The same for the time.

    Returns
    -------
    WeightedSamples
        With weights whose mean is the evidence.

    Raises
    ------
    InputError
        If nautilus is not installed.
    """
    sampler_class = optional("nautilus", extra="exact").Sampler
    n_features = len(base.mean)

    def likelihood(x: NDArray[np.float64]) -> NDArray[np.float64]:
        u = base.from_cube(torch.from_numpy(x))
        value = (log_target(u) - base.log_prob(u)).numpy()
        return np.where(np.isfinite(value), value, -1e300)

    sampler = sampler_class(
        lambda x: x,
        likelihood,
        n_dim=n_features,
        n_live=n_live,
        n_update=_UPDATE * n_live,
        n_like_new_bound=10 * _UPDATE * n_live,
        vectorized=True,
        n_batch=_BATCH,
        seed=seed,
        n_networks=1,
        neural_network_kwargs=_NETWORK,
        n_points_min=_LEAST_POINTS,
        enlarge_per_dim=_ENLARGE,
    )
    with warnings.catch_warnings():
        # networks need not converge to tell where to look
        warnings.filterwarnings("ignore", message="Stochastic Optimizer")
        sampler.run(n_eff=n_effective, n_like_max=budget, timeout=seconds, discard_exploration=True)
    x, log_weights, _ = sampler.posterior()
    # the sampler's weights sum to one
    log_weights = torch.from_numpy(log_weights) + float(sampler.log_z) + math.log(len(log_weights))
    return WeightedSamples(base.from_cube(torch.from_numpy(x)), log_weights, int(sampler.n_like))
