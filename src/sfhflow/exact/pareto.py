r"""Pareto-smoothed importance weights (Vehtari et al. 2024, J. Mach. Learn. Res. 25, 72), and what they tell.

The largest weights follow a generalised Pareto distribution, :math:`P(w > x) \sim x^{-1/k}`.  Its shape *k* says
whether the proposal's tails are good enough: sums are to be trusted below 0.7, and beyond 1 there is no mean.
With quantiles of the fitted distribution in the place of the largest weights, sums are less noisy.  The fit is
that of Zhang & Stephens (2009, Technometrics 51, 316), drawn a little towards k = 0.5 as in the first paper.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["pareto_smooth"]

# fewest weights in the tail that tell a shape
_FEWEST = 5
# the prior on the shape is worth this many weights of shape 0.5
_PRIOR_WEIGHTS = 10


def pareto_smooth(log_weights: Tensor) -> tuple[Tensor, float]:
    """Smooth importance weights.

    Parameters
    ----------
    log_weights : Tensor of shape (N,)
        Logarithms of the weights.

    Returns
    -------
    log_weights : Tensor of shape (N,)
        With the largest smoothed, none of them above the largest before.
    k : float
        Shape of the tail; infinite if too few weights are left to tell.
    """
    n = len(log_weights)
    n_tail = min(n // 5, math.ceil(3 * math.sqrt(n)))
    if n_tail < _FEWEST:
        return log_weights, math.inf
    largest = log_weights.max()
    values, places = log_weights.topk(n_tail + 1)
    rising = (values - largest).exp().flip(0)
    cutoff, exceedance = rising[0], rising[1:] - rising[0]
    if not float(exceedance[0]) > 0:
        return log_weights, math.inf if float(exceedance[-1]) > 0 else 0.0
    k, scale = _fit(exceedance)
    quantiles = scale * torch.expm1(-k * torch.log1p(-_midpoints(n_tail))) / k + cutoff
    smoothed = log_weights.clone()
    smoothed[places[:-1]] = quantiles.log().clamp(max=0.0).flip(0) + largest
    return smoothed, k


def _midpoints(n: int) -> Tensor:
    return (torch.arange(n, dtype=torch.float64) + 0.5) / n


def _fit(x: Tensor) -> tuple[float, float]:
    """Shape and scale of a generalised Pareto distribution from rising values x (n,)."""
    n = len(x)
    m = 30 + math.isqrt(n)
    quarter = x[int(n / 4 + 0.5) - 1]
    theta = 1 / x[-1] + (1 - _midpoints(m).pow(-0.5)) / (3 * quarter)
    shapes = torch.log1p(-theta[:, None] * x).mean(-1)
    profile = n * (torch.log(-theta / shapes) - shapes - 1)
    theta_mean = float((torch.softmax(profile, 0) * theta).sum())
    k = float(torch.log1p(-theta_mean * x).mean())
    scale = -k / theta_mean
    return (n * k + 0.5 * _PRIOR_WEIGHTS) / (n + _PRIOR_WEIGHTS), scale
