"""Parametric star formation histories: top hat, delayed exponential, log-normal and double power law.

With cosmic time t in Gyr, up to the age of the Universe,

    top hat             SFR = const between start and end
    delayed tau         SFR ~ (t - start) exp(-(t - start) / tau)
    log-normal          SFR ~ exp(-(ln t - ln centre)^2 / (2 width^2)) / t
    double power law    SFR ~ 1 / ((t / turnover)^falling + (t / turnover)^-rising)

(Carnall et al. 2018, MNRAS 480, 4379, section 3.1, and 2019, ApJ 873, 44; Gladders et al. 2013, ApJ 770, 64,
eq. 1, for the log-normal; Simha et al. 2014, arXiv:1404.0402, for the delayed tau).  The mass of a bin is the
difference of the analytic cumulative mass, or, for the double power law, a three-point Gauss-Legendre
integral.  Default ranges of the families run from galaxies that died early to ones still rising; times are
fractions of the age of the Universe, so that they hold at any redshift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sfhflow.sfh.draws import Range, log_uniform, uniform
from sfhflow.sfh.history import StarFormationHistory

__all__ = [
    "DelayedTau",
    "DoublePowerLaw",
    "LogNormal",
    "TopHat",
    "delayed_tau",
    "double_power_law",
    "log_normal",
    "standard_edges",
    "top_hat",
]

_SHORTEST_LOOKBACK = 2e-4  # of the age of the Universe: 3 Myr today, the age of the youngest stellar models
_LOG_FROM = 0.1  # of the age of the Universe: bins grow from here towards the past until they are uniform


def standard_edges(age_of_universe: Tensor, *, n_uniform: int = 200, n_log: int = 100) -> Tensor:
    """Time edges that resolve both the early Universe and the last 100 Myr.

    Parameters
    ----------
    age_of_universe : Tensor of shape (N,)
        Gyr.
    n_uniform : int
        Number of bins uniform in cosmic time.
    n_log : int
        Number of further edges, uniform in log lookback time over the last tenth; 100 give steps of 6 %,
        finer than 10 Myr over the last 150 Myr.

    Returns
    -------
    Tensor of shape (N, n_uniform + n_log + 1)
        Cosmic time in Gyr, rising from 0 to the age of the Universe.
    """
    steady = torch.linspace(0, 1, n_uniform + 1, dtype=torch.float64)
    low, high = math.log10(_SHORTEST_LOOKBACK), math.log10(_LOG_FROM)
    recent = 1 - torch.logspace(low, high, n_log, dtype=torch.float64)
    fractions = torch.cat([steady, recent]).sort().values
    return fractions.to(age_of_universe) * age_of_universe[:, None]


def top_hat(start: Tensor, end: Tensor) -> StarFormationHistory:
    """Constant rate from `start` to `end` (Gyr, shape (N,)): one bin."""
    return StarFormationHistory(torch.stack([start, end], -1), torch.ones_like(start)[:, None])


def delayed_tau(time_edges: Tensor, start: Tensor, tau: Tensor) -> StarFormationHistory:
    """Delayed exponential on the given edges.

    Parameters
    ----------
    time_edges : Tensor of shape (N, T + 1)
        Gyr, rising; the last edge must lie after `start`.
    start : Tensor of shape (N,)
        Beginning of star formation in Gyr.
    tau : Tensor of shape (N,)
        Time scale in Gyr; the rate peaks at start + tau.  Large values give a rate rising linearly.

    Returns
    -------
    StarFormationHistory
        N histories.
    """
    x = ((time_edges - start[:, None]) / tau[:, None]).clamp(min=0)
    # 1 - (1 + x) exp(-x), and its series where the difference would lose all digits
    cumulative = torch.where(x < 1e-3, x**2 * (0.5 - x / 3 + x**2 / 8), -torch.expm1(-x) - x * torch.exp(-x))
    return _normalised(time_edges, cumulative.diff(dim=-1))


def log_normal(time_edges: Tensor, centre: Tensor, width: Tensor) -> StarFormationHistory:
    """Log-normal on the given edges.

    Parameters
    ----------
    time_edges : Tensor of shape (N, T + 1)
        Gyr, rising from 0 or later.
    centre : Tensor of shape (N,)
        Cosmic time in Gyr by which half of the mass would form in an endless Universe, exp(T_0) of Gladders
        et al. (2013).  The rate peaks at centre * exp(-width^2).
    width : Tensor of shape (N,)
        Standard deviation of ln t.

    Returns
    -------
    StarFormationHistory
        N histories.
    """
    z = (time_edges.log() - centre.log()[:, None]) / width[:, None]
    log_cumulative = torch.special.log_ndtr(z)
    # relative to the last edge: a galaxy that is only beginning has formed very little of its curve
    return _normalised(time_edges, (log_cumulative - log_cumulative[:, -1:]).exp().diff(dim=-1))


def double_power_law(
    time_edges: Tensor, turnover: Tensor, falling: Tensor, rising: Tensor
) -> StarFormationHistory:
    """Double power law on the given edges.

    Parameters
    ----------
    time_edges : Tensor of shape (N, T + 1)
        Gyr, rising from 0 or later.
    turnover : Tensor of shape (N,)
        Cosmic time in Gyr near which the rate peaks.
    falling, rising : Tensor of shape (N,)
        Positive slopes after and before the turnover.

    Returns
    -------
    StarFormationHistory
        N histories.
    """
    width = time_edges.diff(dim=-1)
    half_step = 0.5 * 0.6**0.5
    positions, weights = (0.5 - half_step, 0.5, 0.5 + half_step), (5 / 18, 8 / 18, 5 / 18)
    times = torch.stack([time_edges[:, :-1] + p * width for p in positions])
    log_time = (times / turnover[:, None]).log()
    log_rate = -torch.logaddexp(falling[:, None] * log_time, -rising[:, None] * log_time)
    rate = (log_rate - log_rate.amax((0, -1))[:, None]).exp()
    return _normalised(time_edges, width * torch.einsum("p,pnt->nt", rate.new_tensor(weights), rate))


@dataclass(frozen=True)
class TopHat:
    """Family of single bursts or plateaus: constant rate for a while, then nothing.

    Parameters
    ----------
    end_lookback_gyr : (float, float)
        Range of the lookback time at which star formation ended, log-uniform; cut at `max_lookback`.
    duration : (float, float)
        Range of the duration in Gyr, log-uniform; a burst never begins before the Big Bang.
    max_lookback : float
        Earliest end, as a fraction of the age of the Universe.
    """

    end_lookback_gyr: Range = (0.03, 20.0)
    duration: Range = (0.001, 0.1)
    max_lookback: float = 0.97

    def sample(self, age_of_universe: Tensor, generator: torch.Generator | None) -> StarFormationHistory:
        """Draw one history for each age of the Universe in Gyr, shape (N,)."""
        low, high = self.end_lookback_gyr
        high_gyr = (self.max_lookback * age_of_universe).clamp(max=high)
        low_gyr = high_gyr.clamp(max=low)
        lookback = log_uniform(low_gyr, high_gyr, like=age_of_universe, generator=generator)
        end = age_of_universe - lookback
        duration = log_uniform(*self.duration, like=age_of_universe, generator=generator)
        return top_hat((end - duration).clamp(min=0), end)


@dataclass(frozen=True)
class DelayedTau:
    """Family of delayed exponentials.

    Parameters
    ----------
    start : (float, float)
        Range of the beginning, uniform, as a fraction of the age of the Universe.
    tau : (float, float)
        Range of the time scale, log-uniform, as a fraction of the age of the Universe: 0.01 is a burst at
        the beginning, 2 still rises today.
    """

    start: Range = (0.0, 0.9)
    tau: Range = (0.01, 2.0)

    def sample(self, age_of_universe: Tensor, generator: torch.Generator | None) -> StarFormationHistory:
        """Draw one history for each age of the Universe in Gyr, shape (N,)."""
        start = uniform(*self.start, like=age_of_universe, generator=generator) * age_of_universe
        tau = log_uniform(*self.tau, like=age_of_universe, generator=generator) * age_of_universe
        return delayed_tau(standard_edges(age_of_universe), start, tau)


@dataclass(frozen=True)
class LogNormal:
    """Family of log-normals.

    Parameters
    ----------
    centre : (float, float)
        Range of the centre, uniform, as a fraction of the age of the Universe; above 1 the rate still rises.
    width : (float, float)
        Range of the standard deviation of ln t, log-uniform.
    """

    centre: Range = (0.05, 1.3)
    width: Range = (0.05, 1.0)

    def sample(self, age_of_universe: Tensor, generator: torch.Generator | None) -> StarFormationHistory:
        """Draw one history for each age of the Universe in Gyr, shape (N,)."""
        centre = uniform(*self.centre, like=age_of_universe, generator=generator) * age_of_universe
        width = log_uniform(*self.width, like=age_of_universe, generator=generator)
        return log_normal(standard_edges(age_of_universe), centre, width)


@dataclass(frozen=True)
class DoublePowerLaw:
    """Family of double power laws.

    Parameters
    ----------
    turnover : (float, float)
        Range of the turnover, uniform, as a fraction of the age of the Universe.
    falling, rising : (float, float)
        Ranges of the slopes, log-uniform: from plateaus to sudden quenching, and to sudden beginnings.
    """

    turnover: Range = (0.03, 1.2)
    falling: Range = (0.1, 100.0)
    rising: Range = (0.1, 100.0)

    def sample(self, age_of_universe: Tensor, generator: torch.Generator | None) -> StarFormationHistory:
        """Draw one history for each age of the Universe in Gyr, shape (N,)."""
        turnover = uniform(*self.turnover, like=age_of_universe, generator=generator) * age_of_universe
        falling = log_uniform(*self.falling, like=age_of_universe, generator=generator)
        rising = log_uniform(*self.rising, like=age_of_universe, generator=generator)
        return double_power_law(standard_edges(age_of_universe), turnover, falling, rising)


def _normalised(time_edges: Tensor, mass: Tensor) -> StarFormationHistory:
    mass = mass.clamp(min=0)
    return StarFormationHistory(time_edges, mass / mass.sum(-1, keepdim=True))
