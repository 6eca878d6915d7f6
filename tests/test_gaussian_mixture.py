"""Mixtures of Gaussians: their density, their samples, and the fit that finds them again."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from sfhflow.gaussian_mixture import (
    GaussianMixture,
    fit_gaussian_mixture,
    read_gaussian_mixture,
    write_gaussian_mixture,
)


@pytest.fixture(scope="module")
def mixture():
    cholesky = torch.tensor([[[1.0, 0.0], [0.5, 0.7]], [[0.4, 0.0], [-0.2, 1.5]]], dtype=torch.float64)
    means = torch.tensor([[-2.0, 0.0], [3.0, 1.0]], dtype=torch.float64)
    return GaussianMixture(torch.tensor([0.3, 0.7], dtype=torch.float64), means, cholesky)


def as_torch(mixture):
    normals = torch.distributions.MultivariateNormal(mixture.means, scale_tril=mixture.cholesky)
    return torch.distributions.MixtureSameFamily(torch.distributions.Categorical(mixture.weights), normals)


def test_its_density_is_that_of_torch(mixture):
    x = 3 * torch.randn(4, 5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(mixture.log_prob(x), as_torch(mixture).log_prob(x))


def test_its_samples_have_its_mean_and_covariance(mixture):
    n = 200_000
    x = mixture.sample(n, torch.Generator().manual_seed(1))
    exact = as_torch(mixture)
    np.testing.assert_allclose(x.mean(0), exact.mean, atol=5 * exact.variance.max().item() ** 0.5 / n**0.5)
    np.testing.assert_allclose(x.var(0), exact.variance, rtol=0.02)


def test_a_fit_comes_as_close_to_the_truth_as_the_truth_itself(mixture):
    generator = torch.Generator().manual_seed(2)
    fitted = fit_gaussian_mixture(mixture.sample(20_000, generator), 2, steps=60, seed=1)
    unseen = mixture.sample(20_000, generator)
    assert float(fitted.log_prob(unseen).mean()) == pytest.approx(float(mixture.log_prob(unseen).mean()), abs=5e-3)
    np.testing.assert_allclose(fitted.weights.sort().values, [0.3, 0.7], atol=0.02)


def test_every_step_of_the_fit_gains_likelihood(mixture):
    x = mixture.sample(5_000, torch.Generator().manual_seed(3))
    likelihoods = [fit_gaussian_mixture(x, 4, steps=k, floor=0.0).log_prob(x).mean() for k in (1, 3, 10, 30)]
    assert all(later > earlier for earlier, later in pairwise(likelihoods))


def test_it_is_written_and_read(mixture, tmp_path):
    write_gaussian_mixture(mixture, tmp_path / "mixture.safetensors", {"n": "2"})
    back = read_gaussian_mixture(tmp_path / "mixture.safetensors")
    for one, other in zip(back, mixture, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
