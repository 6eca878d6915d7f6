"""Fast inverses of splines and coupling layers against zuko's."""

from itertools import pairwise

import pytest
import torch
from zuko.transforms import MonotonicRQSTransform

from sfhflow.splines import inverse_coupling, inverse_spline


def knots(shape, bins, size, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return size * torch.randn(*shape, 3 * bins - 1, generator=generator, dtype=torch.float64)


def zukos(numbers, bins):
    return MonotonicRQSTransform(*numbers.split([bins, bins, bins - 1], dim=-1), slope=1e-3)


@pytest.mark.parametrize("bins", [2, 8, 16])
@pytest.mark.parametrize("size", [0.0, 1.0, 30.0])
def test_the_inverse_is_zukos(bins, size):
    numbers = knots((3, 4, 500), bins, size)
    y = 3.0 * torch.randn(3, 4, 500, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = zukos(numbers, bins).inv(y)
    fast = inverse_spline(y, numbers.mT.contiguous())
    torch.testing.assert_close(fast, expected, rtol=1e-7, atol=1e-7)
    # and so the spline of it is what it was made of
    torch.testing.assert_close(zukos(numbers, bins)(fast), y, rtol=1e-7, atol=1e-7)


def test_outside_the_bound_nothing_changes_and_at_the_bound_nothing_jumps():
    numbers = knots((1, 9), 8, 2.0)
    y = torch.tensor([[-1e4, -7.0, -5.0, -5.0 + 1e-9, 0.0, 5.0 - 1e-9, 5.0, 8.0, 1e4]], dtype=torch.float64)
    x = inverse_spline(y, numbers.mT.contiguous())
    outside = y.abs() >= 5
    assert torch.equal(x[outside], y[outside])
    torch.testing.assert_close(x[0, [3, 5]], y[0, [3, 5]], rtol=0, atol=1e-5)


def test_single_precision_is_enough_and_never_makes_numbers_undefined():
    numbers = knots((2, 8, 4000), 8, 3.0)
    y = 3.0 * torch.randn(2, 8, 4000, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    exact = inverse_spline(y, numbers.mT.contiguous())
    single = inverse_spline(y.float(), numbers.float().mT.contiguous())
    assert (single.double() - exact).abs().quantile(0.999) < 1e-3
    wild = inverse_spline(y.float(), 1e6 * numbers.float().mT.contiguous())
    assert wild.isfinite().all()


def test_a_coupling_layer_is_undone():
    bins, n, samples = 8, 3, 200
    generator = torch.Generator().manual_seed(3)
    order = torch.randperm(7, generator=generator)
    kept, changed = order[:3], order[3:]
    sizes = [3, 16, 12, 4 * (3 * bins - 1)]
    weights = [torch.randn(b, a, generator=generator).double() for a, b in pairwise(sizes)]
    terms = [torch.randn(n, b, generator=generator).double() for b in sizes[1:]]
    x = torch.randn(n, samples, 7, generator=generator).double()
    h = x[..., kept]
    for number, (weight, term) in enumerate(zip(weights, terms, strict=True)):
        h = h @ weight.T + term[:, None]
        h = h.relu() if number < 2 else h
    z = x.clone()
    z[..., changed] = zukos(h.unflatten(-1, (4, -1)), bins)(x[..., changed])
    torch.testing.assert_close(inverse_coupling(z, kept, changed, weights, terms), x, rtol=1e-6, atol=1e-6)
