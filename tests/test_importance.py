"""Importance and nested sampling, where everything is Gaussian or has another closed form."""

import math

import numpy as np
import pytest
import torch

from sfhflow.exact import LogisticBase, nested_sampling, sample_target
from sfhflow.exact.importance import WeightedSamples, temper
from sfhflow.exact.pareto import pareto_smooth
from sfhflow.exact.student import StudentMixture, fit_student_mixture
from sfhflow.gaussian_mixture import GaussianMixture


def linear_gaussian(n_features: int = 6):
    """Target, posterior mean and covariance, and evidence of y = A x + noise with a standard-normal prior."""
    rng = np.random.default_rng(2)
    a, y, sigma = rng.normal(size=(9, n_features)), rng.normal(size=9), 0.4
    marginal = a @ a.T + sigma**2 * np.eye(9)
    log_evidence = -0.5 * (y @ np.linalg.solve(marginal, y) + np.linalg.slogdet(2 * np.pi * marginal)[1])
    covariance = np.linalg.inv(a.T @ a / sigma**2 + np.eye(n_features))
    mean = covariance @ a.T @ y / sigma**2

    def log_target(x):
        residual = torch.tensor(y) - x @ torch.tensor(a).T
        likelihood = -0.5 * (residual / sigma).square().sum(-1) - 4.5 * math.log(2 * math.pi * sigma**2)
        return likelihood - 0.5 * x.square().sum(-1) - 0.5 * n_features * math.log(2 * math.pi)

    return log_target, torch.tensor(mean), torch.tensor(covariance), float(log_evidence)


def gaussian(mean, covariance) -> GaussianMixture:
    return GaussianMixture(torch.ones(1).double(), mean[None], torch.linalg.cholesky(covariance)[None])


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (0.5, 2.0), (1.5, 0.5)])
def test_importance_sampling_finds_mean_covariance_and_evidence(offset, scale):
    log_target, mean, covariance, log_evidence = linear_gaussian()
    proposal = gaussian(mean + offset * covariance.diagonal().sqrt(), scale * covariance)
    samples = sample_target(
        log_target, proposal, budget=30_000, wanted=8000, generator=torch.Generator().manual_seed(0)
    )
    assert samples.effective >= 8000
    assert samples.log_evidence == pytest.approx(log_evidence, abs=5 * samples.log_evidence_error + 1e-9)
    x = samples.resample(20_000, torch.Generator().manual_seed(1))
    rms = covariance.diagonal().sqrt()
    assert ((x.mean(0) - mean) / rms).abs().max() < 5 / math.sqrt(samples.effective)
    whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), (x - mean).T, upper=False)
    assert (torch.cov(whitened) - torch.eye(len(mean))).abs().max() < 6 / math.sqrt(samples.effective)


def test_a_perfect_proposal_is_not_changed():
    log_target, mean, covariance, log_evidence = linear_gaussian()
    samples = sample_target(
        log_target, gaussian(mean, covariance), budget=9000, wanted=500, generator=torch.Generator().manual_seed(0)
    )
    assert len(samples) == samples.n_evaluations == 2000
    assert samples.effective == pytest.approx(2000)
    assert samples.first_efficiency == pytest.approx(1.0)
    assert samples.log_evidence == pytest.approx(log_evidence, abs=1e-9)


def test_the_error_of_the_evidence_is_its_scatter():
    log_target, mean, covariance, log_evidence = linear_gaussian()
    proposal = gaussian(mean + 0.4 * covariance.diagonal().sqrt(), 1.5 * covariance)
    runs = [
        sample_target(log_target, proposal, budget=2000, wanted=1, generator=torch.Generator().manual_seed(seed))
        for seed in range(60)
    ]
    pulls = np.array([(run.log_evidence - log_evidence) / run.log_evidence_error for run in runs])
    # the rms of 60 standard-normal numbers has a standard error of 0.09
    assert 0.7 < np.sqrt(np.mean(pulls**2)) < 1.3


@pytest.mark.parametrize("region", ["prior", "posterior, displaced"])
def test_nested_sampling_finds_the_evidence_wherever_it_starts(region):
    pytest.importorskip("nautilus", reason="nautilus is the nested sampler")
    log_target, mean, covariance, log_evidence = linear_gaussian(4)
    points, inflation = torch.randn(5000, 4, generator=torch.Generator().manual_seed(0)).double(), 1.3
    if region != "prior":
        root = torch.linalg.cholesky(covariance)
        points, inflation = mean + covariance.diagonal().sqrt() + points @ root.T, 2.0
    base = LogisticBase.around(points, inflation=inflation)
    samples = nested_sampling(log_target, base, seed=1, n_live=200, n_effective=1000)
    assert samples.log_evidence == pytest.approx(log_evidence, abs=0.15)
    x = samples.resample(5000, torch.Generator().manual_seed(1))
    assert ((x.mean(0) - mean) / covariance.diagonal().sqrt()).abs().max() < 0.1
    assert (x.std(0) / covariance.diagonal().sqrt() - 1).abs().max() < 0.1


def test_the_evidence_has_no_bias_although_proposals_are_fitted_to_few_samples():
    log_target, mean, covariance, log_evidence = linear_gaussian(8)
    proposal = gaussian(mean + 0.7 * covariance.diagonal().sqrt(), 1.7 * covariance)
    runs = [
        sample_target(
            log_target, proposal, budget=5000, wanted=5000, generator=torch.Generator().manual_seed(seed)
        )
        for seed in range(12)
    ]
    ratios = np.exp([run.log_evidence - log_evidence for run in runs])
    assert np.median([run.first_efficiency for run in runs]) < 0.1
    assert ratios.std() < 0.06
    assert ratios.mean() == pytest.approx(1.0, abs=3 * ratios.std() / math.sqrt(len(runs)))


@pytest.mark.parametrize("k", [0.3, 0.7, 1.2])
def test_the_tail_of_pareto_distributed_weights_is_recognised(k):
    uniform = torch.rand(40_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    smoothed, found = pareto_smooth(-k * uniform.log())
    # 600 weights are in the tail
    assert found == pytest.approx(k, abs=4 * (1 + k) / math.sqrt(600))
    assert smoothed.max() <= (-k * uniform.log()).max()
    assert smoothed[uniform.argsort(descending=True)].diff().min() >= 0


def test_smoothing_makes_sums_of_heavy_weights_less_noisy_and_leaves_light_ones_alone():
    uniform = torch.rand(300, 2000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    raw = -0.6 * uniform.log()
    smoothed = torch.stack([pareto_smooth(row)[0] for row in raw])
    # the mean of u^-k is 1 / (1 - k)
    errors = [float((w.exp().mean(1) - 2.5).square().mean().sqrt()) for w in (raw, smoothed)]
    assert errors[1] < errors[0]
    flat = torch.zeros(1000, dtype=torch.float64)
    assert torch.equal(pareto_smooth(flat)[0], flat)
    assert pareto_smooth(flat[:10]) == (pytest.approx(flat[:10]), math.inf)


def test_a_mixture_is_fitted_to_weighted_points():
    # two clusters, the weights of which are not those of their points
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 3, generator=generator, dtype=torch.float64)
    x[1000:, 0] += 8.0
    log_weights = torch.where(torch.arange(4000) < 1000, math.log(9.0), 0.0).double()
    drawn = fit_student_mixture(x, log_weights, generator).sample(20_000, generator)
    left = drawn[:, 0] < 4
    assert float(left.double().mean()) == pytest.approx(0.75, abs=0.03)
    assert drawn[left].mean(0).abs().max() < 0.1
    # Student distributions are wider, by dof / (dof - 2) in variance, and the mixture holds points together
    assert 1.0 < float(drawn[left].std()) < 1.6


def test_student_distributions_have_the_density_they_are_sampled_from():
    mixture = StudentMixture(
        GaussianMixture(
            torch.tensor([0.3, 0.7]).double(),
            torch.tensor([[0.0, 1.0], [2.0, -1.0]]).double(),
            torch.tensor([[[1.0, 0.0], [0.5, 0.6]], [[0.4, 0.0], [-0.2, 0.8]]]).double(),
        ),
        6,
    )
    axis = torch.linspace(-25, 25, 1001, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    density = mixture.log_prob(grid).exp() * 0.05**2
    assert float(density.sum()) == pytest.approx(1.0, abs=2e-3)
    x = mixture.sample(40_000, torch.Generator().manual_seed(0))
    # edges of the cells of the grid
    for corner in ((0.025, 0.025), (2.025, 0.025), (-1.975, 2.525)):
        inside = ((grid < torch.tensor(corner)).all(-1) * density).sum()
        assert float((x < torch.tensor(corner)).all(-1).double().mean()) == pytest.approx(float(inside), abs=0.01)


def test_the_base_of_nested_sampling_is_normalised():
    base = LogisticBase(torch.tensor([0.5, -1.0]).double(), torch.tensor([[0.7, 0.0], [0.3, 0.4]]).double())
    axis = torch.linspace(-14, 14, 701, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    assert float(base.log_prob(grid).exp().sum()) * 0.04**2 == pytest.approx(1.0, abs=1e-3)
    x = torch.tensor([[0.5, 0.5]]).double()
    assert base.from_cube(x)[0].tolist() == pytest.approx([0.5, -1.0])


def test_resampling_gives_every_point_its_share():
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4]).double()
    samples = WeightedSamples(torch.arange(4.0)[:, None], weights.log(), 4)
    drawn = samples.resample(1000, torch.Generator().manual_seed(0))[:, 0]
    counts = torch.bincount(drawn.long(), minlength=4)
    assert (counts - 1000 * weights).abs().max() <= 1
    assert samples.effective == pytest.approx(1 / 0.3)


def test_tempered_weights_are_as_effective_as_wanted():
    log_weights = 6 * torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    soft = temper(log_weights, 200.0)
    assert WeightedSamples(soft[:, None], soft, 1000).effective == pytest.approx(200.0, rel=1e-3)
    assert temper(log_weights, 0.5) is log_weights
