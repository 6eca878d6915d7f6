"""Spectra on the network's grid: wavelengths, resolution, masks, units and errors."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import sfhflow
from sfhflow.cosmology import age_of_universe
from sfhflow.errors import SpectrumError
from sfhflow.grid import C_KMS, LogGrid, air_to_vacuum, vacuum_to_air
from sfhflow.lines import emission_line_mask
from sfhflow.observation import LSF_PIVOTS, MIN_PIXELS, observe, pivot_pixels
from sfhflow.spectrum import Spectrum
from sfhflow.ssp import load_shipped

GRID = LogGrid()
FWHM = 2.51
LIBRARY_KMS = C_KMS * FWHM / (2.354820045 * GRID.wavelength)
REBINNING_KMS = GRID.velocity_step_kms / np.sqrt(6)


def continuum(rest_air):
    """Rest-frame spectrum without sharp features, in air."""
    return 1 + 0.2 * np.sin(rest_air / 300) + (rest_air - 5000) / 5000


def line(rest_air, centre, sigma_kms):
    return np.exp(-0.5 * (C_KMS * np.log(rest_air / centre) / sigma_kms) ** 2)


def sdss_like(shape=continuum, *, redshift=0.1, error=0.02, noise=None, **options):
    """Vacuum wavelengths from 3800 to 9200 Angstrom in steps of 1e-4 dex."""
    wavelength = 10 ** np.arange(np.log10(3800), np.log10(9200), 1e-4)
    flux = shape(vacuum_to_air(wavelength / (1 + redshift)))
    error = np.broadcast_to(error, flux.shape)
    if noise is not None:
        flux = flux + error * noise.normal(size=len(flux))
    return Spectrum(wavelength, flux, error**-2.0, redshift, **options)


def on_grid(spectrum, **options):
    return observe([spectrum], GRID, FWHM, **options)


def arrays(observation):
    return observation.flux[0].double().numpy(), observation.ivar[0].double().numpy()


def equal(first, second, **tolerance):
    for a, b in zip(tuple(first), tuple(second), strict=True):
        torch.testing.assert_close(a, b, equal_nan=True, **tolerance)


def line_width(spectrum, centre):
    """Gaussian sigma in km/s of an emission line on a flat continuum, from its peak and its area."""
    flux = on_grid(spectrum, mask_lines=False).flux[0].double().numpy()
    near = np.abs(C_KMS * np.log(GRID.wavelength / centre)) < 1500
    profile = flux[near] - np.median(flux)
    velocity = C_KMS * np.log(GRID.wavelength[near] / centre)
    mean = (profile * velocity).sum() / profile.sum()
    return np.sqrt((profile * (velocity - mean) ** 2).sum() / profile.sum()), mean


def velocity_of(flux, ivar, template):
    """Velocity in km/s of the best correlation with a template on the grid, over 4000 to 6000 Angstrom."""
    use = (GRID.wavelength > 4000) & (GRID.wavelength < 6000)
    good = (ivar > 0) & use

    def features(values):
        smooth = np.ones(101)
        level = np.convolve(values * good, smooth, "same") / np.maximum(np.convolve(good, smooth, "same"), 1)
        return np.where(good, values / np.maximum(level, 1e-3) - 1, 0.0)

    target = features(flux)
    lags = np.arange(-6, 7)
    # the same pixels are missing whatever the lag
    correlation = np.array([np.sum(target * features(np.roll(template, lag))) for lag in lags])
    best = int(np.argmax(correlation))
    a, b, c = correlation[best - 1 : best + 2]
    return GRID.velocity_step_kms * (lags[best] + 0.5 * (a - c) / (a - 2 * b + c))


@pytest.fixture(scope="module")
def old_template():
    """A 10 Gyr old SSP of solar metallicity, broadened by 200 km/s."""
    library = load_shipped()
    i, j = np.argmin(np.abs(library.ages_gyr - 10)), np.argmin(np.abs(library.metallicities))
    flux = np.interp(GRID.wavelength, library.wavelength, library.flux[i, j])
    kernel = np.exp(-0.5 * (np.arange(-12, 13) * GRID.velocity_step_kms / 200) ** 2)
    return np.convolve(flux, kernel / kernel.sum(), "same")


def test_a_spectrum_keeps_its_shape_and_is_scaled_to_unit_mean():
    flux, ivar = arrays(on_grid(sdss_like()))
    good = ivar > 0
    expected = continuum(GRID.wavelength)
    np.testing.assert_allclose(flux[good], expected[good] / expected[good].mean(), rtol=1e-3)
    assert flux[good].mean() == pytest.approx(1.0, abs=1e-6)
    assert np.all(flux[~good] == 0)


@pytest.mark.parametrize(("medium", "redshift"), [("vacuum", 0.0), ("vacuum", 0.25), ("air", 0.0), ("air", 0.1)])
def test_lines_land_on_their_rest_wavelength_in_air(medium, redshift):
    # 5269.54 Angstrom in air, seen through the medium's own wavelengths
    wavelength = np.arange(3700.0, 9400.0, 0.9)
    vacuum = wavelength if medium == "vacuum" else air_to_vacuum(wavelength)
    flux = 1 + line(vacuum / (1 + redshift), float(air_to_vacuum(np.array(5269.54))), 150.0)
    spectrum = Spectrum(wavelength, flux, np.ones_like(flux), redshift, medium=medium)
    assert line_width(spectrum, 5269.54)[1] == pytest.approx(0.0, abs=1.0)


def test_the_same_spectrum_in_air_and_in_vacuum_gives_the_same_observation():
    spectrum = sdss_like(resolution=2000.0)
    twin = replace(spectrum, wavelength=vacuum_to_air(spectrum.wavelength), medium="air")
    equal(on_grid(spectrum), on_grid(twin), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("unit", [1e-17, 1e-30, 1e12])
def test_the_unit_of_the_flux_does_not_matter(unit):
    spectrum = sdss_like(noise=np.random.default_rng(0), resolution=2000.0)
    scaled = replace(spectrum, flux=unit * spectrum.flux, ivar=spectrum.ivar / unit**2)
    equal(on_grid(spectrum), on_grid(scaled), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("junk", [np.nan, 0.0, 1e9, -np.inf])
@pytest.mark.parametrize("resolution", [None, 2500.0])
def test_what_masked_pixels_hold_never_matters(junk, resolution):
    rng = np.random.default_rng(1)
    spectrum = sdss_like(noise=rng, resolution=resolution)
    mask = rng.uniform(size=len(spectrum)) < 0.1
    clean = replace(spectrum, mask=mask)
    dirty = replace(spectrum, flux=np.where(mask, junk, spectrum.flux), mask=mask)
    dirty_error = replace(spectrum, ivar=np.where(mask, np.nan, spectrum.ivar))
    for other in (dirty, dirty_error):
        equal(on_grid(clean), on_grid(other), rtol=0, atol=0)


def test_errors_follow_the_flux():
    flux, ivar = arrays(on_grid(sdss_like(lambda rest: 4.0 * np.ones_like(rest), error=0.2)))
    good = ivar > 0
    # equal steps in, equal steps out: a signal-to-noise ratio of 20 stays one of 20
    assert np.median(flux[good] * np.sqrt(ivar[good])) == pytest.approx(20.0, rel=1e-3)


@pytest.mark.parametrize("resolution", [None, 1400.0, 2500.0])
def test_averages_over_windows_have_the_error_that_they_claim(resolution):
    rng = np.random.default_rng(2)
    scores = []
    for _ in range(10):
        error = rng.uniform(0.02, 0.1, size=len(sdss_like()))
        flat = sdss_like(np.ones_like, error=error, noise=rng, redshift=0.08, resolution=resolution)
        flux, ivar = arrays(on_grid(flat, mask_lines=False))
        level = np.average(flux, weights=ivar)
        parts = [a[: 30 * (len(a) // 30)].reshape(-1, 30).sum(-1) for a in (ivar * (flux - level), ivar)]
        scores.append((parts[0] / np.sqrt(np.maximum(parts[1], 1e-9)))[parts[1] > 0])
    # a thousand windows; noise that is shared with the neighbouring window makes the scatter a little smaller
    assert np.concatenate(scores).std() == pytest.approx(0.98, abs=0.07)


def test_data_less_sharp_than_the_library_are_not_smoothed():
    spectrum = sdss_like(noise=np.random.default_rng(3))
    known = replace(spectrum, resolution=np.full(len(spectrum), 1300.0))
    first, second = on_grid(spectrum), on_grid(known)
    assert torch.equal(first.flux, second.flux)
    assert torch.equal(first.ivar, second.ivar)


@pytest.mark.parametrize("centre", [3900.0, 4600.0])
@pytest.mark.parametrize("resolution", [2200.0, 6000.0])
def test_sharper_data_are_smoothed_to_the_resolution_of_the_library(centre, resolution):
    own_kms = C_KMS / (2.354820045 * resolution)
    # fine pixels: rebinning itself then smooths by the width of one output pixel
    wavelength = np.arange(3500.0, 7500.0, 0.1)
    flux = 1 + line(wavelength, centre, own_kms)
    spectrum = Spectrum(wavelength, flux, np.ones_like(flux), 0.0, resolution=resolution, medium="air")
    width, mean = line_width(spectrum, centre)
    library_kms = C_KMS * FWHM / (2.354820045 * centre)
    assert width == pytest.approx(library_kms, rel=0.05)
    # the kernel narrows to the red across the line: a fraction of a per cent of its width
    assert mean == pytest.approx(0.0, abs=3.0)


def test_sharper_data_are_smoothed_only_where_they_are_sharper():
    spectrum = sdss_like(noise=np.random.default_rng(4))
    known = replace(spectrum, resolution=np.full(len(spectrum), 2000.0))
    before, after = (on_grid(s, mask_lines=False).flux[0].numpy() for s in (spectrum, known))
    sigma = np.hypot(C_KMS / (2.354820045 * 2000.0), REBINNING_KMS)
    sharper = sigma < LIBRARY_KMS
    assert 0.1 < sharper.mean() < 0.9
    np.testing.assert_allclose(after[~sharper], before[~sharper], rtol=1e-6)
    changed = sharper & (np.sqrt(np.clip(LIBRARY_KMS**2 - sigma**2, 0, None)) > 15) & (before != 0)
    assert np.mean(np.abs(after[changed] - before[changed]) > 1e-4) > 0.9


def test_badly_measured_pixels_do_not_spoil_their_neighbours():
    # a sky line that was badly subtracted, and is known to be
    bad = np.abs(np.arange(len(sdss_like())) - 500) < 3
    clean = sdss_like(error=np.where(bad, 100.0, 0.01), resolution=2500.0)
    spoilt = replace(clean, flux=clean.flux + 300.0 * bad)
    flux, ivar = arrays(on_grid(clean, mask_lines=False))
    other, _ = arrays(on_grid(spoilt, mask_lines=False))
    # the change is three errors of the bad pixels, and must not become many errors of good ones
    assert np.max(np.abs(other - flux) * np.sqrt(ivar)) < 3.5


def test_the_two_ends_of_a_spectrum_do_not_meet_when_smoothed():
    # both ends of the grid observed, and three times as bright in the red
    spectrum = sdss_like(lambda rest: np.where(rest > 6000, 3.0, 1.0), redshift=0.1, resolution=2500.0)
    flux, ivar = arrays(on_grid(spectrum, mask_lines=False))
    assert ivar[0] > 0
    assert ivar[-1] > 0
    np.testing.assert_allclose(flux[:10], flux[100], rtol=1e-6)
    np.testing.assert_allclose(flux[-10:], flux[-100], rtol=1e-6)


def test_the_resolution_told_is_that_of_the_smoothed_data():
    for resolution in (1000.0, 1900.0, 5000.0):
        told = on_grid(sdss_like(resolution=resolution)).lsf_kms[0].numpy()
        own = np.hypot(C_KMS / (2.354820045 * resolution), REBINNING_KMS)
        library = C_KMS * FWHM / (2.354820045 * np.array(LSF_PIVOTS))
        assert told == pytest.approx(np.maximum(own, library), rel=1e-3)
    assert torch.isnan(on_grid(sdss_like()).lsf_kms).all()


def test_line_windows_are_left_out_unless_asked_for():
    lines = emission_line_mask(GRID.wavelength)
    masked, whole = on_grid(sdss_like()), on_grid(sdss_like(), mask_lines=False)
    assert torch.all(masked.ivar[0, lines] == 0)
    assert torch.all(masked.flux[0, lines] == 0)
    assert torch.all(whole.ivar > 0)
    assert torch.all(masked.ivar[0, ~lines] > 0)


def test_the_age_is_that_of_the_universe_at_the_redshift():
    ages = observe([sdss_like(redshift=z) for z in (0.0, 0.1, 0.3)], GRID, FWHM).age_of_universe
    assert ages.tolist() == pytest.approx([age_of_universe(z) for z in (0.0, 0.1, 0.3)], rel=1e-6)
    # a small blueshift is a motion, not the future
    local = on_grid(sdss_like(redshift=-0.001))
    assert float(local.age_of_universe) == pytest.approx(age_of_universe(0.0), rel=1e-6)


def test_a_batch_is_its_members():
    members = [sdss_like(redshift=z, resolution=r) for z, r in ((0.05, None), (0.2, 2100.0))]
    batch = observe(members, GRID, FWHM)
    for i, member in enumerate(members):
        equal(batch.rows(slice(i, i + 1)), on_grid(member), rtol=0, atol=0)


def test_a_grid_that_ends_before_a_pivot_takes_its_last_pixel():
    short = LogGrid(4100.0, 5500.0)
    assert pivot_pixels(short).tolist() == [
        0,
        int(np.searchsorted(short.wavelength, 5200.0)),
        short.n_pixels - 1,
    ]
    assert observe([sdss_like(resolution=1800.0)], short, FWHM).lsf_kms.shape == (1, 3)


@pytest.mark.parametrize("redshift", [2.0, 9.0])
def test_a_redshift_that_leaves_nothing_on_the_grid_is_refused(redshift):
    spectrum = replace(sdss_like(), redshift=redshift, name="quasar")
    with pytest.raises(SpectrumError, match=r"quasar: only \d+ usable pixels.*check the redshift"):
        on_grid(spectrum)


def test_too_few_good_pixels_are_refused():
    spectrum = sdss_like()
    few = replace(spectrum, mask=np.arange(len(spectrum)) > 200 + MIN_PIXELS // 2)
    with pytest.raises(SpectrumError, match="usable pixels"):
        on_grid(few)


def test_a_negative_mean_flux_is_refused():
    spectrum = sdss_like(lambda rest: -1 + 0 * rest, name="sky")
    with pytest.raises(SpectrumError, match="sky: the mean flux over the usable pixels is -1"):
        on_grid(spectrum)


@pytest.mark.parametrize(
    "file",
    ["spec-0403-51871-0462.fits", "spec-0266-51602-0001.fits", "spec-4055-55359-0006.fits"],
)
def test_real_galaxies_are_at_rest_in_air(shared_data, old_template, file):
    spectrum = sfhflow.read_spectrum(shared_data / "galaxies" / file)
    right = velocity_of(*arrays(on_grid(spectrum)), old_template)
    assert right == pytest.approx(0.0, abs=35.0)
    # mistaking vacuum for air is 83 km/s, which this comparison must see
    wrong = velocity_of(*arrays(on_grid(replace(spectrum, medium="air"))), old_template)
    assert wrong - right == pytest.approx(83.0, abs=15.0)


@pytest.mark.parametrize("bounds", ["100_110", "280_320"])
def test_real_stacks_are_at_rest_in_air(shared_data, old_template, bounds):
    path = shared_data / "stacks" / f"stack_{bounds}.dat"
    spectrum = sfhflow.read_spectrum(path, redshift=0.0, medium="air")
    assert velocity_of(*arrays(on_grid(spectrum)), old_template) == pytest.approx(0.0, abs=35.0)


def test_calcium_k_of_a_real_galaxy_is_at_its_wavelength(shared_data):
    flux, ivar = arrays(on_grid(sfhflow.read_spectrum(shared_data / "galaxies" / "spec-0266-51602-0001.fits")))
    near = (np.abs(GRID.wavelength - 3933.66) < 12) & (ivar > 0)
    side = np.percentile(flux[(np.abs(GRID.wavelength - 3933.66) < 60) & (ivar > 0)], 75)
    depth = np.clip(side - flux[near], 0, None) ** 2
    assert (depth * GRID.wavelength[near]).sum() / depth.sum() == pytest.approx(3933.66, abs=1.5)
