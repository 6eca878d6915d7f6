"""Events that change a history: a burst, and quenching.

A burst adds a fraction f of the final mass at a constant rate,

    SFR -> (1 - f) SFR + f / duration    between time and time + duration,

and quenching multiplies the rate by exp(-(t - t_q) / tau) after a time t_q (Ciesla et al. 2017, A&A 608, A41,
with an exponential in place of their step).  Both keep the total mass at one.  `WithBurst` and `WithQuench`
apply them to any family, so that post-starburst, rejuvenated and quenched galaxies are values, not further
families.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sfhflow.sfh.draws import Range, log_uniform
from sfhflow.sfh.history import StarFormationHistory, formation_times, rebin

__all__ = ["HistoryFamily", "WithBurst", "WithQuench", "add_burst", "quench"]

# of the age of the Universe: events fall after this much of it, when the base has begun
_MAX_LOOKBACK = 0.9


class HistoryFamily(Protocol):
    """A distribution of star formation histories."""

    def sample(self, age_of_universe: Tensor, generator: torch.Generator | None) -> StarFormationHistory:
        """Draw one history for each age of the Universe in Gyr, shape (N,)."""
        ...


def add_burst(
    history: StarFormationHistory, time: Tensor, duration: Tensor, fraction: Tensor
) -> StarFormationHistory:
    """Add a burst of constant rate to each history.

    Parameters
    ----------
    history : StarFormationHistory
        N histories on T bins.
    time : Tensor of shape (N,)
        Beginning of the burst, cosmic time in Gyr.
    duration : Tensor of shape (N,)
        Gyr; the burst is cut at the last edge, at its full mass.
    fraction : Tensor of shape (N,)
        Fraction of the final mass that the burst makes.

    Returns
    -------
    StarFormationHistory
        N histories on T + 2 bins: the burst's start and end are added to the edges, so it is exact.
    """
    edges = history.time_edges
    first, last = edges[:, :1], edges[:, -1:]
    start = torch.clamp(time[:, None], first, last)
    end = torch.clamp((time + duration)[:, None], start, last)
    refined = rebin(history, torch.cat([edges, start, end], -1).sort(-1).values)
    low, high = refined.time_edges[:, :-1], refined.time_edges[:, 1:]
    overlap = (torch.minimum(high, end) - torch.maximum(low, start)).clamp(min=0)
    # a burst of no duration goes to the bin of zero width that its two edges made
    instant = (low == start) & (high == start)
    share = torch.where(end > start, overlap, instant.to(overlap))
    share = share / share.sum(-1, keepdim=True)
    mass = (1 - fraction[:, None]) * refined.mass + fraction[:, None] * share
    return StarFormationHistory(refined.time_edges, mass)


def quench(history: StarFormationHistory, time: Tensor, timescale: Tensor) -> StarFormationHistory:
    """Let the star formation rate decay exponentially after a time.

    Parameters
    ----------
    history : StarFormationHistory
        N histories.
    time : Tensor of shape (N,)
        Cosmic time in Gyr after which the rate is multiplied by exp(-(t - time) / timescale).  A history that
        begins later is quenched from its beginning.
    timescale : Tensor of shape (N,)
        Gyr, positive.

    Returns
    -------
    StarFormationHistory
        N histories on the same bins, normalised again.  The mass of each bin is exact.
    """
    begin = formation_times(history, (0.0,))
    time = torch.maximum(time[:, None], begin)
    tau = timescale[:, None]
    low, high = history.time_edges[:, :-1], history.time_edges[:, 1:]
    width = high - low
    before = (torch.minimum(high, time) - low).clamp(min=0)
    after = (high - torch.maximum(low, time)).clamp(min=0)
    decayed = torch.exp(-(low - time).clamp(min=0) / tau)
    kept = before - decayed * tau * torch.expm1(-after / tau)
    mean = torch.where(width > 0, kept / width, torch.where(low > time, decayed, 1.0))
    mass = history.mass * mean
    return StarFormationHistory(history.time_edges, mass / mass.sum(-1, keepdim=True))


@dataclass(frozen=True)
class WithQuench:
    """A family whose members were quenched.

    Parameters
    ----------
    base : HistoryFamily
        What is quenched.
    lookback_gyr : (float, float)
        Range of the lookback time of quenching, log-uniform, cut at 0.9 of the age of the Universe.
    timescale_gyr : (float, float)
        Range of the decay time, log-uniform.
    """

    base: HistoryFamily
    lookback_gyr: Range = (0.03, 10.0)
    timescale_gyr: Range = (0.01, 1.0)

    def sample(self, age_of_universe: Tensor, generator: torch.Generator | None) -> StarFormationHistory:
        """Draw one history for each age of the Universe in Gyr, shape (N,)."""
        history = self.base.sample(age_of_universe, generator)
        lookback = _lookback(self.lookback_gyr, age_of_universe, generator)
        timescale = log_uniform(*self.timescale_gyr, like=age_of_universe, generator=generator)
        return quench(history, age_of_universe - lookback, timescale)


@dataclass(frozen=True)
class WithBurst:
    """A family whose members had a burst, and may have been quenched by it.

    Parameters
    ----------
    base : HistoryFamily
        What existed before.
    lookback_gyr : (float, float)
        Range of the lookback time at which the burst began, log-uniform, cut at 0.9 of the age of the
        Universe.
    duration_gyr : (float, float)
        Range of its duration, log-uniform.
    fraction : (float, float)
        Range of its fraction of the mass, log-uniform.
    quench_timescale_gyr : (float, float), optional
        Range of the decay time, log-uniform, of all star formation after the burst's end.  None lets the
        galaxy go on as before.
    """

    base: HistoryFamily
    lookback_gyr: Range = (0.01, 2.0)
    duration_gyr: Range = (0.01, 0.3)
    fraction: Range = (0.001, 0.6)
    quench_timescale_gyr: Range | None = None

    def sample(self, age_of_universe: Tensor, generator: torch.Generator | None) -> StarFormationHistory:
        """Draw one history for each age of the Universe in Gyr, shape (N,)."""
        history = self.base.sample(age_of_universe, generator)
        begin = age_of_universe - _lookback(self.lookback_gyr, age_of_universe, generator)
        duration = log_uniform(*self.duration_gyr, like=age_of_universe, generator=generator)
        fraction = log_uniform(*self.fraction, like=age_of_universe, generator=generator)
        if self.quench_timescale_gyr is None:
            return add_burst(history, begin, duration, fraction)
        timescale = log_uniform(*self.quench_timescale_gyr, like=age_of_universe, generator=generator)
        return add_burst(quench(history, begin + duration, timescale), begin, duration, fraction)


def _lookback(span: Range, age_of_universe: Tensor, generator: torch.Generator | None) -> Tensor:
    high = (_MAX_LOOKBACK * age_of_universe).clamp(max=span[1])
    return log_uniform(high.clamp(max=span[0]), high, like=age_of_universe, generator=generator)
