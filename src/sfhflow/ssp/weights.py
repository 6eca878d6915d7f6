"""From star formation histories to weights of SSPs.

A galaxy is int S(t) dM(t), with S(t) the SSP spectrum at age t and M(t) the mass of stars younger than t.
S is linear in log t between the ages t_k of the library, so the galaxy is sum_k w_k S_k with weights
w_k = int hat_k(log t) dM(t).  The star formation rate is constant in each bin, hence, with x = log(t / t_0),

    M(t) and G(t) = int_0^t x(t') dM(t')

have closed forms: within a bin the mean of x over [p, q] is (L(q) - L(p)) / (q - p), where
L(t) = t x - t.  Between the nodes k and k + 1 lie the mass dM and the moment dG, so that node k + 1 receives
(dG - x_k dM) / (x_{k+1} - x_k), and node k the rest.  This is exact, and costs O(T + A) for each galaxy.

Stars younger than the youngest SSP are given its spectrum (x = 0 there): MILES has no younger, hotter stars,
and models made of them begin at 0.03 Gyr.  Stars older than the oldest SSP are an error.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from sfhflow.errors import LibraryError

__all__ = ["age_weights", "metallicity_weights"]

# Ages beyond the oldest SSP, or below zero, that are taken for rounding errors of single precision.
_AGE_TOLERANCE = 1e-5
# Bins narrower than this fraction of their age: the midpoint is more exact than a difference of integrals.
_NARROW = 1e-6
# Galaxies computed at once: their arrays stay in the processor's caches.
_ROWS_AT_ONCE = 64
# Rounding error allowed in [M/H] at the ends of the grid.
_MH_TOLERANCE = 1e-5


def age_weights(time_edges: Tensor, mass: Tensor, age_of_universe: Tensor, ssp_ages: Tensor) -> Tensor:
    """Mass at each SSP age, for star formation histories constant within bins of cosmic time.

    Parameters
    ----------
    time_edges : tensor of shape (N, T + 1)
        Edges of the bins in cosmic time in Gyr, rising along the last axis; bins may have zero width.
    mass : tensor of shape (N, T)
        Mass formed in each bin, usually as a fraction of all.
    age_of_universe : tensor of shape (N,)
        Age of the Universe in Gyr when the galaxy is seen.
    ssp_ages : tensor of shape (A,)
        Ages of the library in Gyr, rising.

    Returns
    -------
    tensor of shape (N, A)
        Weights with the dtype and device of `mass`; they sum to the sum of `mass`.  Computed in double
        precision, since a bin of 1e-4 Gyr at an age of 10 Gyr is lost in single precision.

    Raises
    ------
    LibraryError
        If edges fall, lie after the time of observation, or stars are older than the oldest SSP.
    """
    ages = (age_of_universe.double()[:, None] - time_edges.double()).flip(-1)
    binned = mass.double().flip(-1)
    nodes = ssp_ages.to(mass.device, torch.float64)
    _check_ages(ages, binned, nodes)
    ratios = nodes / nodes[0]
    edges = (ages.clamp(0.0, float(nodes[-1])) / nodes[0]).split(_ROWS_AT_ONCE)
    parts = zip(edges, binned.split(_ROWS_AT_ONCE), strict=True)
    shares = [_share(*_cumulative(*some, ratios), torch.log(ratios)) for some in parts]
    return torch.cat(shares).to(mass.dtype)


def metallicity_weights(metallicity: Tensor, nodes: Tensor) -> Tensor:
    """Weights of linear interpolation in [M/H].

    Parameters
    ----------
    metallicity : tensor of shape (N,)
        [M/H] in dex.
    nodes : tensor of shape (Z,)
        [M/H] of the library, rising.

    Returns
    -------
    tensor of shape (N, Z)
        Weights that sum to one, at most two of them not zero, with the dtype and device of `metallicity`.

    Raises
    ------
    LibraryError
        If a metallicity lies outside the nodes.
    """
    values, nodes = metallicity.double(), nodes.to(metallicity.device, torch.float64)
    low, high = float(nodes[0]), float(nodes[-1])
    inside = (values >= low - _MH_TOLERANCE) & (values <= high + _MH_TOLERANCE)
    if not bool(inside.all()):
        raise LibraryError(
            f"SSP weights: [M/H] is {float(values[~inside][0]):g}, expected {low:g} to {high:g} as the "
            "library; narrow the prior or use a wider library"
        )
    if len(nodes) == 1:
        return torch.ones_like(metallicity)[:, None]
    cell = (torch.searchsorted(nodes, values, right=True) - 1).clamp(0, len(nodes) - 2)
    upper = ((values - nodes[cell]) / (nodes[cell + 1] - nodes[cell])).clamp(0.0, 1.0)
    weights = values.new_zeros(len(values), len(nodes))
    index = torch.stack([cell, cell + 1], dim=1)
    return weights.scatter(1, index, torch.stack([1.0 - upper, upper], dim=1)).to(metallicity.dtype)


def _cumulative(edges: Tensor, mass: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor]:
    """Return M and G at the nodes (N, A), from bins (N, T + 1) in rising age; ages in units of the first."""
    total = pad(torch.cumsum(mass, dim=1), (1, 0))
    mean = _mean_log(edges[:, :-1], edges[:, 1:], _log_integral(edges).diff(dim=1))
    moment = pad(torch.cumsum(mass * mean, dim=1), (1, 0))
    wanted = nodes.expand(len(edges), -1).contiguous()
    cell = (torch.searchsorted(edges.contiguous(), wanted, right=True) - 1).clamp(0, mass.shape[1] - 1)
    start, stop = edges.gather(1, cell), edges.gather(1, cell + 1)
    width = stop - start
    # A bin of no width holds its mass at one age, which the node has reached if the bin was found for it.
    inside = torch.where(width > 0, (wanted - start) / width.clamp(min=1e-300), (wanted >= start).double())
    inside = inside.clamp(0.0, 1.0)
    part = mass.gather(1, cell) * inside
    below = total.gather(1, cell) + part
    stop = start + inside * width
    return below, moment.gather(1, cell) + part * _mean_log(
        start, stop, _log_integral(stop) - _log_integral(start)
    )


def _mean_log(low: Tensor, high: Tensor, integral: Tensor) -> Tensor:
    """Mean of log(max(t, 1)) over t in [low, high], from its integral."""
    width = high - low
    narrow = width < _NARROW * high.clamp(min=1.0)
    mean = integral / torch.where(narrow, 1.0, width)
    if bool(narrow.any()):
        at_middle = torch.log((0.5 * (low + high)).clamp(min=1.0))
        mean = torch.where(narrow, at_middle, mean)
    return mean


def _log_integral(t: Tensor) -> Tensor:
    """Integral of log(max(t', 1)) over t' in [0, t]."""
    t = t.clamp(min=1.0)
    return t * torch.log(t) - (t - 1.0)


def _share(below: Tensor, moment: Tensor, log_nodes: Tensor) -> Tensor:
    """Weights (N, A) from the cumulative mass and moment at the nodes."""
    between = below.diff(dim=1)
    upper = (moment.diff(dim=1) - log_nodes[:-1] * between) / log_nodes.diff()
    weights = pad(between - upper, (0, 1)) + pad(upper, (1, 0))
    return (weights + pad(below[:, :1], (0, len(log_nodes) - 1))).clamp(min=0.0)


def _check_ages(ages: Tensor, mass: Tensor, nodes: Tensor) -> None:
    if not bool((ages.diff(dim=1) >= 0).all()):
        raise LibraryError(
            "SSP weights: time edges fall or are not numbers, expected rising cosmic times in Gyr; sort them"
        )
    if bool((ages < -_AGE_TOLERANCE).any()):
        raise LibraryError(
            f"SSP weights: stars form {-float(ages.min()):g} Gyr after the time of observation, expected "
            "time edges up to the age of the Universe; end the star formation history there"
        )
    oldest = float(nodes[-1])
    if not bool((ages[:, -1] > oldest * (1.0 + _AGE_TOLERANCE)).any()):
        return
    too_old = (ages[:, 1:] > oldest * (1.0 + _AGE_TOLERANCE)) & (mass > 0)
    if bool(too_old.any()):
        raise LibraryError(
            f"SSP weights: stars are {float(ages[:, 1:][too_old].max()):.4g} Gyr old, expected at most "
            f"{oldest:g} Gyr as the oldest SSP; use a library that reaches further or a higher redshift"
        )
