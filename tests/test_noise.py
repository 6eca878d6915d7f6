"""Statistics of errors, noise and masks."""

from dataclasses import replace

import pytest
import torch

from sfhflow.instrument import legendre
from sfhflow.noise import NoiseModel, add_noise

N, P = 4000, 500
PLAIN = NoiseModel(
    full_probability=0.0,
    max_gaps=0,
    bad_pixel_probability=0.0,
    sparse_probability=0.0,
    shape_amplitude=0.0,
    spike_probability=0.0,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def errors(model, *, flux=None, seed=0):
    flux = torch.full((N, P), 2.0) if flux is None else flux
    return model.sample_errors(flux, legendre(4, flux.shape[1]), generator(seed))


def runs(row):
    """Lengths of the stretches of True."""
    edge = torch.diff(row.int(), prepend=torch.zeros(1, dtype=torch.int), append=torch.zeros(1, dtype=torch.int))
    return ((edge == -1).nonzero() - (edge == 1).nonzero())[:, 0]


def scores(**options):
    """Residuals in units of the stated errors, shape (N, P)."""
    flux, error = 1 + torch.rand(N, P, generator=generator()), errors(NoiseModel())
    observed, ivar = add_noise(flux, error, torch.ones(N, P, dtype=torch.bool), generator(1), **options)
    return (observed - flux) * ivar.sqrt()


def test_noise_averaged_over_many_pixels_has_the_stated_error():
    score = scores()
    assert float(score.mean()) == pytest.approx(0.0, abs=0.004)
    blocks = score[:, : P // 50 * 50].reshape(N, -1, 50).sum(-1) / 50**0.5
    # the neighbours at the two ends of a block take a little variance out of it: 2 <f (1 - f)> / 50
    assert float(blocks.square().mean()) == pytest.approx(1.0, abs=0.03)


def test_single_pixels_look_as_if_resampled_by_a_fraction_of_a_pixel():
    score = scores()
    # <(1 - f)^2 + f^2> = 2/3 and <f (1 - f)> = 1/6 for f uniform in [0, 1)
    assert float(score.square().mean()) == pytest.approx(2 / 3, abs=0.02)
    assert float((score[:, 1:] * score[:, :-1]).mean()) == pytest.approx(1 / 6, abs=0.01)
    assert float((score[:, 2:] * score[:, :-2]).mean()) == pytest.approx(0.0, abs=0.004)


def test_stated_errors_are_wrong_by_one_factor_a_galaxy():
    scatter = 0.2
    ratio = scores(error_scatter=scatter).square().mean(-1) / scores().square().mean(-1)
    # the fraction f of both calls differs, so compare the whole distribution of the logarithm
    assert float(ratio.log().mean()) == pytest.approx(0.0, abs=0.06)
    plain = scores().square().mean(-1).log().var()
    assert float(scores(error_scatter=scatter).square().mean(-1).log().var() - plain) == pytest.approx(
        4 * scatter**2, rel=0.3
    )


def test_pixels_that_are_not_observed_hold_nothing():
    good = torch.rand(N, P, generator=generator(2)) < 0.5
    flux, ivar = add_noise(torch.ones(N, P), torch.full((N, P), 0.1), good, generator(3))
    assert torch.all(flux[~good] == 0)
    assert torch.equal(ivar > 0, good)
    assert torch.allclose(ivar[good], torch.tensor(100.0))


def test_the_signal_to_noise_ratio_is_log_uniform_in_its_range():
    snr = 2.0 / errors(PLAIN)[:, 0]
    low, high = PLAIN.snr_range
    assert torch.all((snr >= low * 0.999) & (snr <= high * 1.001))
    quartiles = torch.quantile(snr.log(), torch.tensor([0.25, 0.5, 0.75]))
    expected = torch.tensor(low).log() + torch.tensor([0.25, 0.5, 0.75]) * torch.tensor(high / low).log()
    # the quartile of 4000 uniform draws is known to 0.8 % of the range
    assert torch.allclose(quartiles, expected, atol=0.03 * float(torch.tensor(high / low).log()))


def test_errors_follow_the_unit_of_the_flux():
    flux = 1 + torch.rand(20, P, generator=generator())
    model = NoiseModel()
    torch.testing.assert_close(errors(model, flux=1e-3 * flux), 1e-3 * errors(model, flux=flux))


def test_errors_vary_smoothly_with_wavelength_by_the_amplitude_of_each_order():
    log_error = errors(replace(PLAIN, shape_amplitude=0.4, snr_range=(10.0, 10.0))).log()
    wiggle = log_error - torch.tensor(0.2).log()
    # orders 1 ... 4 have mean squares 1/3, 1/5, 1/7, 1/9
    assert float(wiggle.square().mean()) == pytest.approx(0.16 * (1 / 3 + 1 / 5 + 1 / 7 + 1 / 9), rel=0.05)
    assert float(torch.diff(wiggle).abs().max()) < 0.1


def test_sky_lines_raise_single_errors_up_to_the_largest_factor():
    model = replace(PLAIN, spike_probability=0.1, spike_factor=5.0, snr_range=(10.0, 10.0))
    growth = errors(model) / 0.2
    assert float(growth.min()) == pytest.approx(1.0)
    assert 5.9 < float(growth.max()) <= 6.0001
    # the fraction itself is uniform between zero and its largest value
    assert float((growth > 1.001).float().mean()) == pytest.approx(0.05, rel=0.05)


def test_windows_are_whole_or_one_stretch_of_at_least_the_smallest_width():
    good = PLAIN.sample_good(N, P, generator())
    lengths = [runs(row) for row in good[:500]]
    assert all(len(length) == 1 for length in lengths)
    fraction = good.float().mean(-1)
    assert float(fraction.min()) >= PLAIN.min_window - 2 / P
    assert float(fraction.mean()) == pytest.approx(0.6, abs=0.02)
    whole = replace(PLAIN, full_probability=0.4).sample_good(N, P, generator()).all(-1)
    assert float(whole.float().mean()) == pytest.approx(0.4, abs=0.03)


def test_both_ends_are_lost_equally_often():
    good = PLAIN.sample_good(N, P, generator(5)).float().mean(0)
    assert float(good[0]) == pytest.approx(float(good[-1]), abs=0.02)
    assert float(good[P // 2]) > 0.8


def test_gaps_are_few_and_no_longer_than_allowed():
    model = replace(PLAIN, full_probability=1.0, max_gaps=2, max_gap_pixels=40)
    missing = ~model.sample_good(2000, P, generator())
    lengths = [runs(row) for row in missing]
    assert max(len(length) for length in lengths) == 2
    assert max(int(length.max()) for length in lengths if len(length)) <= 2 * 41
    assert 0.2 < sum(len(length) == 0 for length in lengths) / 2000 < 0.5


def test_bad_pixels_have_the_wanted_share():
    model = replace(PLAIN, full_probability=1.0, bad_pixel_probability=0.1)
    share = 1 - model.sample_good(N, P, generator()).float().mean(-1)
    assert float(share.mean()) == pytest.approx(0.05, rel=0.05)
    assert float(share.max()) < 0.17


def test_some_spectra_have_lost_many_single_pixels():
    model = replace(PLAIN, full_probability=1.0, sparse_probability=0.3, sparse_fraction=0.6)
    share = 1 - model.sample_good(N, P, generator()).float().mean(-1)
    assert float((share > 0).float().mean()) == pytest.approx(0.3, abs=0.03)
    assert 0.5 < float(share.max()) < 0.7
    assert float(share[share > 0].mean()) == pytest.approx(0.3, rel=0.05)


def test_enough_pixels_are_left_in_every_spectrum():
    # 3100 pixels are those of the default grid; observed spectra with fewer than 100 pixels are refused
    assert int(NoiseModel().sample_good(3000, 3100, generator(7)).sum(-1).min()) > 100


def test_a_seed_decides_errors_and_masks():
    model = NoiseModel()
    assert torch.equal(errors(model, seed=1), errors(model, seed=1))
    assert not torch.equal(errors(model, seed=1), errors(model, seed=2))
    first, same, other = (model.sample_good(50, P, generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
