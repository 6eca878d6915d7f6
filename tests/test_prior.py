"""Marginal distributions of the prior."""

import numpy as np
import pytest
import torch

from sfhflow.cosmology import age_of_universe, redshift_at_age
from sfhflow.errors import InputError
from sfhflow.log_ratios import MIN_GAP, log_volume_ratio, nested_to_isometric
from sfhflow.prior import Prior
from sfhflow.sfh import default_mixture

N = 8000
# a quantile p of N draws is known to sqrt(p (1 - p) / N) in probability, 0.6 % at the median
TOLERANCE = 0.025
PROBABILITIES = np.array([0.1, 0.25, 0.5, 0.75, 0.9])


@pytest.fixture(scope="module")
def sample():
    return Prior().sample(N, torch.Generator().manual_seed(0))


def quantiles(values):
    return np.quantile(values.numpy(), PROBABILITIES)


def test_metallicity_is_uniform(sample):
    assert quantiles(sample[0].metallicity) == pytest.approx(-2.27 + 2.67 * PROBABILITIES, abs=2.67 * TOLERANCE)
    assert -2.27 <= float(sample[0].metallicity.min()) < -2.25
    assert 0.38 < float(sample[0].metallicity.max()) <= 0.4


def test_velocity_dispersions_are_log_uniform(sample):
    ratio = np.log(400 / 30)
    assert np.log(quantiles(sample[0].sigma_kms) / 30) == pytest.approx(
        ratio * PROBABILITIES, abs=ratio * TOLERANCE
    )
    assert float(sample[0].sigma_kms.min()) >= 30.0
    assert float(sample[0].sigma_kms.max()) <= 400.0


def test_dust_follows_the_beta_distribution(sample):
    # cumulative distribution of Beta(1, 3)
    cumulative = 1 - (1 - quantiles(sample[0].a_v) / 3.0) ** 3
    assert cumulative == pytest.approx(PROBABILITIES, abs=TOLERANCE)
    assert float(sample[0].a_v.mean()) == pytest.approx(3.0 / 4.0, rel=0.03)
    assert float(sample[0].a_v.min()) >= 0.0
    assert 2.0 < float(sample[0].a_v.max()) <= 3.0


def test_redshifts_are_uniform_and_set_the_age(sample):
    redshift = redshift_at_age(sample[1])
    assert quantiles(redshift) == pytest.approx(0.4 * PROBABILITIES, abs=0.4 * TOLERANCE)
    assert float(sample[1].max()) <= age_of_universe(0.0)
    assert float(sample[1].min()) >= age_of_universe(0.4)


def test_formation_times_rise_strictly_within_the_age(sample):
    galaxy, age = sample
    assert galaxy.times.dtype == torch.float64
    edges = torch.cat([torch.zeros(N, 1), galaxy.times, age[:, None]], dim=-1)
    assert float((edges.diff(dim=-1) / age[:, None]).min()) > 0.99 * MIN_GAP


def test_all_formation_epochs_occur(sample):
    median = (sample[0].times[:, 5] / sample[1]).numpy()
    share = np.histogram(median, np.linspace(0, 1, 6))[0] / N
    assert share.min() > 0.05
    assert share.max() < 0.5


def test_parameters_are_independent_of_each_other(sample):
    galaxy, age = sample
    columns = torch.stack([galaxy.times[:, 5] / age, galaxy.metallicity, galaxy.a_v, galaxy.sigma_kms.log(), age])
    correlation = torch.corrcoef(columns) - torch.eye(5, dtype=torch.float64)
    assert float(correlation.abs().max()) < 0.06


def test_unbounded_coordinates_are_finite(sample):
    assert torch.isfinite(Prior().parameters.to_unbounded(*sample)).all()


def test_a_seed_decides_the_galaxies():
    first, same, other = (Prior().sample(50, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first[0], same[0], strict=True))
    assert not torch.equal(first[0].times, other[0].times)
    assert not torch.equal(first[0].metallicity, other[0].metallicity)


def test_gaps_between_formation_times_scatter_about_those_of_the_family():
    families = default_mixture()
    smooth, age = Prior(families, gap_scatter=0.0).sample(N, torch.Generator().manual_seed(0))
    rough, _ = Prior(families, gap_scatter=0.2).sample(N, torch.Generator().manual_seed(0))

    def log_gaps(galaxy):
        edges = torch.cat([torch.zeros(N, 1), galaxy.times, age[:, None]], dim=-1)
        return ((edges.diff(dim=-1) / age[:, None]) - MIN_GAP).log()

    change = log_gaps(rough) - log_gaps(smooth)
    # all but the common factor that keeps the sum of the gaps
    change = change - change.mean(-1, keepdim=True)
    expected = 0.2 * (1 - 1 / change.shape[-1]) ** 0.5
    assert float(change.std()) == pytest.approx(expected, rel=0.02)
    assert float(change.mean(0).abs().max()) < 5 * 0.2 / N**0.5
    assert torch.equal(rough.metallicity, smooth.metallicity)


def test_the_density_is_that_of_the_draws():
    # the mean over draws of r / p is one for any normalised density r narrower than p
    prior = Prior()
    galaxy, age = prior.sample(40_000, torch.Generator().manual_seed(3))
    u = prior.parameters.to_unbounded(galaxy, age)
    inner = prior.sfh._replace(cholesky=0.7 * prior.sfh.cholesky)
    scalars = torch.distributions.Normal(u[:, -3:].median(0).values, 0.5)
    ratios = nested_to_isometric(u[:, :-3])
    log_r = inner.log_prob(ratios) + log_volume_ratio(ratios.shape[-1]) + scalars.log_prob(u[:, -3:]).sum(-1)
    ratio = (log_r - prior.log_prob(u)).exp()
    assert float(ratio.mean()) == pytest.approx(1.0, abs=5 * float(ratio.std()) / len(u) ** 0.5)
    assert float(ratio.std()) < 30


def test_a_family_has_draws_but_no_density():
    with pytest.raises(InputError, match="MixtureSFH, which has no density"):
        Prior(default_mixture()).log_prob(torch.zeros(1, 16))
