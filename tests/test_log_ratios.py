"""Formation times as isometric and as nested log-ratios."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sfhflow.log_ratios import (
    MIN_GAP,
    helmert,
    isometric_to_times,
    log_volume_ratio,
    nested_to_isometric,
    nested_to_times,
    times_to_isometric,
    times_to_nested,
)

N_TIMES = 13
WAYS = {"isometric": (times_to_isometric, isometric_to_times), "nested": (times_to_nested, nested_to_times)}


@pytest.fixture(params=WAYS)
def way(request):
    return WAYS[request.param]


def times_of(free):
    """Times whose gaps are a composition (..., n), as coordinates see it."""
    return (MIN_GAP + (1 - free.shape[-1] * MIN_GAP) * free).cumsum(-1)[..., :-1]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.05, 2.0), st.integers(1, 20), st.sampled_from(sorted(WAYS)))
def test_coordinates_survive_the_round_trip(seed, scale, n_times, name):
    to_ratios, to_times = WAYS[name]
    generator = torch.Generator().manual_seed(seed)
    x = (scale * torch.randn(20, n_times, generator=generator, dtype=torch.float64)).clamp(-2, 2)
    torch.testing.assert_close(to_ratios(to_times(x)), x, rtol=1e-6, atol=1e-6)


def test_a_single_galaxy_and_blocks_of_samples_have_the_same_times(way):
    x = torch.randn(4, 5, N_TIMES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(way[1](x)[2, 3], way[1](x[2, 3]), rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_coordinates_are_rising_times_with_gaps_no_shorter_than_the_limit(way, dtype):
    for size in (0.0, 3.0, 300.0):
        x = size * torch.randn(2000, N_TIMES, generator=torch.Generator().manual_seed(1), dtype=dtype)
        gaps = torch.diff(way[1](x), prepend=torch.zeros(2000, 1), append=torch.ones(2000, 1))
        assert gaps.min() > 0.99 * MIN_GAP


def test_coordinates_are_finite_for_times_at_the_very_ends(way):
    for times in (torch.linspace(0, 1e-6, N_TIMES), torch.linspace(1 - 1e-6, 1, N_TIMES)):
        assert torch.isfinite(way[0](times.double()[None])).all()


def test_a_nested_coordinate_is_the_log_ratio_of_the_sums_of_two_halves():
    rng = np.random.default_rng(3)
    free = rng.dirichlet(np.ones(14))
    x = times_to_nested(times_of(torch.tensor(free))).numpy()
    halves = {0: (0, 7, 14), 1: (0, 3, 7), 2: (7, 10, 14), 12: (12, 13, 14)}
    for place, (low, middle, high) in halves.items():
        assert x[place] == pytest.approx(np.log(free[low:middle].sum() / free[middle:high].sum()), rel=1e-9)


def test_nested_coordinates_turn_into_isometric_ones():
    x = 2 * torch.randn(50, N_TIMES, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.testing.assert_close(
        nested_to_isometric(x), times_to_isometric(nested_to_times(x)), rtol=1e-6, atol=1e-6
    )


def test_volumes_of_the_two_kinds_of_coordinates_have_one_ratio_everywhere():
    for seed in range(5):
        x = 2 * torch.randn(N_TIMES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(nested_to_isometric, x)
        assert torch.linalg.slogdet(jacobian).logabsdet.item() == pytest.approx(
            log_volume_ratio(N_TIMES), abs=1e-9
        )


def test_the_extreme_coordinates_reach_the_ends_of_the_age():
    u = torch.zeros(1, N_TIMES, dtype=torch.float64)
    early = isometric_to_times(u - 100 * helmert(N_TIMES + 1, dtype=torch.float64)[:, 0])
    assert float(early[0, 0]) == pytest.approx(MIN_GAP)
    late = isometric_to_times(u + 100 * helmert(N_TIMES + 1, dtype=torch.float64)[:, 0])
    assert float(late[0, 0]) == pytest.approx(1 - N_TIMES * MIN_GAP)


def test_the_mean_of_the_gaps_logarithms_never_matters():
    # equal gaps are the origin, and doubling one gap moves only along its own contrast
    equal = torch.arange(1, N_TIMES + 1, dtype=torch.float64)[None] / (N_TIMES + 1)
    torch.testing.assert_close(times_to_isometric(equal), torch.zeros(1, N_TIMES, dtype=torch.float64))
    free = torch.softmax(torch.log(torch.tensor([2.0] + 13 * [1.0]).double()), 0)
    ratios = times_to_isometric(times_of(free[None]))[0]
    expected = np.log(2.0) * helmert(N_TIMES + 1, dtype=torch.float64)[:, 0]
    torch.testing.assert_close(ratios, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", [2, 3, 14])
def test_helmert_contrasts_are_orthonormal_and_blind_to_constants(n):
    rows = helmert(n, dtype=torch.float64)
    torch.testing.assert_close(rows @ rows.T, torch.eye(n - 1, dtype=torch.float64))
    torch.testing.assert_close(rows.sum(-1), torch.zeros(n - 1, dtype=torch.float64), atol=1e-12, rtol=0)


def test_distances_are_those_of_aitchison_geometry():
    rng = np.random.default_rng(1)
    free = rng.dirichlet(np.ones(N_TIMES + 1), 2)
    u = times_to_isometric(times_of(torch.tensor(free)))
    centred = np.log(free) - np.log(free).mean(-1, keepdims=True)
    assert float((u[0] - u[1]).norm()) == pytest.approx(np.linalg.norm(centred[0] - centred[1]), rel=1e-8)
