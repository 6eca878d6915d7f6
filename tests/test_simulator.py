"""Batches of simulated galaxies: determinism, statistics, physics and files."""

import math

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from sfhflow.dust import DustModel
from sfhflow.grid import C_KMS, LogGrid
from sfhflow.lines import EmissionModel, emission_line_mask
from sfhflow.mismatch import TemplateMismatch
from sfhflow.parameters import FRACTIONS, Bounded, ParameterMap
from sfhflow.prior import Prior
from sfhflow.sfh import QuantileSFH
from sfhflow.simulator import InstrumentModel, Simulator, save_simulation
from sfhflow.ssp import SSPLibrary, load_shipped

N = 300
NO_ERROR = (1e-7, 1e-7)


@pytest.fixture(scope="module")
def library():
    """Every sixth age and third metallicity of the shipped library."""
    full = load_shipped()
    ages = [*range(0, len(full.ages_gyr) - 1, 6), len(full.ages_gyr) - 1]
    metallicities = [*range(0, len(full.metallicities) - 1, 3), len(full.metallicities) - 1]
    flux = full.flux[ages][:, metallicities]
    return SSPLibrary(
        "thin",
        full.ages_gyr[ages],
        full.metallicities[metallicities],
        full.wavelength,
        flux,
        full.fwhm,
        full.medium,
    )


@pytest.fixture(scope="module")
def simulator(library):
    return Simulator(library)


@pytest.fixture(scope="module")
def batch(simulator):
    return simulator.sample(N, seed=1)


def ideal(library, *, sigma=(30.0, 400.0), instrument=None):
    """Simulator of stars, dust and line-spread function alone."""
    return Simulator(
        library,
        prior=Prior(QuantileSFH(), parameters=ParameterMap(sigma_kms=Bounded(*sigma, log=True))),
        instrument=instrument or InstrumentModel(max_shift_kms=0.0, calibration_range=NO_ERROR, arm_step=0.0),
        mismatch=TemplateMismatch(amplitude_range=NO_ERROR, library_amplitude=0.0),
        emission=EmissionModel(probability=0.0),
        dust=DustModel(law="calzetti", slope_range=(0.0, 0.0)),
        grid=LogGrid(3700.0, 6800.0),
    )


def one_resolution(sigma_kms):
    """The same instrumental sigma for all galaxies at all wavelengths, known exactly."""
    return InstrumentModel(
        sigma_range_kms=(sigma_kms, sigma_kms),
        slope_range=(0.0, 0.0),
        unknown_probability=0.0,
        resolution_error=0.0,
        max_shift_kms=0.0,
        calibration_range=NO_ERROR,
        arm_step=0.0,
    )


def tensors(simulation):
    return [simulation.u, simulation.noiseless, *simulation.galaxy, *simulation.observation]


def same(first, second):
    return all(
        torch.equal(a.nan_to_num(-1), b.nan_to_num(-1))
        for a, b in zip(tensors(first), tensors(second), strict=True)
    )


def test_a_seed_gives_the_same_batch_bit_for_bit(simulator, library, batch):
    assert same(simulator.sample(N, seed=1), batch)
    assert same(Simulator(library).sample(N, seed=1), batch)
    # nor does the state of the global generator matter
    torch.manual_seed(99)
    assert same(simulator.sample(N, seed=1), batch)


def test_other_seeds_give_other_batches(simulator, batch):
    other = simulator.sample(N, seed=2)
    for a, b in zip(tensors(other), tensors(batch), strict=True):
        assert not torch.equal(a, b)


def test_shapes_and_types(simulator, batch):
    n_pixels = simulator.grid.n_pixels
    assert batch.u.shape == (N, simulator.prior.parameters.n_features)
    assert batch.noiseless.shape == batch.observation.flux.shape == batch.observation.ivar.shape == (N, n_pixels)
    assert batch.observation.lsf_kms.shape == (N, 3)
    assert batch.observation.age_of_universe.shape == (N,)
    assert {t.dtype for t in (batch.u, *batch.observation)} == {torch.float32}


def test_everything_is_finite_and_fluxes_are_positive(batch):
    assert torch.isfinite(batch.u).all()
    assert torch.isfinite(batch.observation.flux).all()
    assert torch.isfinite(batch.observation.ivar).all()
    assert torch.all(batch.noiseless > 0)
    assert float(batch.noiseless.mean()) == pytest.approx(1.0, abs=0.01)


def test_the_residuals_have_the_variance_of_shifted_noise_with_misjudged_errors(batch, simulator):
    flux, ivar = batch.observation.flux, batch.observation.ivar
    score = ((flux - batch.noiseless) * ivar.sqrt())[ivar > 0].double()
    # half a million pixels
    expected = 2 / 3 * math.exp(2 * simulator.noise.error_scatter**2)
    assert float(score.square().mean()) == pytest.approx(expected, rel=0.1)
    assert float(score.mean()) == pytest.approx(0.0, abs=0.006)


def test_missing_pixels_hold_neither_flux_nor_information(batch):
    flux, ivar = batch.observation.flux, batch.observation.ivar
    assert torch.equal(flux == 0, ivar == 0)
    share = (ivar == 0).float().mean()
    assert 0.2 < float(share) < 0.6
    assert int((ivar > 0).sum(-1).min()) > 100


def test_line_windows_are_missing_in_most_spectra(simulator, batch):
    lines = torch.as_tensor(emission_line_mask(simulator.grid.wavelength))
    has_lines = (batch.observation.ivar[:, lines] > 0).any(-1)
    assert float(has_lines.float().mean()) == pytest.approx(0.15, abs=0.07)


def test_coordinates_and_parameters_tell_the_same(simulator, batch):
    age = batch.observation.age_of_universe.double()
    galaxy = simulator.prior.parameters.to_physical(batch.u.double(), age)
    torch.testing.assert_close(galaxy.times, batch.galaxy.times, rtol=0, atol=1e-5)
    torch.testing.assert_close(galaxy.metallicity, batch.galaxy.metallicity, rtol=0, atol=1e-4)
    torch.testing.assert_close(galaxy.sigma_kms, batch.galaxy.sigma_kms, rtol=1e-4, atol=0)


def test_the_resolution_is_sometimes_unknown_and_otherwise_within_its_range(simulator):
    lsf = torch.cat([simulator.sample(N, seed=s).observation.lsf_kms for s in (3, 4)])
    unknown = torch.isnan(lsf)
    assert torch.equal(unknown.any(-1), unknown.all(-1))
    assert float(unknown[:, 0].float().mean()) == pytest.approx(0.15, abs=0.05)
    at_5200 = lsf[~unknown[:, 1], 1]
    # told with an error of 5 %; never sharper than the library, 61 km/s there
    assert 61.5 * 0.8 < float(at_5200.min()) < 70
    assert 150 < float(at_5200.max()) < 200 * 1.2


def test_a_larger_dispersion_is_the_same_spectrum_convolved(library):
    # with one seed, everything but the velocity dispersion is the same
    narrow, wide = (ideal(library, sigma=(s, s * (1 + 1e-6))).sample(20, seed=5) for s in (100.0, 300.0))
    assert torch.equal(narrow.galaxy.metallicity, wide.galaxy.metallicity)
    step = LogGrid().velocity_step_kms
    kernel = np.exp(-0.5 * (np.arange(-40, 41) * step / np.sqrt(300.0**2 - 100.0**2)) ** 2)
    for before, after in zip(narrow.noiseless.double().numpy(), wide.noiseless.double().numpy(), strict=True):
        expected = np.convolve(before, kernel / kernel.sum(), "same")[50:-50]
        ratio = after[50:-50] / expected
        np.testing.assert_allclose(ratio / ratio.mean(), 1.0, atol=2e-3)


def test_a_poorer_resolution_is_the_same_spectrum_convolved(library):
    fine, coarse = (
        ideal(library, sigma=(100.0, 400.0), instrument=one_resolution(s)).sample(20, seed=6)
        for s in (100.0, 200.0)
    )
    torch.testing.assert_close(fine.observation.lsf_kms, torch.full((20, 3), 100.0))
    kernel = np.exp(-0.5 * (np.arange(-40, 41) * LogGrid().velocity_step_kms / np.sqrt(3e4)) ** 2)
    for before, after in zip(fine.noiseless.double().numpy(), coarse.noiseless.double().numpy(), strict=True):
        ratio = after[50:-50] / np.convolve(before, kernel / kernel.sum(), "same")[50:-50]
        np.testing.assert_allclose(ratio / ratio.mean(), 1.0, atol=2e-3)


def test_an_ideal_spectrum_is_the_dusty_sum_of_ssps_that_its_parameters_say(library):
    # slow: the library's own interpolation along the history, Calzetti dust, sampled kernel
    simulation = ideal(library, instrument=one_resolution(100.0)).sample(3, seed=7)
    grid = LogGrid(3700.0, 6800.0)
    use = np.arange(60, grid.n_pixels - 60, 7)
    for i in range(3):
        galaxy = [field[i].numpy() for field in simulation.galaxy]
        times, metallicity, a_v, sigma = galaxy
        age = float(simulation.observation.age_of_universe[i])
        total = np.zeros(len(library.wavelength))
        for low, high, share in zip(times[:-1], times[1:], np.diff(FRACTIONS), strict=True):
            lookback = age - low - (high - low) * (np.arange(60) + 0.5) / 60
            total += share * library.interpolate(np.maximum(lookback, library.ages_gyr[0]), metallicity).mean(0)
        micron = library.wavelength / 1e4
        blue = 2.659 * (-2.156 + 1.509 / micron - 0.198 / micron**2 + 0.011 / micron**3) + 4.05
        red = 2.659 * (-1.857 + 1.040 / micron) + 4.05
        total *= 10 ** (-0.4 * float(a_v) * np.where(micron < 0.63, blue, red) / 4.05)
        # direct sums over the library's pixels, which are equal steps of wavelength, not of its logarithm
        expected = np.empty(len(use))
        for k, pixel in enumerate(use):
            velocity = C_KMS * np.log(library.wavelength / grid.wavelength[pixel])
            library_kms = C_KMS * library.fwhm / (2.354820045 * grid.wavelength[pixel])
            variance = float(sigma) ** 2 + 100.0**2 - library_kms**2
            kernel = np.exp(-0.5 * velocity**2 / variance) / library.wavelength
            expected[k] = (kernel * total).sum() / kernel.sum()
        ratio = simulation.noiseless[i, use].double().numpy() / expected
        assert np.max(np.abs(ratio / ratio.mean() - 1)) < 5e-3
        assert np.std(ratio / ratio.mean()) < 1e-3


def test_a_redshift_error_moves_all_lines_together(library):
    instrument = InstrumentModel(max_shift_kms=100.0, calibration_range=NO_ERROR, arm_step=0.0)
    moved, still = (
        ideal(library, instrument=i, sigma=(100.0, 200.0)).sample(30, seed=8) for i in (instrument, None)
    )
    step = LogGrid().velocity_step_kms
    shifts = []
    for a, b in zip(moved.noiseless.double(), still.noiseless.double(), strict=True):
        # least squares for a small shift: a - b = -shift * db/dpixel
        slope = torch.gradient(b)[0]
        middle = slice(100, -100)
        shifts.append(float(-((a - b) * slope)[middle].sum() / (slope**2)[middle].sum()) * step)
    assert max(np.abs(shifts)) < 115
    assert np.std(shifts) == pytest.approx(100 / np.sqrt(3), rel=0.3)
    assert abs(np.mean(shifts)) < 35


def test_a_library_that_is_too_short_is_refused(library):
    with pytest.raises(ValueError, match=r"covers 3540.*wider library"):
        Simulator(library, grid=LogGrid(3300.0, 7350.0))


def test_a_short_grid_works_to_the_last_pivot(library):
    short = Simulator(library, grid=LogGrid(4020.0, 5500.0))
    assert short.sample(5, seed=0).observation.lsf_kms.shape == (5, 3)


def test_a_file_holds_observations_and_truth(simulator, tmp_path):
    path = tmp_path / "simulated.safetensors"
    save_simulation(simulator, path, n=20, seed=3)
    stored = load_file(path)
    expected = {"flux", "ivar", "lsf_kms", "age_of_universe", "wavelength", "fractions"}
    assert set(stored) == expected | {"times", "metallicity", "a_v", "sigma_kms"}
    assert stored["flux"].shape == (20, simulator.grid.n_pixels)
    assert stored["times"].shape == (20, len(FRACTIONS))
    np.testing.assert_allclose(stored["wavelength"], simulator.grid.wavelength)
    np.testing.assert_allclose(stored["fractions"], FRACTIONS)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"library": "thin", "seed": "3"}


def test_the_first_galaxies_of_a_file_do_not_depend_on_their_number(simulator, tmp_path):
    for n in (10, 520):
        save_simulation(simulator, tmp_path / f"{n}", n=n, seed=0)
    few, many = load_file(tmp_path / "10"), load_file(tmp_path / "520")
    assert len(many["flux"]) == 520
    for key in ("flux", "ivar", "times", "metallicity"):
        assert torch.equal(few[key], many[key][:10])
    assert len(many["metallicity"].unique()) == 520


def test_files_of_different_seeds_share_no_galaxy(simulator, tmp_path):
    for name, n, seed in (("a", 520, 0), ("b", 10, 1)):
        save_simulation(simulator, tmp_path / name, n=n, seed=seed)
    first, second = (set(load_file(tmp_path / name)["metallicity"].tolist()) for name in "ab")
    assert not first & second
    # nor with a training batch of the same size, whose seeds count up from zero
    assert not first & set(simulator.sample(512, seed=0).galaxy.metallicity.tolist())
    assert not first & set(simulator.sample(512, seed=1).galaxy.metallicity.tolist())


def test_zero_points_leave_no_galaxy_outside_the_library(library):
    simulator = Simulator(library, mismatch=TemplateMismatch(metallicity_zero_point=3.0))
    batch = simulator.sample(64, seed=3)
    assert torch.isfinite(batch.noiseless).all()
