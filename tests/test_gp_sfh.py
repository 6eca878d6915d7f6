"""GP-SFH against the dense_basis package and against a slow, literal Gaussian process."""

import numpy as np
import pytest
import torch
from benchmarks.speed import authors

from sfhflow.errors import InputError
from sfhflow.sfh import GaussianProcessSFH, formation_times, gp_sfr

AGE = 13.466983947061877


def gp_of_one_tuple(sfh_tuple, age, n_times):
    """The cumulative mass curve at even times, by textbook GP regression with loops."""
    log_mass, log_sfr, n_quantiles, *times = sfh_tuple
    growth = 10 ** (log_sfr - log_mass) * age * 1e9
    x, y = [0.0, 0.01, *times], [0.0, 0.0, *np.linspace(0, 1, int(n_quantiles) + 2)[1:-1]]
    for value in (0.97, 0.98, 0.99):
        reached = 1 - (1 - value) / growth
        recent = reached > max(x[-1], 0.9)
        x.append(reached if recent else value)
        y.append(value if recent else 1 - growth * (1 - value))
    x, y = np.array([*x, 1.0]), np.array([*y, 1.0])

    def kernel(a, b):
        r = np.sqrt(3 * (a - b) ** 2 / np.median(y))
        return np.var(y) * ((1 + r) * np.exp(-r) + (a * b) ** 2 / np.exp(np.median(y)))

    noise = np.full(len(x), 1.25e-12)
    noise[2 : 2 + int(n_quantiles)] += (0.001 / np.sqrt(n_quantiles)) ** 2
    weights = np.linalg.solve(kernel(x[:, None], x[None, :]) + np.diag(noise), y)
    return np.array(
        [sum(w * kernel(t, xj) for w, xj in zip(weights, x, strict=True)) for t in np.linspace(0, 1, n_times)]
    )


def test_rates_agree_with_dense_basis(shared_data):
    reference = np.load(shared_data / "thesis" / "gp_sfh_reference.npz")
    age = float(reference["cosmic_time_gyr"][-1])
    sfr, time = gp_sfr(torch.tensor(reference["sfh_tuple"]), age)
    expected = reference["sfr_msun_per_yr"]
    difference = np.abs(sfr.numpy() - expected).max(1) / expected.max(1)
    assert difference.max() < 1e-6
    np.testing.assert_allclose(time[0], reference["cosmic_time_gyr"], atol=1e-12)


def test_the_way_of_one_galaxy_at_a_time_that_speed_is_compared_with_agrees_with_dense_basis_too(shared_data):
    reference = np.load(shared_data / "thesis" / "gp_sfh_reference.npz")
    age = float(reference["cosmic_time_gyr"][-1])
    sfr = np.array([authors.star_formation_rate(row, age) for row in reference["sfh_tuple"]])
    expected = reference["sfr_msun_per_yr"]
    assert (np.abs(sfr - expected).max(1) / expected.max(1)).max() < 1e-6


@pytest.mark.parametrize("n_quantiles", [1, 2, 3, 6])
def test_the_shape_of_the_past_is_that_of_a_literal_gaussian_process(n_quantiles):
    generator = torch.Generator().manual_seed(n_quantiles)
    family = GaussianProcessSFH(n_quantiles=n_quantiles, alpha=3.0, log_mass_range=(10, 10), log_sfr_range=(-3, 1))
    ages = torch.linspace(4, 13, 8, dtype=torch.float64)
    tuples = family.sample_tuples(ages, generator)
    sfr, _ = gp_sfr(tuples, ages, n_times=200)
    for row, sfh_tuple, age in zip(sfr.numpy(), tuples.numpy(), ages.numpy(), strict=True):
        past = np.diff(gp_of_one_tuple(sfh_tuple, age, 200)).clip(min=0)[:-5]
        ours = row[1:-5]
        np.testing.assert_allclose(ours / ours.sum(), past / past.sum(), atol=1e-6)


def test_the_present_rate_is_the_one_asked_for():
    tuples = torch.tensor([[10.0, s, 3.0, 0.25, 0.5, 0.75] for s in (-20.0, -2.0, 0.0, 1.0)], dtype=torch.float64)
    sfr, _ = gp_sfr(tuples, AGE)
    assert (sfr[:, -1].log10() - tuples[:, 1]).abs().max() <= 0.05


def test_sampled_histories_form_their_mass_at_the_quantile_times():
    # smooth histories, so that the curve between the knots never has to be clipped at zero
    generator = torch.Generator().manual_seed(0)
    ages = torch.full((300,), AGE, dtype=torch.float64)
    family = GaussianProcessSFH(alpha=30.0, log_mass_range=(10, 10), log_sfr_range=(-0.5, 0.0))
    history = family.sample(ages, torch.Generator().manual_seed(0))
    tuples = family.sample_tuples(ages, generator)
    times = formation_times(history, (0.25, 0.5, 0.75)) / AGE
    difference = times - tuples[:, 3:]
    assert difference.abs().max() < 0.01
    # half a bin of delay would be 5e-4
    assert difference.mean(0).abs().max() < 2e-4


def test_the_prior_of_the_thesis_is_nearly_all_dead():
    ages = torch.full((4000,), AGE, dtype=torch.float64)
    tuples = GaussianProcessSFH().sample_tuples(ages, torch.Generator().manual_seed(0))
    alive = (tuples[:, 1] - tuples[:, 0]) > -12
    assert 0.02 < alive.double().mean() < 0.05
    # Dirichlet(1, 1, 1, 1): the times are the order statistics of three uniform numbers
    np.testing.assert_allclose(tuples[:, 3:].mean(0), [0.25, 0.5, 0.75], atol=0.01)


def test_extreme_tuples_give_finite_rates():
    tuples = torch.tensor(
        [
            [8.0, 4.0, 3, 0.1, 0.2, 0.3],
            [12.0, -50.0, 3, 0.999, 0.9995, 0.9999],
            [9.0, 1.0, 3, 1e-9, 2e-9, 3e-9],
        ],
        dtype=torch.float64,
    )
    sfr, _ = gp_sfr(tuples, torch.tensor([1.0, 13.0, 6.0]))
    assert torch.isfinite(sfr).all()
    assert (sfr.sum(-1) > 0).all()


def test_single_precision_comes_out_as_it_went_in():
    tuples = torch.tensor([[10.0, 0.0, 3.0, 0.3, 0.5, 0.8]])
    sfr, time = gp_sfr(tuples, AGE)
    exact, _ = gp_sfr(tuples.double(), AGE)
    assert sfr.dtype == time.dtype == torch.float32
    np.testing.assert_allclose(sfr, exact, rtol=1e-5, atol=1e-5)


def test_a_tuple_without_quantiles_is_refused():
    with pytest.raises(InputError, match="quantiles"):
        gp_sfr(torch.zeros(4, 3), AGE)
