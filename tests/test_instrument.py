"""Broadening, shifts and calibration errors against analytic cases and slow direct convolution."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sfhflow.errors import InputError
from sfhflow.grid import C_KMS, LogGrid
from sfhflow.instrument import (
    arm_step,
    broaden,
    calibration_error,
    calibration_loadings,
    fwhm_to_sigma_kms,
    kernel_variance,
    legendre,
    line_spread,
)

STEP = LogGrid().velocity_step_kms
PIXEL = torch.arange(600, dtype=torch.float64)


def gaussian_line(centre=300.0, sigma_pixels=2.0):
    profile = torch.exp(-0.5 * ((PIXEL - centre) / sigma_pixels) ** 2)
    return (profile / profile.sum())[None]


def moments(profile):
    total = profile.sum()
    centre = (PIXEL * profile).sum() / total
    return float(total), float(centre), float((((PIXEL - centre) ** 2 * profile).sum() / total).sqrt())


def slow_convolution(flux, variance_pixels):
    """Direct sum over a sampled Gaussian at each pixel; end values continue the spectrum."""
    reach, n = 80, len(flux)
    padded = np.pad(flux, reach, mode="edge")
    offset = np.arange(-reach, reach + 1)
    out = np.empty(n)
    for i in range(n):
        kernel = np.exp(-0.5 * offset**2 / variance_pixels[i])
        out[i] = np.sum(kernel * padded[i : i + 2 * reach + 1]) / kernel.sum()
    return out


@pytest.mark.parametrize("sigma_kms", [20.0, 69.0, 150.0, 400.0])
def test_the_widths_of_line_and_kernel_add_in_quadrature_and_flux_is_conserved(sigma_kms):
    out = broaden(gaussian_line(), torch.tensor([[sigma_kms**2]], dtype=torch.float64), STEP)[0]
    total, centre, width = moments(out)
    assert total == pytest.approx(1.0, abs=1e-9)
    assert centre == pytest.approx(300.0, abs=1e-6)
    assert width == pytest.approx(np.hypot(2.0, sigma_kms / STEP), rel=1e-6)


@pytest.mark.parametrize("shift_kms", [-100.0, 0.0, 33.3, 500.0])
def test_a_shift_moves_lines_to_the_red_by_the_velocity(shift_kms):
    shift = torch.tensor([shift_kms], dtype=torch.float64)
    out = broaden(gaussian_line(), torch.full((1, 1), 50.0**2, dtype=torch.float64), STEP, shift_kms=shift)[0]
    assert moments(out)[1] == pytest.approx(300.0 + shift_kms / STEP, abs=1e-6)


def test_a_shift_by_whole_pixels_moves_values_unchanged():
    flux = torch.rand(1, 600, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shift = torch.tensor([3 * STEP], dtype=torch.float64)
    out = broaden(flux, torch.zeros(1, 1, dtype=torch.float64), STEP, shift_kms=shift)
    torch.testing.assert_close(out[:, 3:], flux[:, :-3], atol=1e-9, rtol=0)
    # the first value continues beyond the end
    torch.testing.assert_close(out[:, :3], flux[:, :1].expand(-1, 3), atol=1e-9, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_kernel_that_varies_with_wavelength_equals_slow_direct_convolution(dtype):
    rng = np.random.default_rng(1)
    # structure at the resolution of a stellar library, on a continuum whose ends differ
    flux = 1 + 0.1 * np.convolve(rng.normal(size=700), np.exp(-0.5 * np.arange(-9, 10) ** 2 / 1.5), "same")[50:650]
    flux *= np.linspace(0.4, 1.6, 600)
    wavelength = 4000 * np.exp(STEP / C_KMS * np.arange(600) * 4)
    sigma = 150.0 * (wavelength / 5200) ** -0.7
    slow = slow_convolution(flux, (sigma / STEP) ** 2)
    variance = torch.tensor(sigma**2, dtype=dtype)[None]
    fast = broaden(torch.tensor(flux, dtype=dtype)[None], variance, STEP)[0].numpy()
    assert np.max(np.abs(fast / slow - 1)) < 1e-3


def test_the_ends_of_a_spectrum_never_meet():
    # a jump between the two ends of five times the blue flux would show within a kernel of the ends
    flux = torch.cat([torch.ones(300), torch.linspace(1, 6, 200), torch.full((100,), 6.0)])[None].double()
    variance = torch.linspace(200.0, 450.0, 600, dtype=torch.float64)[None] ** 2
    out = broaden(flux, variance, STEP)[0]
    assert torch.allclose(out[:200], torch.ones(200, dtype=torch.float64), atol=1e-5)
    assert torch.allclose(out[-50:], torch.full((50,), 6.0, dtype=torch.float64), atol=1e-5)


def test_galaxies_of_a_batch_do_not_know_each_other():
    generator = torch.Generator().manual_seed(2)
    flux = torch.rand(3, 600, dtype=torch.float64, generator=generator)
    variance = 1e4 * (1 + torch.rand(3, 600, dtype=torch.float64, generator=generator))
    shift = torch.tensor([-50.0, 0.0, 80.0], dtype=torch.float64)
    together = broaden(flux, variance, STEP, shift_kms=shift)
    for i in range(3):
        alone = broaden(flux[i : i + 1], variance[i : i + 1], STEP, shift_kms=shift[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-12, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.floats(30.0, 300.0), st.floats(30.0, 300.0))
def test_broadening_twice_is_broadening_by_the_sum_of_variances(first, second):
    flux = gaussian_line(sigma_pixels=1.5)
    variance = [torch.full((1, 1), v, dtype=torch.float64) for v in (first**2, second**2, first**2 + second**2)]
    twice = broaden(broaden(flux, variance[0], STEP), variance[1], STEP)
    torch.testing.assert_close(twice, broaden(flux, variance[2], STEP), rtol=0, atol=1e-7)


def test_a_sharper_spectrum_than_the_library_is_refused():
    library = torch.full((5,), 70.0)
    with pytest.raises(InputError, match="sharper"):
        kernel_variance(torch.tensor([10.0]), torch.full((5,), 60.0), library)
    exact = kernel_variance(torch.tensor([0.0]), library, library)
    assert torch.equal(exact, torch.zeros(1, 5))


def test_kernel_library_and_line_spread_add_in_quadrature():
    variance = kernel_variance(torch.tensor([120.0]), torch.tensor([90.0]), torch.tensor([70.0]))
    assert variance.item() == pytest.approx(120.0**2 + 90.0**2 - 70.0**2)


def test_the_line_spread_is_never_sharper_than_the_library_and_follows_its_slope():
    wavelength = torch.linspace(3600, 7400, 200, dtype=torch.float64)
    library = fwhm_to_sigma_kms(2.5, wavelength)
    sigma, slope = torch.tensor([30.0, 65.0, 200.0, 200.0]), torch.tensor([0.0, -0.5, -1.0, 0.0])
    lsf = line_spread(wavelength, sigma.double(), slope.double(), library)
    assert torch.all(lsf >= library)
    torch.testing.assert_close(lsf[0], library)
    # slope -1 is a constant width in Angstrom, slope 0 a constant velocity; both are given at 5200
    assert (lsf[2] * wavelength).std() < 1e-6 * (lsf[2] * wavelength).mean()
    assert float(lsf[2, torch.argmin((wavelength - 5200).abs())]) == pytest.approx(200.0, rel=2e-3)
    torch.testing.assert_close(lsf[3], torch.full_like(lsf[3], 200.0))


def test_a_resolving_power_is_the_speed_of_light_over_the_fwhm_in_velocity():
    wavelength = torch.tensor([5000.0])
    assert C_KMS / (2.35482 * fwhm_to_sigma_kms(2.5, wavelength).item()) == pytest.approx(2000.0, rel=1e-5)


def test_legendre_polynomials_equal_those_of_numpy():
    expected = np.polynomial.legendre.legvander(np.linspace(-1, 1, 301), 8)[:, 1:].T
    np.testing.assert_allclose(legendre(8, 301, dtype=torch.float64), expected, atol=1e-12)
    np.testing.assert_allclose(legendre(8, 301), expected, atol=2e-6)
    assert legendre(1, 301).shape == (1, 301)


@pytest.mark.parametrize("orders", [1, 4, 8])
def test_the_rms_of_calibration_errors_is_their_amplitude(orders):
    amplitude = torch.tensor([0.003, 0.06]).repeat_interleave(4000)
    loadings = calibration_loadings(orders, 300)
    error = calibration_error(amplitude, loadings, torch.Generator().manual_seed(3)).log()
    rms = error.reshape(2, -1).square().mean(-1).sqrt()
    assert rms.tolist() == pytest.approx([0.003, 0.06], rel=0.04)
    # the level of the flux means nothing: only its shape is wrong
    assert abs(float(error.mean())) < 1e-3


def test_smooth_calibration_errors_are_the_largest():
    error = calibration_error(
        torch.full((4000,), 0.05), calibration_loadings(4, 400), torch.Generator().manual_seed(4)
    ).log()
    # share of the variance by order, by projection: proportional to 1, 1/2, 1/3, 1/4
    x = torch.linspace(-1, 1, 400)
    basis = torch.as_tensor(np.polynomial.legendre.legvander(x.numpy(), 4)[:, 1:], dtype=torch.float32)
    coefficients = torch.linalg.lstsq(basis, error.T).solution
    share = coefficients.square().mean(-1) / (2 * torch.arange(1, 5) + 1)
    assert (share / share.sum()).tolist() == pytest.approx([12 / 25, 6 / 25, 4 / 25, 3 / 25], rel=0.1)


def test_two_arms_differ_by_one_step_of_the_stated_rms():
    n, n_pixels = 4000, 50
    log_factor = arm_step(0.02, n, n_pixels, torch.Generator().manual_seed(0)).log()
    jumps = log_factor.diff(dim=-1)
    assert int((jumps.abs() > 1e-6).sum(-1).max()) == 1
    # the join lies between two of the pixels for 49 galaxies in 50, anywhere with the same probability
    size = jumps.sum(-1)
    joined = size.abs() > 1e-6
    assert float(joined.float().mean()) == pytest.approx(0.98, abs=0.02)
    assert float(size[joined].std()) == pytest.approx(0.02, rel=0.05)
    place = jumps.abs().argmax(-1)[joined].double()
    assert float(place.mean()) == pytest.approx((n_pixels - 2) / 2, abs=4 * n_pixels / (12 * n) ** 0.5)
    # neither arm is preferred
    torch.testing.assert_close(log_factor[joined, 0], -log_factor[joined, -1])
