r"""Adaptive importance sampling: correct samples of an approximate density with the true one.

A sample :math:`u_i` of the proposal *q* gets the weight :math:`w_i = t(u_i) / q(u_i)` for the unnormalised
target *t*.  The mean weight estimates the evidence, and :math:`(\sum w)^2/\sum w^2` is the effective sample size
(Kong 1992).  While it is too small, more samples are drawn in rounds (population Monte Carlo: Cappe et al. 2008,
Stat. Comput. 18, 447).  Each round fits a mixture of Student distributions to all weighted samples so far, with
weights taken to a power that makes enough of them effective, and draws from the first proposal and the
latest few fits, with the weights of the deterministic mixture, :math:`t(u_i) / \sum_j (n_j/n)\, q_j(u_i)` for
:math:`n_j` of *n* samples from each proposal (Veach & Guibas 1995, SIGGRAPH).

The proposals of a round are fixed before its samples are drawn, so the evidence of each round has no bias.  The
answer leaves out the first rounds, at most half of them, if more samples are effective without.  The
deterministic mixture of *all* rounds would seem to waste less, but it puts proposals that were fitted to a sample
into the weight of that sample: those are too dense where samples happen to be, and the evidence comes out too low.
For fitting, where it does no harm, it is used.  At the end the largest weights are smoothed
(`sfhflow.exact.pareto`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sfhflow.exact.pareto import pareto_smooth
from sfhflow.exact.student import fit_student_mixture

__all__ = ["LogDensity", "Proposal", "WeightedSamples", "sample_target", "temper"]

LogDensity = Callable[[Tensor], Tensor]

_FIRST, _ROUND = 2000, 1000
# share of the first proposal in every round, and how many fits share the rest
_DEFENSIVE, _LATEST = 0.3, 4
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
        Effective sample size over size of the first samples, which are of the first proposal alone.
    pareto_k : float
        Shape of the tail of the weights: see `sfhflow.exact.pareto`.
    """

    u: Tensor
    log_weights: Tensor
    n_evaluations: int
    first_efficiency: float = math.nan
    pareto_k: float = math.nan

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
        Of all rounds, or of all but the first ones.
    """
    pool = _Pool(log_target, proposal)
    rounds = [pool.draw([1.0], min(_FIRST, budget), generator)]
    alone = _effective(rounds[0]) / len(rounds[0])
    while True:
        spent = sum(map(len, rounds))
        log_weights, k = pareto_smooth(torch.cat(rounds[_beginning(rounds) :]))
        if _effective(log_weights) >= wanted or spent >= budget:
            u = pool.u[-len(log_weights) :]
            return WeightedSamples(u, log_weights, spent, first_efficiency=alone, pareto_k=k)
        pool.add(fit_student_mixture(pool.u, temper(pool.log_weights(), _softened(pool.u)), generator))
        rounds.append(pool.draw(_shares(len(pool.proposals)), min(_ROUND, budget - spent), generator))


def _softened(u: Tensor) -> float:
    return float(_EFFECTIVE_PER_DIMENSION * u.shape[1])


def _shares(n_proposals: int) -> list[float]:
    """What each proposal has of a round: the first its share, and the latest fits the same of the rest."""
    n_latest = min(_LATEST, n_proposals - 1)
    idle = n_proposals - 1 - n_latest
    return [_DEFENSIVE, *[0.0] * idle, *[(1 - _DEFENSIVE) / n_latest] * n_latest]


def _beginning(rounds: Sequence[Tensor]) -> int:
    """The first round from which the log weights of all rounds have most effective samples."""
    half = (len(rounds) + 1) // 2
    return max(range(half), key=lambda first: _effective(torch.cat(list(rounds[first:]))))


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

    def __init__(self, log_target: LogDensity, first: Proposal) -> None:
        self._log_target = log_target
        self.proposals = [first]
        self.u = self._target = torch.empty(0, dtype=torch.float64)
        self._densities = torch.empty(1, 0, dtype=torch.float64)
        self._counts = [0]

    def add(self, proposal: Proposal) -> None:
        """One more proposal, without samples."""
        self._densities = torch.cat([self._densities, proposal.log_prob(self.u).double()[None]])
        self.proposals.append(proposal)
        self._counts.append(0)

    def draw(self, shares: Sequence[float], n: int, generator: torch.Generator) -> Tensor:
        """Add `n` samples, a share of each proposal; their log weights (n,) in the mixture of those shares."""
        ends = torch.tensor(shares, dtype=torch.float64).cumsum(0).mul(n).round().int().tolist()
        counts = [end - start for start, end in zip([0, *ends], ends, strict=False)]
        drawn = [(q, m) for q, m in zip(self.proposals, counts, strict=True) if m > 0]
        new = torch.cat([q.sample(m, generator).double() for q, m in drawn])
        densities = torch.stack([q.log_prob(new).double() for q in self.proposals])
        target = self._log_target(new).nan_to_num(nan=-math.inf)
        self.u = torch.cat([self.u.reshape(-1, new.shape[1]), new])
        self._target = torch.cat([self._target, target])
        self._densities = torch.cat([self._densities, densities], dim=1)
        self._counts = [before + m for before, m in zip(self._counts, counts, strict=True)]
        return target - _mixture(densities, counts)

    def log_weights(self) -> Tensor:
        """Log weights of all samples in the mixture of all proposals, whenever they were added."""
        return self._target - _mixture(self._densities, self._counts)


def _mixture(densities: Tensor, counts: Sequence[int]) -> Tensor:
    """Log density (N,) of the mixture of proposals, of log densities (Q, N), with `counts` samples each."""
    shares = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    return (densities + shares.log()[:, None]).logsumexp(0)


def _effective(log_weights: Tensor) -> float:
    weights = (log_weights - log_weights.max()).exp()
    return float(weights.sum() ** 2 / weights.square().sum())
