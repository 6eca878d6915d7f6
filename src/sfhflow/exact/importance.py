r"""Adaptive importance sampling: correct samples of an approximate density with the true one.

A sample :math:`u_i` of the proposal *q* gets the weight :math:`w_i = t(u_i) / q(u_i)` for the unnormalised
target *t*.  The mean weight estimates the evidence, and :math:`(\sum w)^2/\sum w^2` is the effective sample size
(Kong 1992).  If the first proposal is too inefficient, mixtures of Student distributions are fitted to the
weighted samples, one after the other (population Monte Carlo: Cappe et al. 2008, Stat. Comput. 18, 447), with
the weights of the deterministic mixture, :math:`t(u_i) / \sum_j (n_j/n)\, q_j(u_i)` for :math:`n_j` of *n*
samples from each proposal (Veach & Guibas 1995, SIGGRAPH).  While few samples are effective, a fit
takes the weights to a power that makes enough of them so.

A proposal that was fitted to samples is too dense where they happen to be, and an evidence from those very samples
too low.  So the answer is made of fresh samples of the last fit and of the first proposal, and of nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from sfhflow.exact.student import StudentMixture
from sfhflow.gaussian_mixture import GaussianMixture, fit_gaussian_mixture

__all__ = ["Proposal", "WeightedSamples", "sample_target", "temper"]

LogDensity = Callable[[Tensor], Tensor]

_FIRST = 2000
_ROUNDS = (1500, 1500, 2000)
_BATCH = 1000
# share of the first proposal in the final samples
_DEFENSIVE = 0.15
_COMPONENTS, _FIT_POINTS, _FIT_STEPS = 4, 4000, 25
_DEGREES_OF_FREEDOM = 8
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
        Of the first proposal alone if they are enough, or fresh ones of it and of an adapted one.
    """
    adaptation = _Pool(log_target)
    weighted = adaptation.draw(proposal, min(_FIRST, budget), generator)
    alone = weighted.effective / len(weighted)
    for size in _ROUNDS:
        if weighted.effective >= wanted or len(weighted) + size + _BATCH > budget:
            break
        weighted = adaptation.draw(_fit(weighted, generator), size, generator)
    if len(weighted) == min(_FIRST, budget):
        return replace(weighted, first_efficiency=alone)
    spent, last = len(weighted), _fit(weighted, generator)
    fresh = _Pool(log_target)
    while True:
        n = min(_BATCH, budget - spent)
        spent += n
        n_first = round(_DEFENSIVE * n)
        fresh.draw(proposal, n_first, generator)
        weighted = fresh.draw(last, n - n_first, generator)
        if weighted.effective >= wanted or spent >= budget:
            return replace(weighted, n_evaluations=spent, first_efficiency=alone)


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
        """Add `n` samples of a proposal; all samples with their weights."""
        if not any(proposal is known for known in self._proposals):
            self._proposals.append(proposal)
            self._counts.append(0)
            self._densities.append(torch.cat([proposal.log_prob(u).double() for u in self._u] or [torch.empty(0)]))
        new = proposal.sample(n, generator).double()
        self._u.append(new)
        self._target.append(self._log_target(new).nan_to_num(nan=-math.inf))
        self._counts[[known is proposal for known in self._proposals].index(True)] += n
        known = zip(self._proposals, self._densities, strict=True)
        self._densities = [torch.cat([old, p.log_prob(new).double()]) for p, old in known]
        u = torch.cat(self._u)
        shares = torch.tensor(self._counts, dtype=torch.float64) / len(u)
        mixture = (torch.stack(self._densities) + shares.log()[:, None]).logsumexp(0)
        return WeightedSamples(u, torch.cat(self._target) - mixture, len(u))


def _fit(weighted: WeightedSamples, generator: torch.Generator) -> StudentMixture:
    """Mixture of Student distributions that approximates weighted samples."""
    n_features = weighted.u.shape[1]
    softened = temper(weighted.log_weights, _EFFECTIVE_PER_DIMENSION * n_features)
    points = replace(weighted, log_weights=softened).resample(_FIT_POINTS, generator)
    mean, covariance = points.mean(0), torch.cov(points.T)
    covariance += 1e-8 * covariance.trace() / n_features * torch.eye(n_features, dtype=points.dtype)
    root = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(root, (points - mean).T, upper=False).T
    seed = int(torch.randint(2**31, (1,), generator=generator))
    fitted = fit_gaussian_mixture(white, _COMPONENTS, steps=_FIT_STEPS, floor=_FIT_FLOOR, seed=seed)
    centres, factors = mean + fitted.means @ root.T, root @ fitted.cholesky
    return StudentMixture(GaussianMixture(fitted.weights, centres, factors), _DEGREES_OF_FREEDOM)


def _effective(log_weights: Tensor) -> float:
    weights = (log_weights - log_weights.max()).exp()
    return float(weights.sum() ** 2 / weights.square().sum())
