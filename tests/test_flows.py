"""What holds for every flow that a configuration can name: a normalised density with samples to match."""

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

import toy
from sfhflow.config import read_config
from sfhflow.errors import ConfigError
from sfhflow.flow import FLOWS, AutoregressiveFlow, FlowName
from sfhflow.model import load_model
from sfhflow.train import fit

NAMES = sorted(FLOWS)
N_CONTEXT = 3
# of random changes to the weights: far from the identity, not beyond what sums and grids can follow
BEND = {"maf": 0.15, "coupling": 0.25}


def bent(name, n_features, *, seed=0, bend=None):
    """A flow far from the identity, in double precision."""
    flow = FLOWS[name](n_features, N_CONTEXT, components=3, transforms=3, hidden=(16,), bins=6).double().eval()
    generator = torch.Generator().manual_seed(seed + 100)
    bend = BEND[name] if bend is None else bend
    with torch.no_grad():
        for weight in flow.parameters():
            weight += bend * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    flow.location.copy_(torch.linspace(-1, 2, n_features))
    flow.scale.copy_(torch.linspace(0.5, 2, n_features))
    return flow


def contexts(n, seed=1):
    return torch.randn(n, N_CONTEXT, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def noise(n, n_features, *, width=1.0, seed=2):
    g = torch.Generator().manual_seed(seed)
    return width * torch.randn(n, n_features, generator=g, dtype=torch.float64)


def test_the_names_of_a_configuration_are_those_of_the_registry():
    assert set(get_args(FlowName)) == set(FLOWS)
    assert len(FLOWS) >= 2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_features", [2, 5])
def test_the_determinant_is_that_of_the_derivatives(name, n_features):
    flow, context = bent(name, n_features), contexts(6)
    for u, c in zip(noise(6, n_features, width=2.0), contexts(6), strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda point, c=c: flow.transform(point, c)[0], u)
        expected = torch.linalg.slogdet(jacobian)
        assert expected.sign > 0
        with torch.no_grad():
            assert flow.transform(u, c)[1].item() == pytest.approx(expected.logabsdet.item(), abs=1e-8)
    with torch.no_grad():
        far_apart = flow.transform(noise(6, n_features), context)[1]
    assert far_apart.std() > 0.05


@pytest.mark.parametrize("n_features", [2, 7])
def test_samples_of_the_autoregressive_flow_go_back_to_their_noise(n_features):
    flow, context, z = bent("maf", n_features), contexts(4), noise(50, n_features, width=2.0)
    with torch.no_grad():
        u = flow.sample(context, z)
        back, _ = flow.transform(u, context[:, None].expand(-1, 50, -1))
    assert (u - z).abs().mean() > 0.3
    torch.testing.assert_close(back, z.expand(4, -1, -1), rtol=0, atol=1e-8)


def test_a_coordinate_of_the_autoregressive_flow_depends_on_those_before_it_only():
    flow = AutoregressiveFlow(5, N_CONTEXT, transforms=1, hidden=(16,)).double()
    context = contexts(1)[0]
    jacobian = torch.autograd.functional.jacobian(lambda u: flow.transform(u, context)[0], noise(1, 5)[0])
    assert (jacobian.triu(1) == 0).all()
    assert (jacobian.tril(-1) != 0).any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("row", [0, 1])
def test_the_density_integrates_to_one_and_samples_are_distributed_as_it_says(name, row):
    flow, context = bent(name, 2), contexts(2)[row]
    n_samples, n_cells = 40_000, 801
    with torch.no_grad():
        u = flow.sample(context[None], noise(n_samples, flow.n_noise, seed=9))[0]
        low, high = u.amin(0), u.amax(0)
        reach = 0.3 * (high - low)
        ends = zip(low - reach, high + reach, strict=True)
        axes = [torch.linspace(a, b, n_cells, dtype=torch.float64) for a, b in ends]
        grid = torch.cartesian_prod(*axes)
        parts = [flow.log_prob(part, context.expand(len(part), -1)) for part in grid.split(200_000)]
    mass = torch.cat(parts).exp() * math.prod((axis[1] - axis[0]).item() for axis in axes)
    assert mass.sum().item() == pytest.approx(1.0, abs=2e-3)
    for column, axis in enumerate(axes):
        upper_ends = axis + (axis[1] - axis[0]) / 2
        below = mass.view(n_cells, n_cells).sum(1 - column).cumsum(0)
        for quantile in (0.16, 0.5, 0.84):
            expected = np.interp(u[:, column].quantile(quantile).item(), upper_ends, below)
            # four standard errors of the sample
            assert quantile == pytest.approx(expected, abs=4 * 0.5 / n_samples**0.5 + 0.002)


@pytest.mark.parametrize("name", NAMES)
def test_each_galaxy_has_its_own_samples_whatever_its_neighbours(name):
    flow, context = bent(name, 4), contexts(5)
    z = noise(30, flow.n_noise)
    with torch.no_grad():
        together = flow.sample(context, z)
        assert together.shape == (5, 30, 4)
        alone = torch.cat([flow.sample(context[row : row + 1], z) for row in range(5)])
        own = flow.sample(context, z.expand(5, -1, -1))
    torch.testing.assert_close(alone, together, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(own, together, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(together[0], together[1])


@pytest.mark.parametrize("name", NAMES)
def test_standardising_moves_and_stretches_the_density(name):
    flow, context = bent(name, 3), contexts(200)
    u = 3 + noise(200, 3, width=2.0)
    flow.standardise(u)
    with torch.no_grad():
        got = flow.log_prob(u, context)
        location, scale = u.mean(0), u.std(0)
        flow.location.zero_()
        flow.scale.fill_(1.0)
        expected = flow.log_prob((u - location) / scale, context) - scale.log().sum()
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [30.0, 1e4])
def test_no_weights_can_make_an_infinite_sample(name, size):
    flow = bent(name, 4, bend=size).float()
    with torch.no_grad():
        assert flow.sample(contexts(5).float(), noise(20, flow.n_noise).float()).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_new_flow_is_the_same_each_time_and_leaves_the_global_generator_alone(name):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two = (FLOWS[name](6, 2, components=2, transforms=2, hidden=(8,), bins=4).state_dict() for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_with_it_learns_and_is_saved_and_loaded(name, tmp_path):
    architecture = replace(toy.ARCHITECTURE, flow=name)
    plan = toy.plan(steps=100, validate_every=50, learning_rate=5e-3, average=0.9, n_components_sample=512)
    start, _ = fit(toy.simulator(), architecture=architecture, plan=replace(plan, steps=1, learning_rate=0.0))
    model, _ = fit(toy.simulator(), architecture=architecture, plan=plan)
    sample = toy.simulator().sample(1024, seed=77)
    before, after = (m.log_prob(sample.u, sample.observation) for m in (start, model))
    assert after.mean() > before.mean() + 0.5
    # the posterior of one galaxy does not fit another
    assert after.mean() > model.log_prob(sample.u.roll(1, 0), sample.observation).mean() + 0.3
    model.save(tmp_path)
    loaded = load_model(tmp_path)
    assert torch.equal(loaded.log_prob(sample.u, sample.observation), after)


def test_an_unknown_flow_is_refused_with_those_there_are(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[architecture]\nflow = 'glow'\n")
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    for part in ("line 2", "architecture.flow", "'glow'", *NAMES):
        assert part in str(caught.value)
