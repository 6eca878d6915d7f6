"""A star formation history: how much stellar mass formed, and when.

A history is piecewise constant: cosmic time is cut into bins, each bin forms a fraction of the total mass at
a constant rate.  The cumulative mass fraction F(t) is then piecewise linear, and everything else follows from
it: the formation time of a fraction f is F^-1(f), and a history on other bins is the difference of F at their
edges.  Masses are masses *formed*, never remaining.  Bins of zero width are allowed and hold an instantaneous
burst.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sfhflow.errors import InputError

__all__ = [
    "StarFormationHistory",
    "cumulative_mass",
    "effective_formation_times",
    "formation_times",
    "rebin",
    "star_formation_rate",
    "stretched_ages",
]


class StarFormationHistory(NamedTuple):
    """A batch of N star formation histories, constant in each of T time bins.

    Attributes
    ----------
    time_edges : Tensor of shape (N, T + 1)
        Cosmic time since the Big Bang in Gyr, rising along the last axis (equal neighbours are allowed).
    mass : Tensor of shape (N, T)
        Fraction of the total mass formed in each bin; every row sums to 1.
    """

    time_edges: Tensor
    mass: Tensor


def formation_times(history: StarFormationHistory, fractions: Tensor | Sequence[float]) -> Tensor:
    """Cosmic times at which the cumulative mass first reaches the given fractions.

    Parameters
    ----------
    history : StarFormationHistory
        N histories.
    fractions : array of shape (F,)
        Mass fractions in [0, 1].  0 gives the start of the first bin with mass, 1 the end of the last one
        (masses below the rounding of the total, about 1e-16, do not count as mass there).

    Returns
    -------
    Tensor of shape (N, F)
        Cosmic time in Gyr.

    Raises
    ------
    InputError
        If a fraction lies outside [0, 1].
    """
    fractions = _fractions(fractions, history.mass)
    cumulative = history.mass.cumsum(-1)
    return _locate(history, cumulative, fractions)[2]


def stretched_ages(
    history: StarFormationHistory, age_of_universe: Tensor, factor: Tensor, *, oldest_gyr: float
) -> StarFormationHistory:
    """Histories of which all stars are older by a factor, as a library with other ages would see them.

    Parameters
    ----------
    history : StarFormationHistory
        N histories.
    age_of_universe : Tensor of shape (N,)
        Gyr, at the time of observation.
    factor : Tensor of shape (N,)
        Of the ages.
    oldest_gyr : float
        Limit of the ages: what would be older is as old.  The times of the result may be before the Big Bang.
    """
    ages = (age_of_universe[:, None] - history.time_edges) * factor[:, None]
    return history._replace(time_edges=age_of_universe[:, None] - ages.clamp(max=oldest_gyr))


def effective_formation_times(history: StarFormationHistory, fractions: Tensor | Sequence[float]) -> Tensor:
    """Return formation times whose first and last stars have the mean age they have in the history.

    A declining history never quite ends, so its time of 100 % says nothing, and taken literally as the end of
    a constant rate it would spread the last stars over a dead galaxy's whole life.  If `fractions` starts
    with 0, the first time is therefore 2 <t> - t_2, with <t> the mean formation time of the stars formed up
    to the second fraction, reached at t_2; likewise at the end for fraction 1.  Where the rate is constant
    these are the true start and end.  Both stay within the history's edges.

    Parameters
    ----------
    history : StarFormationHistory
        N histories.
    fractions : array of shape (F,)
        Rising mass fractions in [0, 1], at least three.

    Returns
    -------
    Tensor of shape (N, F)
        Cosmic time in Gyr, rising along the last axis.

    Raises
    ------
    InputError
        If a fraction lies outside [0, 1].
    """
    fractions = _fractions(fractions, history.mass)
    edges, mass = history
    cumulative = mass.cumsum(-1)
    moments = mass * (0.5 * (edges[:, 1:] + edges[:, :-1]))
    moment = moments.cumsum(-1)
    index, inside, time = _locate(history, cumulative, fractions)
    formed = inside * mass.gather(-1, index)
    # the integral of t dF up to each formation time
    reached = moment.gather(-1, index) - moments.gather(-1, index)
    reached += formed * 0.5 * (edges.gather(-1, index) + time)
    total = cumulative[:, -1]
    if fractions[0] == 0:
        mean = reached[:, 1] / (fractions[1] * total)
        time[:, 0] = (2 * mean - time[:, 1]).clamp(edges[:, 0], time[:, 1])
    if fractions[-1] == 1:
        mean = (moment[:, -1] - reached[:, -2]) / ((1 - fractions[-2]) * total)
        time[:, -1] = (2 * mean - time[:, -2]).clamp(time[:, -2], edges[:, -1])
    return time


def cumulative_mass(history: StarFormationHistory, times: Tensor) -> Tensor:
    """Mass fraction formed up to and including the given cosmic times.

    Parameters
    ----------
    history : StarFormationHistory
        N histories.
    times : Tensor of shape (N, M) or (M,)
        Cosmic time in Gyr.

    Returns
    -------
    Tensor of shape (N, M)
        Mass fraction in [0, 1].
    """
    edges, mass = history
    times = times.to(edges).expand(len(edges), -1).contiguous()
    index = torch.searchsorted(edges.contiguous(), times, right=True).sub_(1).clamp_(0, mass.shape[-1] - 1)
    start, end = edges.gather(-1, index), edges.gather(-1, index + 1)
    # a bin of zero width has formed all its mass once its time has come
    inside = torch.where(end > start, (times - start) / (end - start), (times >= end).to(times)).clamp(0, 1)
    cumulative = mass.cumsum(-1)
    here = mass.gather(-1, index)
    return (cumulative.gather(-1, index) - here + inside * here).clamp(0, 1)


def star_formation_rate(history: StarFormationHistory) -> Tensor:
    """Mass fraction formed per Gyr in each bin, shape (N, T); infinite where a zero-width bin holds mass."""
    width = history.time_edges.diff(dim=-1)
    return torch.where(history.mass > 0, history.mass / width, torch.zeros_like(history.mass))


def rebin(history: StarFormationHistory, time_edges: Tensor) -> StarFormationHistory:
    """Put the same histories on other time bins, conserving mass.

    Parameters
    ----------
    history : StarFormationHistory
        N histories.
    time_edges : Tensor of shape (N, M + 1) or (M + 1,)
        New edges, cosmic time in Gyr, rising.

    Returns
    -------
    StarFormationHistory
        N histories on M bins.

    Raises
    ------
    InputError
        If stars form outside the new edges.
    """
    time_edges = time_edges.to(history.time_edges).expand(len(history.mass), -1)
    span = formation_times(history, (0.0, 1.0))
    tolerance = 1e-9 * history.time_edges[:, -1].abs()
    outside = (span[:, 0] < time_edges[:, 0] - tolerance) | (span[:, 1] > time_edges[:, -1] + tolerance)
    if bool(outside.any()):
        row = int(outside.nonzero()[0])
        raise InputError(
            f"history {row} forms stars from {span[row, 0]:.4g} to {span[row, 1]:.4g} Gyr, expected all "
            f"within the new edges {time_edges[row, 0]:.4g} to {time_edges[row, -1]:.4g} Gyr; widen the edges"
        )
    cumulative = cumulative_mass(history, time_edges)
    cumulative[:, 0], cumulative[:, -1] = 0.0, 1.0
    return StarFormationHistory(time_edges, cumulative.diff(dim=-1).clamp(min=0))


def _locate(history: StarFormationHistory, cumulative: Tensor, fractions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Bin in which each fraction is reached, the fraction of that bin's mass formed by then, and the time."""
    edges, mass = history
    target = (cumulative[:, -1:] * fractions).contiguous()
    # the smallest positive number finds the first bin with mass for fraction 0, where 0 would find bin 0
    first = target.clamp(min=torch.finfo(target.dtype).tiny)
    index = torch.searchsorted(cumulative, first).clamp_(max=mass.shape[-1] - 1)
    here = mass.gather(-1, index)
    before = torch.where(index > 0, cumulative.gather(-1, (index - 1).clamp(min=0)), 0.0)
    inside = ((target - before) / here).clamp(0, 1)
    start = edges.gather(-1, index)
    return index, inside, start + inside * (edges.gather(-1, index + 1) - start)


def _fractions(fractions: Tensor | Sequence[float], like: Tensor) -> Tensor:
    tensor = torch.as_tensor(fractions, dtype=like.dtype, device=like.device)
    if tensor.ndim != 1 or not bool(((tensor >= 0) & (tensor <= 1)).all()):
        raise InputError(
            f"mass fractions are {tensor.tolist()}, expected a flat list of numbers in [0, 1]; correct them"
        )
    return tensor
