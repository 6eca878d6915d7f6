"""Template mismatch: amplitude, mean and correlation of the factors."""

import numpy as np
import pytest
import torch

from sfhflow.grid import LogGrid
from sfhflow.mismatch import TemplateMismatch

GRID = LogGrid()
# without differences between libraries
NONE = TemplateMismatch(library_amplitude=0.0)


@pytest.fixture(scope="module")
def parts():
    model = TemplateMismatch()
    return model.on_grid(GRID), NONE.library_on_grid(GRID), model.profile_on_grid(GRID)


def draw(model, n, parts, seed=0):
    return model.sample(n, *parts, torch.Generator().manual_seed(seed))


def test_components_and_profile_are_finite_and_normalised(parts):
    basis, _, profile = parts
    assert basis.shape[1] == len(profile) == GRID.n_pixels
    assert torch.isfinite(basis).all()
    assert torch.all(profile > 0)
    assert float((basis**2).sum(0).mean()) == pytest.approx(1.0, rel=1e-5)
    assert float((profile**2).mean()) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("amplitude", [0.002, 0.015])
def test_the_rms_of_the_logarithm_is_the_amplitude(parts, amplitude):
    factors = draw(TemplateMismatch(amplitude_range=(amplitude, amplitude)), 1000, parts)
    assert float(factors.log().square().mean().sqrt()) == pytest.approx(amplitude, rel=0.04)
    assert float(factors.mean()) == pytest.approx(1.0, abs=0.1 * amplitude)


def test_both_kinds_of_structure_share_the_variance(parts):
    basis, none, profile = parts
    model = TemplateMismatch(amplitude_range=(0.01, 0.01))
    pairs = [(basis, none, torch.zeros_like(profile)), (torch.zeros_like(basis), none, profile)]
    structured, noise = (float(draw(model, 2000, pair).log().square().mean()) for pair in pairs)
    assert structured + noise == pytest.approx(1e-4, rel=0.05)
    assert 0.2 < structured / noise < 5.0


def test_amplitudes_differ_between_galaxies_within_the_range(parts):
    rms = draw(TemplateMismatch(), 2000, parts).log().square().mean(-1).sqrt()
    # the rms of one draw scatters by about a fifth around its amplitude
    low, middle, high = torch.quantile(rms, torch.tensor([0.02, 0.5, 0.98])).tolist()
    assert 0.0014 < low < 0.003
    assert middle == pytest.approx(np.sqrt(0.002 * 0.015), rel=0.15)
    assert 0.012 < high < 0.022


def test_the_noise_is_correlated_over_a_few_pixels_only(parts):
    basis, none, profile = parts
    flat = torch.zeros_like(basis), none, torch.ones_like(profile)
    log = draw(TemplateMismatch(amplitude_range=(0.01, 0.01)), 300, flat).log()
    correlation = [float((log[:, lag:] * log[:, :-lag]).mean() / log.square().mean()) for lag in (1, 4, 8, 20)]
    # piecewise linear between independent nodes 4 apart: the B-spline correlation is 1/4 at one node spacing
    assert correlation[0] > 0.8
    assert correlation[1] == pytest.approx(0.25, abs=0.04)
    assert np.abs(correlation[2:]).max() < 0.04


def test_a_grid_beyond_the_stored_wavelengths_stays_finite():
    model, grid = TemplateMismatch(), LogGrid(3200.0, 9000.0)
    factors = draw(model, 5, (model.on_grid(grid), model.library_on_grid(grid), model.profile_on_grid(grid)))
    assert torch.isfinite(factors).all()


def test_differences_between_libraries_add_their_own_variance(parts):
    basis, _, profile = parts
    library = TemplateMismatch(amplitude_range=(1e-9, 1e-9), library_amplitude=0.5)
    factors = draw(library, 4000, (basis, library.library_on_grid(GRID), profile))
    # the sum of squares of the components is the mean square of the differences
    whole = TemplateMismatch(library_amplitude=1.0)
    expected = whole.library_on_grid(GRID).square().sum(0) / 4
    assert float(expected.mean().sqrt()) == pytest.approx(0.0073, rel=0.1)
    got = factors.log().square().mean(0)
    assert float((got / expected - 1).abs().mean()) < 0.05


def test_a_seed_decides_the_factors(parts):
    model = TemplateMismatch()
    assert torch.equal(draw(model, 3, parts, 1), draw(model, 3, parts, 1))
    assert not torch.equal(draw(model, 3, parts, 1), draw(model, 3, parts, 2))
