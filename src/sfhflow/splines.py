r"""Inverse of monotonic rational-quadratic splines, and of the coupling layers made of them, for many samples.

On a bin :math:`[x_0, x_1] \to [y_0, y_1]` with slopes :math:`d_0, d_1` at its ends and :math:`s` on average, the
inverse is the root of a quadratic equation (Durkan et al. 2019, arXiv:1906.04032, eqs. 6-8).  The splines are
those of `zuko.transforms.MonotonicRQSTransform` (widths, heights and slopes clipped softly, identity outside
[-bound, bound]), to which their inverse is equal but for rounding.  What makes them fast here is the order of the
axes: the samples of a galaxy come last, so every step runs through memory in one go, and only the slopes of the
bin that is hit are ever computed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["inverse_coupling", "inverse_spline"]


@torch.no_grad()
def inverse_coupling(
    z: Tensor,
    kept: Tensor,
    changed: Tensor,
    weights: Sequence[Tensor],
    terms: Sequence[Tensor],
    *,
    bound: float = 5.0,
    slope: float = 1e-3,
) -> Tensor:
    """Undo a coupling layer: splines of some coordinates, whose knots a network makes of the others.

    Parameters
    ----------
    z : Tensor of shape (N, S, D)
        S samples of N galaxies.
    kept, changed : Tensors of int, shapes (D0,) and (D1,)
        The coordinates that go into the network, and those with splines; together all of them.
    weights : sequence of Tensors of shape (outputs, inputs)
        Of the layers of the network, with ReLU in between; the last gives D1 times 3 B - 1 knots.
    terms : sequence of Tensors of shape (N, outputs)
        What is added in each layer, the part of the context.
    bound, slope : float
        Range of the splines and their smallest slope.

    Returns
    -------
    Tensor of shape (N, S, D)
    """
    rows = z.mT.contiguous()
    h = rows.index_select(1, kept)
    last = len(weights) - 1
    for number, (weight, term) in enumerate(zip(weights, terms, strict=True)):
        h = torch.baddbmm(term[..., None], weight.expand(len(h), -1, -1), h)
        h = h.relu_() if number < last else h
    knots = h.unflatten(1, (len(changed), -1))
    rows.index_copy_(1, changed, inverse_spline(rows.index_select(1, changed), knots, bound=bound, slope=slope))
    return rows.mT.contiguous()


@torch.no_grad()
def inverse_spline(y: Tensor, knots: Tensor, *, bound: float = 5.0, slope: float = 1e-3) -> Tensor:
    """Positions x (..., S) whose splines have the values y (..., S).

    Parameters
    ----------
    y : Tensor of shape (..., S)
        Values.
    knots : Tensor of shape (..., 3 B - 1, S)
        Before they are clipped: B widths, B heights and B - 1 slopes at the inner knots; overwritten.
    bound, slope : float
        Range of the splines and their smallest slope.
    """
    n_bins = (knots.shape[-2] + 1) // 3
    sizes = knots[..., : 2 * n_bins, :]
    # widths and heights in proportion: dividing by their sum is left to the end
    sizes.div_(sizes.abs().mul_(-2 / math.log(slope)).add_(1)).exp_()
    width, height = sizes.unflatten(-2, (2, n_bins)).unbind(-3)
    ends, tops = width.cumsum(-2), height.cumsum(-2)
    total_width, total_height = ends[..., -1, :], tops[..., -1, :]
    place = y.clamp(-bound, bound).add(bound).mul_(total_height / (2 * bound))
    hit = (tops[..., :-1, :] < place[..., None, :]).sum(-2, keepdim=True)

    def of_bin(values: Tensor) -> Tensor:
        return values.gather(-2, hit)[..., 0, :]

    w, h = of_bin(width), of_bin(height)
    left, above = of_bin(ends) - w, place - (of_bin(tops) - h)
    d0 = _slope_before(knots[..., 2 * n_bins :, :], hit, slope)
    d1 = _slope_before(knots[..., 2 * n_bins :, :], hit + 1, slope)
    # slopes in the units of the proportions, in which the square is not one
    scale = total_height / total_width
    d0, d1, s = d0 * scale, d1 * scale, h / w
    bend = above * (d0 + d1 - 2 * s)
    a, b, c = h * (s - d0) + bend, h * d0 - bend, s * above
    root = 2 * c / (b + (b.square() + 4 * a * c).clamp_min_(0).sqrt_())
    x = (left + root * w).mul_(2 * bound / total_width).sub_(bound)
    return torch.where(y.abs() < bound, x, y)


def _slope_before(inner: Tensor, knot: Tensor, slope: float) -> Tensor:
    """Slopes (..., S) at given knots (..., 1, S): one at both ends, in between from the network's numbers."""
    n_inner = inner.shape[-2]
    number = inner.gather(-2, (knot - 1).clamp(0, max(n_inner - 1, 0)))[..., 0, :]
    number = number / (1 + number.abs() / -math.log(slope))
    is_end = (knot == 0) | (knot > n_inner)
    return torch.where(is_end[..., 0, :], 1.0, number.exp())
