"""The conditional flow: a density that is normalised, invertible and fast to sample."""

import math

import numpy as np
import pytest
import torch

from sfhflow.flow import ConditionalFlow

N_CONTEXT = 3


def bent(n_features, *, seed=0):
    """A flow with weights large enough to be far from the identity, in double precision."""
    flow = ConditionalFlow(n_features, N_CONTEXT, transforms=3, hidden=(16,), bins=6, seed=seed).double()
    generator = torch.Generator().manual_seed(seed + 100)
    with torch.no_grad():
        for weight in flow.parameters():
            weight += 0.5 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    flow.location.copy_(torch.linspace(-1, 2, n_features))
    flow.scale.copy_(torch.linspace(0.5, 2, n_features))
    return flow


def contexts(n, seed=1):
    return torch.randn(n, N_CONTEXT, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def noise(n, n_features, *, width=1.0, seed=2):
    g = torch.Generator().manual_seed(seed)
    return width * torch.randn(n, n_features, generator=g, dtype=torch.float64)


def cells(flow, context, n=1201):
    """A fine grid (n^2, 2) over all that the density of two coordinates reaches, and the area of a cell."""
    with torch.no_grad():
        u = flow.sample(context[None], noise(20_000, 2, seed=9))[0]
    low, high = u.amin(0), u.amax(0)
    reach = 0.3 * (high - low)
    axes = [torch.linspace(a, b, n, dtype=torch.float64) for a, b in zip(low - reach, high + reach, strict=True)]
    return torch.cartesian_prod(*axes), math.prod((axis[1] - axis[0]).item() for axis in axes)


@pytest.mark.parametrize("n_features", [2, 3, 7])
def test_samples_go_back_to_the_noise_they_came_from(n_features):
    flow, context, z = bent(n_features), contexts(4), noise(50, n_features, width=2.0)
    with torch.no_grad():
        back, _ = flow.transform(flow.sample(context, z), context[:, None].expand(-1, 50, -1))
    torch.testing.assert_close(back, z.expand(4, -1, -1), rtol=0, atol=1e-8)


@pytest.mark.parametrize("n_features", [2, 5])
def test_the_density_is_the_change_of_variables_of_the_sampler(n_features):
    flow, context = bent(n_features), contexts(1)
    for z in noise(5, n_features):
        jacobian = torch.autograd.functional.jacobian(lambda n: flow.sample(context, n[None])[0, 0], z)
        normal = -0.5 * (z.square().sum() + n_features * math.log(2 * math.pi))
        expected = normal - torch.linalg.slogdet(jacobian).logabsdet
        with torch.no_grad():
            u = flow.sample(context, z[None])[0, 0]
            assert flow.log_prob(u, context[0]).item() == pytest.approx(expected.item(), abs=1e-8)


@pytest.mark.parametrize("row", [0, 1])
def test_the_density_integrates_to_one(row):
    flow, context = bent(2), contexts(2)[row]
    grid, cell = cells(flow, context, n=2401)
    with torch.no_grad():
        parts = [flow.log_prob(part, context.expand(len(part), -1)).exp().sum() for part in grid.split(200_000)]
    assert sum(parts).item() * cell == pytest.approx(1.0, abs=2e-3)


def test_samples_are_distributed_as_the_density_says():
    flow, context = bent(2), contexts(1)
    with torch.no_grad():
        u = flow.sample(context, noise(100_000, 2))[0]
        half = u[:, 0].median().item() + 0.3
        grid, _ = cells(flow, context[0])
        density = flow.log_prob(grid, context.expand(len(grid), -1)).exp()
    expected = (density[grid[:, 0] < half].sum() / density.sum()).item()
    # four standard errors, and the width of a cell
    assert (u[:, 0] < half).double().mean().item() == pytest.approx(expected, abs=4 * 0.5 / 100_000**0.5 + 0.01)


def test_standardising_moves_and_stretches_the_density():
    flow, context = bent(3), contexts(6)
    u = noise(6, 3, width=2.0)
    with torch.no_grad():
        got = flow.log_prob(u, context)
        location, scale = flow.location.clone(), flow.scale.clone()
        flow.location.zero_()
        flow.scale.fill_(1.0)
        expected = flow.log_prob((u - location) / scale, context) - scale.log().sum()
    torch.testing.assert_close(got, expected)
    flow.standardise(u)
    np.testing.assert_allclose(flow.location, u.numpy().mean(0))
    np.testing.assert_allclose(flow.scale, u.numpy().std(0, ddof=1))


def test_each_galaxy_has_its_own_samples_whatever_its_neighbours():
    flow, context, z = bent(4), contexts(5), noise(30, 4)
    with torch.no_grad():
        together = flow.sample(context, z)
        assert together.shape == (5, 30, 4)
        for row in range(5):
            alone = flow.sample(context[row : row + 1], z)[0]
            torch.testing.assert_close(alone, together[row], rtol=1e-9, atol=1e-9)
        reversed_ = flow.log_prob(together[:, 0].flip(0), context.flip(0)).flip(0)
        torch.testing.assert_close(reversed_, flow.log_prob(together[:, 0], context), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(together[0], together[1])


def test_far_tails_stay_finite_and_invertible():
    flow, context = bent(3), contexts(1)
    z = 1e3 * torch.eye(3, dtype=torch.float64)
    with torch.no_grad():
        u = flow.sample(context, z)
        back, _ = flow.transform(u, context[:, None].expand(-1, 3, -1))
        assert flow.log_prob(u[0], context.expand(3, -1)).isfinite().all()
    torch.testing.assert_close(back[0], z, rtol=1e-9, atol=1e-6)


def test_the_seed_fixes_splits_and_weights_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two = ConditionalFlow(6, 2, seed=1), ConditionalFlow(6, 2, seed=1)
    assert torch.equal(torch.rand(1), expected)
    other = ConditionalFlow(6, 2, seed=2)
    state, same, different = one.state_dict(), two.state_dict(), other.state_dict()
    assert all(torch.equal(state[key], same[key]) for key in state)
    assert any(not torch.equal(state[key], different[key]) for key in state)


def test_the_splits_travel_with_the_weights():
    one, other = ConditionalFlow(6, N_CONTEXT, seed=1), ConditionalFlow(6, N_CONTEXT, seed=2)
    other.load_state_dict(one.state_dict())
    u, context = noise(4, 6).float(), contexts(4).float()
    with torch.no_grad():
        assert torch.equal(one.log_prob(u, context), other.log_prob(u, context))


def test_gradients_reach_every_weight_and_the_context():
    flow = ConditionalFlow(5, N_CONTEXT, transforms=4, hidden=(8,), bins=4)
    context = contexts(64).float().requires_grad_()
    flow.log_prob(noise(64, 5).float(), context).mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in flow.parameters())
    assert (context.grad.abs().sum(1) > 0).all()
