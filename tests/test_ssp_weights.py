"""Weights of SSPs against slow integration."""

import numpy as np
import pytest
import torch

from sfhflow import ssp
from sfhflow.errors import LibraryError
from sfhflow.ssp.fastar import AGES_GYR

NODES = torch.tensor(AGES_GYR, dtype=torch.float64)


def slow_weights(edges, mass, age_of_universe, nodes, steps=4000):
    """Midpoint rule over each bin, one node at a time."""
    log_nodes, unit = np.log(nodes), np.eye(len(nodes))
    weights = np.zeros(len(nodes))
    for first, last, formed in zip(edges[:-1], edges[1:], mass, strict=True):
        age = age_of_universe - first - (last - first) * (np.arange(steps) + 0.5) / steps
        log_age = np.log(np.maximum(age, nodes[0]))
        for k in range(len(nodes)):
            weights[k] += formed * np.interp(log_age, log_nodes, unit[k]).mean()
    return weights


def random_histories(number, bins, seed=0):
    generator = torch.Generator().manual_seed(seed)
    universe = 2.0 + 11.8 * torch.rand(number, generator=generator, dtype=torch.float64)
    fractions = torch.rand(number, bins + 1, generator=generator, dtype=torch.float64).sort(dim=1).values
    fractions[:, 0], fractions[:, -1] = 0.0, 1.0
    mass = torch.rand(number, bins, generator=generator, dtype=torch.float64)
    return fractions * universe[:, None], mass / mass.sum(dim=1, keepdim=True), universe


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-5)])
def test_weights_equal_slow_integration(dtype, tolerance):
    edges, mass, universe = (x.to(dtype) for x in random_histories(6, 7))
    weights = ssp.age_weights(edges, mass, universe, NODES)
    assert weights.dtype == dtype
    for i in range(6):
        expected = slow_weights(
            edges[i].double().numpy(), mass[i].double().numpy(), float(universe[i]), NODES.numpy()
        )
        np.testing.assert_allclose(weights[i].double().numpy(), expected, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("width", [0.0, 1e-9, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3])
def test_narrow_bins_become_bursts_without_loss_of_precision(dtype, width):
    ages = torch.tensor([0.031, 0.4, 1.13, 9.77, 12.6], dtype=torch.float64)
    edges = torch.stack([13.5 - ages - width, 13.5 - ages], dim=1).to(dtype)
    universe = torch.full((5,), 13.5, dtype=dtype)
    weights = ssp.age_weights(edges, torch.ones(5, 1, dtype=dtype), universe, NODES).double().numpy()
    middle = (universe.double()[:, None] - edges.double()).mean(dim=1).numpy()
    expected = [np.interp(np.log(a), np.log(AGES_GYR), row) for a in middle for row in np.eye(53)]
    np.testing.assert_allclose(weights, np.reshape(expected, (5, 53)), atol=3e-3 if width > 1e-4 else 1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_weights_are_positive_and_sum_to_the_mass(dtype):
    edges, mass, universe = (x.to(dtype) for x in random_histories(200, 13, seed=3))
    edges[:, 4] = edges[:, 5]
    weights = ssp.age_weights(edges, 3.0 * mass, universe, NODES)
    assert bool((weights >= 0).all())
    torch.testing.assert_close(weights.sum(dim=1), 3.0 * mass.sum(dim=1))


def test_splitting_bins_changes_nothing():
    edges, mass, universe = random_histories(3, 5)
    fine = torch.cat(
        [
            torch.lerp(edges[:, i : i + 1], edges[:, i + 1 : i + 2], torch.arange(200).double() / 200)
            for i in range(5)
        ],
        dim=1,
    )
    fine = torch.cat([fine, edges[:, -1:]], dim=1)
    split = ssp.age_weights(fine, mass.repeat_interleave(200, dim=1) / 200, universe, NODES)
    torch.testing.assert_close(split, ssp.age_weights(edges, mass, universe, NODES), rtol=1e-7, atol=1e-9)


def test_bins_that_end_on_the_nodes_and_stars_younger_than_the_grid_are_kept():
    edges = 14.0 - torch.cat([NODES.flip(0), torch.tensor([0.01, 0.0], dtype=torch.float64)])[None]
    mass = torch.zeros(1, 54, dtype=torch.float64)
    mass[0, -2:] = torch.tensor([0.25, 0.75])
    universe = torch.tensor([14.0], dtype=torch.float64)
    expected = torch.zeros(1, 53, dtype=torch.float64)
    expected[0, 0] = 1.0
    torch.testing.assert_close(ssp.age_weights(edges, mass, universe, NODES), expected)
    even = ssp.age_weights(edges, torch.full_like(mass, 1 / 54), universe, NODES)[0].numpy()
    np.testing.assert_allclose(
        even, slow_weights(edges[0].numpy(), np.full(54, 1 / 54), 14.0, NODES.numpy()), atol=1e-7
    )


def test_weighted_spectra_equal_the_mean_of_interpolated_spectra():
    library = ssp.load_shipped()
    edges = torch.tensor([[4.0, 9.0]], dtype=torch.float64)
    weights = ssp.age_weights(edges, torch.ones(1, 1, dtype=torch.float64), torch.tensor([13.0]), NODES)
    metals = ssp.metallicity_weights(torch.tensor([-0.1]).double(), torch.as_tensor(library.metallicities))
    mixed = np.einsum("a,z,azl->l", weights[0].numpy(), metals[0].numpy(), library.flux)
    ages = 4.0 + 5.0 * (np.arange(500) + 0.5) / 500
    np.testing.assert_allclose(mixed, library.interpolate(ages, -0.1).mean(axis=0), rtol=1e-5)


def test_weights_can_be_differentiated():
    edges, mass, universe = random_histories(2, 4, seed=5)
    edges, mass = edges[:, :-1].contiguous().requires_grad_(), mass[:, :-1].contiguous().requires_grad_()
    assert torch.autograd.gradcheck(lambda e, m: ssp.age_weights(e, m, universe, NODES), (edges, mass))


@pytest.mark.parametrize(
    ("edges", "universe", "message"),
    [
        ([0.0, 5.0], 14.5, r"14\.5 Gyr old, expected at most 14 Gyr"),
        ([1.0, 5.0], 4.0, "after the time of observation"),
        ([5.0, 1.0], 13.0, "rising"),
        ([float("nan"), 1.0], 13.0, "rising"),
    ],
)
def test_impossible_histories_are_refused(edges, universe, message):
    with pytest.raises(LibraryError, match=message):
        ssp.age_weights(torch.tensor([edges]), torch.ones(1, 1), torch.tensor([universe]), NODES)


def test_rounding_errors_at_the_ends_are_forgiven():
    edges = torch.tensor([[-1e-6, 14.000001]])
    weights = ssp.age_weights(edges, torch.ones(1, 1), torch.tensor([14.0]), NODES)
    assert float(weights.sum()) == pytest.approx(1.0)


def test_metallicity_weights_are_linear_and_refuse_extrapolation():
    nodes = torch.tensor([-2.27, -0.25, 0.06, 0.4])
    values = torch.tensor([-2.27, -1.26, 0.06, 0.23, 0.4])
    weights = ssp.metallicity_weights(values, nodes)
    expected = [[np.interp(v, nodes.numpy(), row) for row in np.eye(4)] for v in values.numpy()]
    np.testing.assert_allclose(weights.numpy(), expected, atol=1e-6)
    for outside in (0.41, -2.3, float("nan")):
        with pytest.raises(LibraryError, match="wider library"):
            ssp.metallicity_weights(torch.tensor([outside]), nodes)
