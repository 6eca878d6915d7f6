"""Random draws shared by the families: uniform, log-uniform and Dirichlet.

Each takes the `torch.Generator` that makes it reproducible, and a tensor `like` whose length, type and device
the result takes over.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Range", "dirichlet", "log_uniform", "uniform"]

Range = tuple[float, float]


def uniform(
    low: float | Tensor, high: float | Tensor, *, like: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Numbers uniform in [low, high), one for each element of `like`."""
    unit = torch.rand(like.shape, dtype=like.dtype, device=like.device, generator=generator)
    return low + (high - low) * unit


def log_uniform(
    low: float | Tensor, high: float | Tensor, *, like: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Numbers whose logarithm is uniform in [log low, log high), one for each element of `like`."""
    low, high = (torch.as_tensor(edge, dtype=like.dtype, device=like.device).log() for edge in (low, high))
    return uniform(low, high, like=like, generator=generator).exp()


def dirichlet(alpha: float, n: int, *, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Points of the symmetric Dirichlet(alpha) distribution over `n` parts, shape (len(like), n).

    Normalised gamma variates: if g_i ~ Gamma(alpha, 1) then g / sum(g) ~ Dirichlet(alpha).
    """
    shape = torch.full((len(like), n), alpha, dtype=like.dtype, device=like.device)
    # the function behind torch.distributions.Gamma, which itself takes no generator
    gamma = torch._standard_gamma(shape, generator=generator)
    return gamma / gamma.sum(-1, keepdim=True)
