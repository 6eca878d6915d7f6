r"""Formation times as unbounded coordinates: two ways, and why networks get the second.

Times :math:`0 < t_1 < \dots < t_F < 1` cut the age of the Universe into :math:`n = F + 1` gaps, a composition.
With :math:`g_i = (\Delta t_i - \epsilon) / (1 - n \epsilon)`, so that no gap is ever shorter than
:math:`\epsilon`:

* **isometric** log-ratios (Egozcue et al. 2003, Math. Geol. 35, 279), :math:`r = H \log g`, where the rows of the
  Helmert matrix :math:`H` are orthonormal and orthogonal to :math:`(1, \dots, 1)`;
* **nested** log-ratios: the gaps are halved again and again, and each coordinate is the log-ratio of the sums of
  the two halves :math:`A`, :math:`B` of a span,

  .. math:: x = \log \frac{\sum_{i \in A} g_i}{\sum_{i \in B} g_i}

  (a sequential binary partition, Egozcue & Pawlowsky-Glahn 2005, Math. Geol. 37, 795, with sums in place of
  geometric means).  Inverted, :math:`t_m = t_a + (t_b - t_a) / (1 + e^{-x})` for every span from *a* to *b*.

In both, the volume element is :math:`\prod_i g_i` times a constant, so densities differ by a constant,
:math:`|\partial r / \partial x| = n^{-1/2}`.  But a spectrum tells how much mass had formed by some moment: it
fixes sums of gaps.  A nested coordinate is such a sum against another, and a time depends on four coordinates at
most; in isometric ones it depends on all, what the spectrum fixes is a thin curved sheet, and a flow that cannot
follow the curvature gives intervals that are too wide.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "MIN_GAP",
    "helmert",
    "isometric_to_times",
    "log_volume_ratio",
    "nested_to_isometric",
    "nested_to_times",
    "times_to_isometric",
    "times_to_nested",
]

MIN_GAP = 5e-5
"""The shortest gap that coordinates can describe, as a fraction of the age of the Universe."""


def times_to_isometric(times: Tensor) -> Tensor:
    """Isometric log-ratios (..., F) of `times` (..., F), fractions of the age."""
    free = _gaps(times)
    return free.log() @ helmert(free.shape[-1], dtype=times.dtype).to(times.device).mT


def isometric_to_times(r: Tensor) -> Tensor:
    """Inverse of `times_to_isometric`: strictly rising times (..., F) inside (0, 1)."""
    n = r.shape[-1] + 1
    free = torch.softmax(r @ helmert(n, dtype=r.dtype).to(r.device), dim=-1)
    return free.mul(1 - n * MIN_GAP).add(MIN_GAP).cumsum(-1)[..., :-1]


def times_to_nested(times: Tensor) -> Tensor:
    """Nested log-ratios (..., F) of `times` (..., F), fractions of the age."""
    free = _gaps(times)
    ratios = [
        free[..., low:middle].sum(-1).log() - free[..., middle:high].sum(-1).log()
        for low, middle, high in _spans(free.shape[-1])
    ]
    return torch.stack(ratios, dim=-1)


def nested_to_times(x: Tensor) -> Tensor:
    """Inverse of `times_to_nested`: strictly rising times (..., F) inside (0, 1).

    They lie in memory with all values of one time side by side, which makes what follows fast.
    """
    n = x.shape[-1] + 1
    # the work runs over the first axis, so that the innermost loops are over galaxies or samples
    shares = x.movedim(-1, 0).contiguous().sigmoid()
    edges = [torch.zeros_like(shares[0]), *shares, torch.ones_like(shares[0])]
    for share, (low, middle, high) in zip(shares, _spans(n), strict=True):
        edges[middle] = torch.lerp(edges[low], edges[high], share)
    shift = MIN_GAP * torch.arange(1, n, dtype=x.dtype, device=x.device)
    times = torch.stack(edges[1:-1]).mul(1 - n * MIN_GAP) + shift.view(-1, *[1] * (x.ndim - 1))
    return times.movedim(0, -1)


def nested_to_isometric(x: Tensor) -> Tensor:
    """Isometric log-ratios (..., F) of nested ones, without the rounding of times in between."""
    n = x.shape[-1] + 1
    log_free = x.new_zeros(*x.shape[:-1], n)
    for i, (low, middle, high) in enumerate(_spans(n)):
        log_free[..., low:middle] += torch.nn.functional.logsigmoid(x[..., i : i + 1])
        log_free[..., middle:high] += torch.nn.functional.logsigmoid(-x[..., i : i + 1])
    return log_free @ helmert(n, dtype=x.dtype).to(x.device).mT


def log_volume_ratio(n_times: int) -> float:
    """Log volume in isometric coordinates of `n_times` times of a unit volume in nested ones."""
    return -0.5 * math.log(n_times + 1)


def helmert(n: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Orthonormal Helmert contrasts, shape (n - 1, n): each row is orthogonal to the others and to ones."""
    k = torch.arange(1, n, dtype=dtype)[:, None]
    column = torch.arange(n, dtype=dtype)
    rows = torch.where(column < k, 1.0, torch.where(column == k, -k, 0.0))
    return rows / (k * (k + 1)).sqrt()


def _gaps(times: Tensor) -> Tensor:
    """The composition g (..., F + 1)."""
    zero, one = torch.zeros_like(times[..., :1]), torch.ones_like(times[..., :1])
    gaps = torch.diff(torch.cat([zero, times, one], dim=-1))
    n = gaps.shape[-1]
    return (gaps - MIN_GAP).clamp_min(1e-3 * MIN_GAP) / (1 - n * MIN_GAP)


def _spans(n: int) -> list[tuple[int, int, int]]:
    """First gap, first gap of the second half, and end of every span that is halved, the whole coming first."""
    spans, todo = [], [(0, n)]
    while todo:
        low, high = todo.pop(0)
        if high - low > 1:
            middle = (low + high) // 2
            spans.append((low, middle, high))
            todo += [(low, middle), (middle, high)]
    return spans
