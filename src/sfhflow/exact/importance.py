r"""Adaptive importance sampling: correct samples of an approximate density with the true one.

Samples :math:`u_i` of proposals :math:`q_j` (:math:`n_j` each, *n* in all) get the weights

.. math:: w_i = \frac{t(u_i)}{\sum_j (n_j/n)\, q_j(u_i)}

of the deterministic mixture (Veach & Guibas 1995, SIGGRAPH; Cornuet et al. 2012, Scand. J. Stat. 39, 798) for the
unnormalised target *t*.  Their mean estimates the evidence, and :math:`(\sum w)^2/\sum w^2` is the effective
sample size (Kong 1992).  If the first proposal is too inefficient, mixtures of Gaussians are fitted to the
weighted samples, one after the other (population Monte Carlo: Cappe et al. 2008, Stat. Comput. 18, 447); since
the first proposal stays in the denominator, and every fitted component has a wide twin, no weight explodes.
While few samples are effective, the fit uses the weights to a power that makes enough of them so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Protocol

import torch
from torch import Tensor

from sfhflow.gaussian_mixture import GaussianMixture, fit_gaussian_mixture

__all__ = ["Proposal", "WeightedSamples", "sample_target", "temper"]

LogDensity = Callable[[Tensor], Tensor]

_FIRST = 2000
_ROUNDS = (1500, 1500, 2000, 3000, 5000)
_COMPONENTS, _FIT_POINTS, _FIT_STEPS = 6, 4000, 25
# share and scale of the wide twins
_WIDE_SHARE, _WIDE_SCALE = 0.15, 1.8
# smallest variance of a fitted component relative to the whole
_FIT_FLOOR = 0.02
_EFFECTIVE_PER_DIMENSION = 12


class Proposal(Protocol):
    """A normalised density that can be sampled."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density (N,) at points (N, D)."""

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Points (n, D)."""


@dataclass(frozen=True)
class WeightedSamples:
    """Samples of a target with their weights.

    Attributes
    ----------
    u : Tensor of shape (N, D)
        Points.
    log_weights : Tensor of shape (N,)
        Logarithms of the weights; the mean of the weights estimates the evidence.
    n_evaluations : int
        Evaluations of the target that they cost.
    first_efficiency : float
        Effective sample size over size of the samples of the first proposal alone.
    """

    u: Tensor
    log_weights: Tensor
    n_evaluations: int
    first_efficiency: float = math.nan

    def __len__(self) -> int:
        return len(self.u)

    @property
    def effective(self) -> float:
        """Effective sample size."""
        return _effective(self.log_weights)

    @property
    def efficiency(self) -> float:
        """Effective sample size over evaluations of the target."""
        return self.effective / self.n_evaluations

    @property
    def log_evidence(self) -> float:
        """Natural logarithm of the integral of the target."""
        return float(self.log_weights.logsumexp(0)) - math.log(len(self))

    @property
    def log_evidence_error(self) -> float:
        """Standard error of `log_evidence`: relative error of a mean of weights."""
        return math.sqrt(max(1 / self.effective - 1 / len(self), 0.0))

    def resample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw `n` points (n, D) of equal weight, by systematic resampling (fewest possible repetitions)."""
        cumulative = torch.softmax(self.log_weights, 0).cumsum(0)
        first = torch.rand(1, generator=generator, dtype=cumulative.dtype)
        places = (torch.arange(n, dtype=cumulative.dtype) + first) / n
        chosen = torch.searchsorted(cumulative, places).clamp(max=len(self) - 1)
        return self.u[chosen[torch.randperm(n, generator=generator)]]


def sample_target(
    log_target: LogDensity, proposal: Proposal, *, budget: int, wanted: float, generator: torch.Generator
) -> WeightedSamples:
    """Weighted samples of a target.

    Parameters
    ----------
    log_target : callable
        Log of the unnormalised density (N,) at points (N, D).
    proposal : Proposal
        First approximation of the target.
    budget : int
        Largest number of samples.
    wanted : float
        Effective sample size at which to stop.
    generator : torch.Generator
        Source of random numbers.

    Returns
    -------
    WeightedSamples
        All that were drawn, of every proposal.
    """
    pool = _Pool(log_target)
    weighted = pool.draw(proposal, min(_FIRST, budget), generator)
    sizes = chain(_ROUNDS, repeat(_ROUNDS[-1]))
    while weighted.effective < wanted and len(weighted) < budget:
        n = min(next(sizes), budget - len(weighted))
        weighted = pool.draw(_fit(weighted, generator), n, generator)
    return weighted


def temper(log_weights: Tensor, wanted: float) -> Tensor:
    """Log weights times the largest power in (0, 1] that makes `wanted` samples effective."""
    low, high = 0.0, 1.0
    if _effective(log_weights) >= wanted:
        return log_weights
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _effective(middle * log_weights) >= wanted else (low, middle)
    return low * log_weights


class _Pool:
    """Samples of several proposals, and the densities of all of them under every proposal."""

    def __init__(self, log_target: LogDensity) -> None:
        self._log_target = log_target
        self._proposals: list[Proposal] = []
        self._counts: list[int] = []
        self._u: list[Tensor] = []
        self._target: list[Tensor] = []
        self._densities: list[Tensor] = []

    def draw(self, proposal: Proposal, n: int, generator: torch.Generator) -> WeightedSamples:
        """Add `n` samples of another proposal; all samples with their weights."""
        new = proposal.sample(n, generator).double()
        self._u.append(new)
        self._target.append(self._log_target(new).nan_to_num(nan=-math.inf))
        earlier = zip(self._proposals, self._densities, strict=True)
        self._densities = [torch.cat([old, p.log_prob(new).double()]) for p, old in earlier]
        u = torch.cat(self._u)
        self._densities.append(proposal.log_prob(u).double())
        self._proposals.append(proposal)
        self._counts.append(n)
        shares = torch.tensor(self._counts, dtype=torch.float64) / len(u)
        mixture = (torch.stack(self._densities) + shares.log()[:, None]).logsumexp(0)
        first = slice(0, self._counts[0])
        of_first = _effective(self._target[0] - self._densities[0][first]) / self._counts[0]
        return WeightedSamples(u, torch.cat(self._target) - mixture, len(u), of_first)


def _fit(weighted: WeightedSamples, generator: torch.Generator) -> GaussianMixture:
    """Mixture of Gaussians, each with a wide twin, that approximates weighted samples."""
    n_features = weighted.u.shape[1]
    softened = temper(weighted.log_weights, _EFFECTIVE_PER_DIMENSION * n_features)
    points = replace(weighted, log_weights=softened).resample(_FIT_POINTS, generator)
    mean, covariance = points.mean(0), torch.cov(points.T)
    covariance += 1e-8 * covariance.trace() / n_features * torch.eye(n_features, dtype=points.dtype)
    root = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(root, (points - mean).T, upper=False).T
    seed = int(torch.randint(2**31, (1,), generator=generator))
    fitted = fit_gaussian_mixture(white, _COMPONENTS, steps=_FIT_STEPS, floor=_FIT_FLOOR, seed=seed)
    means, factors = mean + fitted.means @ root.T, root @ fitted.cholesky
    return GaussianMixture(
        torch.cat([(1 - _WIDE_SHARE) * fitted.weights, _WIDE_SHARE * fitted.weights]),
        torch.cat([means, means]),
        torch.cat([factors, _WIDE_SCALE * factors]),
    )


def _effective(log_weights: Tensor) -> float:
    weights = (log_weights - log_weights.max()).exp()
    return float(weights.sum() ** 2 / weights.square().sum())
