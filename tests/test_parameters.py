"""The bijection between physical parameters and unbounded coordinates."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sfhflow.parameters import FRACTIONS, Bounded, GalaxyParameters, ParameterMap

MAP = ParameterMap()
N_TIMES = len(FRACTIONS)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 3.0), st.floats(0.5, 13.8))
def test_coordinates_survive_the_round_trip(seed, scale, age):
    generator = torch.Generator().manual_seed(seed)
    u = (scale * torch.randn(20, MAP.n_features, generator=generator, dtype=torch.float64)).clamp(-4, 4)
    universe = torch.full((20,), age, dtype=torch.float64)
    back = MAP.to_unbounded(MAP.to_physical(u, universe), universe)
    torch.testing.assert_close(back, u, rtol=1e-6, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.5, 13.8))
def test_galaxies_survive_the_round_trip(seed, age):
    rng = np.random.default_rng(seed)
    gaps = 1e-4 + (1 - 14e-4) * rng.dirichlet(np.full(N_TIMES + 1, 0.3), 20)
    galaxy = GalaxyParameters(
        torch.tensor(gaps.cumsum(-1)[:, :-1] * age),
        torch.tensor(rng.uniform(-2.26, 0.39, 20)),
        torch.tensor(rng.uniform(0.001, 2.999, 20)),
        torch.tensor(rng.uniform(30.01, 399.9, 20)),
    )
    universe = torch.full((20,), age, dtype=torch.float64)
    back = MAP.to_physical(MAP.to_unbounded(galaxy, universe), universe)
    for old, new in zip(galaxy, back, strict=True):
        torch.testing.assert_close(new, old, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [0.0, 3.0, 50.0])
def test_any_coordinates_are_rising_times_inside_the_age_and_parameters_inside_their_bounds(dtype, size):
    generator = torch.Generator().manual_seed(0)
    u = size * torch.randn(5000, MAP.n_features, generator=generator, dtype=dtype)
    u[:100] = size * u[:100].sign()
    age = torch.full((5000,), 13.7, dtype=dtype)
    galaxy = MAP.to_physical(u, age)
    assert torch.all(galaxy.times.diff(dim=-1) > 0)
    assert torch.all(galaxy.times > 0)
    assert torch.all(galaxy.times < age[:, None])
    for name in ("metallicity", "a_v", "sigma_kms"):
        bounds, values = getattr(MAP, name), getattr(galaxy, name)
        assert float(values.min()) >= bounds.low - 1e-5 * abs(bounds.low)
        assert float(values.max()) <= bounds.high * (1 + 1e-5)


def test_coordinates_are_finite_for_parameters_at_their_very_bounds():
    galaxy = GalaxyParameters(
        torch.linspace(1, 12, N_TIMES)[None], torch.tensor([0.4]), torch.tensor([0.0]), torch.tensor([400.0])
    )
    assert torch.isfinite(MAP.to_unbounded(galaxy, torch.tensor([13.0]))).all()


def test_a_logarithmic_bound_maps_the_geometric_mean_to_zero():
    bounded = Bounded(30.0, 480.0, log=True)
    assert bounded.to_unbounded(torch.tensor(120.0)).item() == pytest.approx(0.0, abs=1e-5)
    assert bounded.to_physical(torch.tensor(0.0)).item() == pytest.approx(120.0, rel=1e-5)
    assert Bounded(-2.0, 1.0).to_physical(torch.tensor(0.0)).item() == pytest.approx(-0.5)


@pytest.mark.parametrize("bounded", [Bounded(-2.27, 0.4), Bounded(30.0, 400.0, log=True)])
def test_a_bounded_parameter_rises_with_its_coordinate(bounded):
    u = torch.linspace(-8, 8, 200, dtype=torch.float64)
    x = bounded.to_physical(u)
    assert torch.all(x.diff() > 0)
    torch.testing.assert_close(bounded.to_unbounded(x), u, rtol=1e-7, atol=1e-7)
    low, high = (np.log(end) if bounded.log else end for end in (bounded.low, bounded.high))
    position = ((x.log() if bounded.log else x) - low) / (high - low)
    torch.testing.assert_close(torch.log(position / (1 - position)), u, rtol=1e-7, atol=1e-7)
