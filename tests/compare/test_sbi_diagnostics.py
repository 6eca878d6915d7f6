"""Ranks, their uniformity and TARP are those of sbi.diagnostics on the same samples."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
sbi = pytest.importorskip("sbi.diagnostics", reason="sbi, whose diagnostics are compared with, is not installed")

from sfhflow.diagnostics import expected_coverage, ranks, region_masses, uniformity_p_value  # noqa: E402

N_GALAXIES, N_SAMPLES, N_QUANTITIES = 600, 999, 3


class LinearGaussian:
    """theta ~ N(0, 1), x = theta + N(0, 1): the posterior is N(x / 2, 1 / 2), its width times `widen`."""

    def __init__(self, widen):
        generator = torch.Generator().manual_seed(5)
        self.theta = torch.randn(N_GALAXIES, N_QUANTITIES, generator=generator)
        self.x = self.theta + torch.randn(self.theta.shape, generator=generator)
        noise = torch.randn(N_SAMPLES, *self.theta.shape, generator=generator)
        self.samples = self.x / 2 + widen * 0.5**0.5 * noise

    def sample_batched(self, shape, x, **_):
        assert shape == (N_SAMPLES,)
        assert torch.equal(x, self.x)
        return self.samples


@pytest.fixture(params=[1.0, 0.7, 1.4], ids=["exact", "narrow", "wide"])
def posterior(request):
    return LinearGaussian(request.param)


def ours(posterior):
    return posterior.samples.permute(1, 0, 2).numpy(), posterior.theta.numpy()


def test_ranks_are_the_same_integers_and_as_uniform(posterior):
    theirs, _ = sbi.run_sbc(
        posterior.theta, posterior.x, posterior, num_posterior_samples=N_SAMPLES, show_progress_bar=False
    )
    fractional = ranks(*ours(posterior))
    np.testing.assert_array_equal(np.floor((N_SAMPLES + 1) * fractional), theirs.numpy())
    expected = sbi.sbc.check_uniformity_frequentist(theirs, N_SAMPLES).numpy()
    # they test integer ranks with a continuous distribution
    np.testing.assert_allclose(uniformity_p_value(fractional), expected, atol=0.05)


def test_the_tarp_curve_is_the_same_for_the_same_references(posterior):
    references = torch.randn(posterior.theta.shape, generator=torch.Generator().manual_seed(6))
    theirs, levels = sbi.run_tarp(
        posterior.theta,
        posterior.x,
        posterior,
        references,
        num_posterior_samples=N_SAMPLES,
        show_progress_bar=False,
        num_bins=20,
    )
    samples, truth = ours(posterior)
    spread = np.ptp(truth, axis=0)
    masses = region_masses(samples, truth, references.numpy(), spread, np.random.default_rng(0))
    inside = (levels > 0.01) & (levels < 0.99)
    curve = expected_coverage(masses[:, None], levels=levels[inside].numpy())
    np.testing.assert_allclose(curve.coverage, theirs[inside].numpy(), atol=0.01)
