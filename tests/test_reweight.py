"""Another prior by weights: the weights are those of closed forms, and few effective samples are refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import toy
from sfhflow.errors import InputError
from sfhflow.prior import Prior
from sfhflow.prior_samples import prior_samples
from sfhflow.reweight import NewPrior, flat, gaussian, reweighted
from sfhflow.sfh import QuantileSFH

N = 20_000


@pytest.fixture(scope="module")
def prior():
    return Prior(QuantileSFH(), max_redshift=0.1)


@pytest.fixture(scope="module")
def posterior(prior):
    """Samples of the prior itself, as of a spectrum that says nothing."""
    return prior_samples(toy.model().infer(toy.spectra(1)[0], n_samples=10), prior, n_samples=N, seed=7)


def moments(values):
    return values.mean(), values.std()


def test_two_gaussians_multiply(posterior, prior):
    # [M/H] is uniform in the prior, so a posterior of 0.1 ± 0.2 is its likelihood
    values = 0.1 + 0.2 * np.random.default_rng(0).standard_normal(N)
    told = reweighted(replace(posterior, metallicity=values), gaussian("mh", -0.2, 0.1), prior, n_samples=N)
    weight = np.array([0.2, 0.1]) ** -2.0
    mean, width = weight @ [0.1, -0.2] / weight.sum(), weight.sum() ** -0.5
    found = moments(told.posterior.metallicity)
    assert found == pytest.approx((mean, width), abs=0.006)
    # of n samples of N(m, s), weights N(mu, t) leave n times this (a Gaussian integral)
    s2, t2, shift = 0.04, 0.01, 0.3
    v = 1 / (1 / s2 + 1 / t2)
    first = np.sqrt(v / s2) * np.exp(-0.5 * shift**2 / (s2 + t2))
    v2 = 1 / (1 / s2 + 2 / t2)
    second = np.sqrt(v2 / s2) * np.exp(-(shift**2) / (2 * s2 + t2))
    assert told.effective / N == pytest.approx(first**2 / second, rel=0.05)
    assert told.drawn == N


def test_a_flat_prior_divides_the_old_one_out(posterior, prior):
    # A_V / max ~ Beta(1, 3) in the prior
    high = prior.parameters.a_v.high
    told = reweighted(posterior, flat("a_v", 0.0, 0.8 * high), prior, n_samples=N)
    found, parts = told.posterior.a_v, np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(np.quantile(found, parts), 0.8 * high * parts, rtol=0.06)
    assert found.max() <= 0.8 * high


def test_the_density_of_the_old_prior_is_that_at_the_redshift_of_the_galaxy(posterior, prior):
    # a history prior scales with the age of the Universe: t50 made flat is flat
    age = posterior.age_of_universe
    told = reweighted(posterior, flat("t50", 0.45 * age, 0.6 * age), prior, n_samples=N)
    t50 = told.posterior.formation_times[:, 4] / age
    np.testing.assert_allclose(np.quantile(t50, [0.25, 0.5, 0.75]), [0.4875, 0.525, 0.5625], atol=0.004)


def test_samples_stay_whole(posterior, prior):
    told = reweighted(posterior, gaussian("mh", 0.0, 0.1), prior, n_samples=500).posterior
    rows = [np.flatnonzero(posterior.metallicity == value)[0] for value in told.metallicity]
    np.testing.assert_array_equal(told.times, posterior.times[rows])
    np.testing.assert_array_equal(told.sigma_kms, posterior.sigma_kms[rows])
    assert told.spectrum.meta["prior"].startswith("mh Gaussian, 0 ± 0.1, by re-weighting: ")
    again = reweighted(posterior, gaussian("mh", 0.0, 0.1), prior, n_samples=500).posterior
    np.testing.assert_array_equal(again.metallicity, told.metallicity)


def test_a_prior_that_the_samples_contradict_is_refused(posterior, prior):
    narrow = replace(posterior, metallicity=np.full(N, -2.0))
    for new in (gaussian("mh", 9.0, 0.1), flat("mh", 0.0, 0.3)):
        with pytest.raises(InputError, match=r"leaves 0 effective samples of 20000, .* train"):
            reweighted(narrow, new, prior)


def test_nonsense_is_refused(posterior, prior):
    with pytest.raises(InputError, match="quantity 'age' is unknown, expected one of t10"):
        reweighted(posterior, flat("age", 0, 1), prior)
    for shape, first, second in (("flat", 1, 1), ("gaussian", 0, 0), ("gaussian", np.nan, 1), ("flat", 0, np.inf)):
        with pytest.raises(InputError, match="prior of mh"):
            NewPrior("mh", shape, first, second)
    with pytest.raises(InputError, match="expected flat or gaussian"):
        NewPrior("mh", "cauchy", 0, 1)


def test_torch_randomness_is_left_alone(posterior, prior):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    reweighted(posterior, gaussian("mh", 0.0, 0.5), prior, n_samples=10)
    assert torch.equal(before, torch.random.get_rng_state())
