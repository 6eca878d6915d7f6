"""The rest-frame grid: air and vacuum, equal velocity steps, rebinning that keeps information."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfhflow.grid import C_KMS, LogGrid, air_to_vacuum, pixel_edges, rebin, vacuum_to_air

GRID = LogGrid(5000.0, 5100.0)


def slow_rebin(wavelength, flux, ivar, grid):
    """The definition, one pair of pixels at a time."""
    edges = pixel_edges(np.log(wavelength))
    out_flux, out_ivar = np.zeros(grid.n_pixels), np.zeros(grid.n_pixels)
    for j in range(grid.n_pixels):
        low, high = grid.log_edges[j : j + 2]
        total, covered = 0.0, 0.0
        for i in range(len(wavelength)):
            overlap = max(0.0, min(high, edges[i + 1]) - max(low, edges[i]))
            if overlap == 0.0 or ivar[i] == 0.0:
                continue
            share = overlap / (edges[i + 1] - edges[i]) * ivar[i]
            total, covered = total + share * flux[i], covered + overlap
            out_ivar[j] += share
        if covered > 0.5 * (high - low):
            out_flux[j] = total / out_ivar[j]
        else:
            out_ivar[j] = 0.0
    return out_flux, out_ivar


@pytest.mark.parametrize(
    ("air", "vacuum"),
    [
        (5889.950, 5891.583),  # Na D2 and D1, NIST
        (5895.924, 5897.558),
        (5006.843, 5008.240),  # [OIII], H alpha and [OII], SDSS and NIST
        (6562.80, 6564.61),
        (3726.03, 3727.09),
    ],
)
def test_air_and_vacuum_wavelengths_of_known_lines(air, vacuum):
    assert air_to_vacuum(np.array(air)) == pytest.approx(vacuum, abs=0.006)
    assert vacuum_to_air(np.array(vacuum)) == pytest.approx(air, abs=0.006)


@given(st.floats(3000.0, 12_000.0))
def test_air_and_vacuum_are_inverse(wavelength):
    assert vacuum_to_air(air_to_vacuum(np.array(wavelength))) == pytest.approx(wavelength, abs=1e-6)


def test_pixels_are_equal_steps_in_velocity():
    grid = LogGrid()
    steps = C_KMS * np.diff(np.log(grid.wavelength))
    np.testing.assert_allclose(steps, grid.velocity_step_kms, rtol=1e-9)
    assert grid.velocity_step_kms == pytest.approx(69.03, abs=0.01)
    assert len(grid.wavelength) == grid.n_pixels == len(grid.log_edges) - 1
    assert grid.wavelength[[0, -1]] == pytest.approx([3600.0, 7350.0], rel=grid.step)
    np.testing.assert_allclose(
        0.5 * (grid.log_edges[1:] + grid.log_edges[:-1]), np.log(grid.wavelength), rtol=1e-12
    )


@pytest.mark.parametrize(("low", "high"), [(4800.0, 5300.0), (4999.0, 5101.5), (5000.0, 5100.0)])
def test_a_padded_grid_is_in_phase_and_inside_its_limits(low, high):
    wide, inner = GRID.padded(low, high)
    np.testing.assert_allclose(wide.wavelength[inner], GRID.wavelength, rtol=1e-12)
    assert low * (1 - 1e-12) <= wide.wavelength[0] < low * np.exp(1.01 * GRID.step)
    # the grid's own last pixel may lie up to half a step beyond its nominal end
    assert wide.wavelength[-1] <= max(high, GRID.wavelength[-1]) * (1 + 1e-12)
    assert wide.wavelength[-1] > high * np.exp(-1.01 * GRID.step)


def test_padding_never_shrinks_a_grid():
    wide, inner = GRID.padded(5020.0, 5050.0)
    assert wide.n_pixels == GRID.n_pixels
    np.testing.assert_allclose(wide.wavelength[inner], GRID.wavelength, rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 4.0), st.floats(0.0, 0.5))
def test_rebinning_equals_a_slow_loop_over_overlaps(seed, step, masked):
    rng = np.random.default_rng(seed)
    wavelength = 4990.0 + np.cumsum(step * rng.uniform(0.5, 1.5, int(100 / step) + 3))
    flux, ivar = rng.normal(size=(2, len(wavelength)))
    ivar = np.where(rng.uniform(size=len(ivar)) < masked, 0.0, ivar**2)
    fast, slow = rebin(wavelength, flux, ivar, GRID), slow_rebin(wavelength, flux, ivar, GRID)
    np.testing.assert_allclose(fast[1], slow[1], rtol=1e-8, atol=1e-10 * ivar.sum())
    np.testing.assert_allclose(fast[0], slow[0], atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(20, 400))
def test_rebinning_conserves_inverse_variance_and_weighted_flux(seed, n):
    rng = np.random.default_rng(seed)
    # n equal pixels that fill output pixels 10 ... 79 exactly
    edges = np.linspace(GRID.log_edges[10], GRID.log_edges[80], n + 1)
    wavelength = np.exp(0.5 * (edges[1:] + edges[:-1]))
    flux, ivar = rng.normal(size=n), rng.uniform(0.1, 10.0, n)
    new_flux, new_ivar = rebin(wavelength, flux, ivar, GRID)
    assert new_ivar.sum() == pytest.approx(ivar.sum(), rel=1e-9)
    assert (new_ivar * new_flux).sum() == pytest.approx((ivar * flux).sum(), abs=1e-9 * ivar.sum())
    assert np.all(new_ivar[:10] == 0)
    assert np.all(new_ivar[80:] == 0)


def test_a_spectrum_on_the_same_grid_is_unchanged():
    rng = np.random.default_rng(3)
    flux, ivar = rng.normal(size=GRID.n_pixels), rng.uniform(0.5, 2.0, GRID.n_pixels)
    new_flux, new_ivar = rebin(GRID.wavelength, flux, ivar, GRID)
    np.testing.assert_allclose(new_flux, flux, atol=1e-9)
    np.testing.assert_allclose(new_ivar, ivar, rtol=1e-9)


@pytest.mark.parametrize("junk", [np.nan, 1e9, -1e30])
def test_the_flux_of_pixels_without_information_never_leaks(junk):
    rng = np.random.default_rng(4)
    wavelength = np.arange(4990.0, 5110.0, 0.8)
    flux, ivar = rng.normal(size=(2, len(wavelength)))
    ivar = np.where(rng.uniform(size=len(ivar)) < 0.3, 0.0, ivar**2)
    clean = rebin(wavelength, np.where(ivar > 0, flux, 0.0), ivar, GRID)
    dirty = rebin(wavelength, np.where(ivar > 0, flux, junk), ivar, GRID)
    np.testing.assert_array_equal(clean, dirty)


@pytest.mark.parametrize(("covered", "kept"), [(0.4, False), (0.6, True)])
def test_an_output_pixel_needs_half_its_width_in_good_pixels(covered, kept):
    n = 2 * GRID.n_pixels
    # fine pixels, ten for each output pixel; those of output pixel 50 are good up to the wanted fraction
    edges = np.linspace(GRID.log_edges[0], GRID.log_edges[-1], 5 * n + 1)
    centres = np.exp(0.5 * (edges[1:] + edges[:-1]))
    ivar = np.ones(5 * n)
    ivar[500 + round(10 * covered) : 510] = 0.0
    flux, new_ivar = rebin(centres, np.ones(5 * n), ivar, GRID)
    assert new_ivar[50] == pytest.approx(10 * covered if kept else 0.0)
    assert flux[50] == pytest.approx(1.0 if kept else 0.0)
    assert np.all(new_ivar[[49, 51]] > 9.99)


@pytest.mark.parametrize("step", [0.3, 1.16, 1.7])
def test_averages_of_rebinned_noise_have_the_error_that_they_claim(step):
    rng = np.random.default_rng(5)
    wavelength = np.arange(3500.0, 7500.0, step)
    error = rng.uniform(0.5, 2.0, len(wavelength))
    grid = LogGrid()
    scores = []
    for _ in range(20):
        flux, ivar = rebin(wavelength, error * rng.normal(size=len(error)), error**-2, grid)
        windows = [a[: 40 * (len(a) // 40)].reshape(-1, 40) for a in (ivar * flux, ivar)]
        scores.append(windows[0].sum(-1) / np.sqrt(windows[1].sum(-1)))
    # 20 * 77 windows: the standard deviation of a unit normal is known to 1.8 %
    assert np.std(scores) == pytest.approx(1.0, abs=0.06)
