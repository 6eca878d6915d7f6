"""The flow of couplings on a mixture of Gaussians: what `test_flows` does not ask of every flow."""

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from sfhflow.flow import ConditionalFlow

N_CONTEXT = 3


def bent(n_features, *, components=3, transforms=3, seed=0):
    """A flow with weights far from the identity, in double precision."""
    sizes = {"components": components, "transforms": transforms, "hidden": (16,), "bins": 6}
    flow = ConditionalFlow(n_features, N_CONTEXT, seed=seed, **sizes).double()
    generator = torch.Generator().manual_seed(seed + 100)
    with torch.no_grad():
        for weight in flow.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    flow.location.copy_(torch.linspace(-1, 2, n_features))
    flow.scale.copy_(torch.linspace(0.5, 2, n_features))
    return flow


def contexts(n, seed=1):
    return torch.randn(n, N_CONTEXT, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def noise(n, n_features, *, width=1.0, seed=2):
    g = torch.Generator().manual_seed(seed)
    return width * torch.randn(n, n_features, generator=g, dtype=torch.float64)


def test_the_base_is_a_mixture_of_gaussians():
    mixture, context, z = bent(4).mixture, contexts(5), noise(5, 4, width=2.0)
    with torch.no_grad():
        log_weight, mean, _, matrix = mixture._parts(context)
        components = MultivariateNormal(mean, precision_matrix=matrix.mT @ matrix)
        expected = MixtureSameFamily(Categorical(logits=log_weight), components).log_prob(z)
        torch.testing.assert_close(mixture.log_prob(z, context), expected)


def test_samples_are_those_of_the_mixture_sent_back_through_the_layers():
    flow, context, z = bent(5), contexts(4), noise(50, 6, width=2.0)
    with torch.no_grad():
        u = flow.sample(context, z)
        back, _ = flow.transform(u, context[:, None].expand(-1, 50, -1))
        base = flow.mixture.sample(context, z.expand(4, -1, -1))
    torch.testing.assert_close(back, base, rtol=0, atol=1e-7)


def test_the_last_noise_chooses_components_as_often_as_their_weights_say():
    mixture, context, z = bent(2).mixture, contexts(1), noise(40_000, 3)
    with torch.no_grad():
        log_weight, mean, *_ = mixture._parts(context)
        z[:, :-1] = 0.0
        drawn = mixture.sample(context, z[None])[0]
    # without other noise, every sample is a centre
    which = (drawn[:, None] - mean[0]).abs().sum(-1).argmin(-1)
    torch.testing.assert_close(drawn, mean[0, which])
    shares = torch.bincount(which, minlength=3) / len(z)
    torch.testing.assert_close(shares, log_weight[0].exp().float(), rtol=0, atol=4 * 0.5 / math.sqrt(len(z)))


def test_with_one_component_and_no_coupling_it_is_a_gaussian():
    flow, context = bent(3, components=1, transforms=0), contexts(1)
    with torch.no_grad():
        u = flow.sample(context, noise(200_000, 4))[0]
        gaussian = MultivariateNormal(u.mean(0), torch.cov(u.T))
        points = gaussian.sample((50,))
        difference = flow.log_prob(points, context.expand(50, -1)) - gaussian.log_prob(points)
    assert difference.abs().max().item() < 0.05


@pytest.mark.parametrize("size", [1e2, 1e3])
def test_far_tails_stay_finite_and_invertible(size):
    flow, context = bent(3), contexts(1)
    z = size * torch.eye(4, dtype=torch.float64)[:3]
    with torch.no_grad():
        u = flow.sample(context, z)
        back, _ = flow.transform(u, context[:, None].expand(-1, 3, -1))
        base = flow.mixture.sample(context, z[None])
        assert flow.log_prob(u[0], context.expand(3, -1)).isfinite().all()
    torch.testing.assert_close(back, base, rtol=1e-9, atol=1e-6)


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
