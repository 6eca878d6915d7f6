"""Light of histories against sums over the library, closed forms, astropy and published magnitudes."""

from dataclasses import replace

import astropy.constants as const
import astropy.units as u
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import toy
from sfhflow.bands import BANDS
from sfhflow.derived import quantities
from sfhflow.dust import calzetti
from sfhflow.galaxy import StellarPopulations, light_of
from sfhflow.grid import LogGrid
from sfhflow.light import Light, attenuation
from sfhflow.model import load_model
from sfhflow.parameters import FRACTIONS
from sfhflow.sfh.quantile import history_from_times
from sfhflow.ssp import SSPLibrary, load_shipped, open_library
from sfhflow.ssp.weights import age_weights, metallicity_weights

AGE = 13.6


@pytest.fixture(scope="module")
def library():
    return load_shipped()


@pytest.fixture(scope="module")
def light(library):
    return light_of(library)


@pytest.fixture(scope="module")
def galaxies():
    """Formation times and [M/H] of 300 galaxies, from smooth to bursty."""
    rng = np.random.default_rng(2)
    gaps = np.concatenate([rng.dirichlet(np.full(14, alpha), size=100) for alpha in (0.2, 1.0, 5.0)])
    times = AGE * (5e-5 + (1 - 14 * 5e-5) * gaps).cumsum(axis=1)[:, :-1]
    return times, rng.uniform(-2.27, 0.40, 300)


def weights(light, times, metallicity):
    """SSP weights (n, A, Z) as they make the training spectra."""
    history = history_from_times(torch.as_tensor(times))
    ages = torch.as_tensor(light.ages_gyr)
    by_age = age_weights(history.time_edges, history.mass, torch.full((len(times),), AGE).double(), ages)
    by_metallicity = metallicity_weights(torch.as_tensor(metallicity), torch.as_tensor(light.metallicities))
    return (by_age[:, :, None] * by_metallicity[:, None]).numpy()


def test_light_is_that_of_the_populations_that_make_the_training_spectra(light, galaxies):
    times, metallicity = galaxies
    by_ssp = weights(light, times, metallicity)
    stars = light.of(times, AGE, metallicity)
    for name, table in light.bands.items():
        expected = np.einsum("naz,az->n", by_ssp, table)
        np.testing.assert_allclose(stars.bands[name], expected, rtol=5e-3)
        assert np.mean(np.abs(stars.bands[name] / expected - 1)) < 2e-4


def test_the_light_weighted_age_agrees_with_numerical_integration(light, galaxies):
    times, metallicity = galaxies[0][::20], galaxies[1][::20]
    table = light.bands["r"]
    found = light.of(times, AGE, metallicity).age
    for row, mh, age in zip(times, metallicity, found, strict=True):
        at_mh = np.array([np.interp(mh, light.metallicities, by_mh) for by_mh in table])
        # a thousand moments in each bin of constant rate
        moments = row[:-1, None] + np.diff(row)[:, None] * (np.arange(1000) + 0.5) / 1000
        mass = np.diff(FRACTIONS)[:, None] / 1000
        lookback = AGE - moments
        shine = mass * np.interp(np.log(lookback), np.log(light.ages_gyr), at_mh)
        assert age == pytest.approx(np.sum(shine * lookback) / np.sum(shine), rel=2e-3)


def test_a_constant_rate_of_populations_that_fade_as_a_power_has_the_closed_form():
    ages = np.geomspace(0.001, 14.0, 2000)
    light = Light("power", ages, np.array([0.0]), {"r": (ages**-0.5)[:, None]})
    stars = light.of(np.linspace(0.0, AGE, 13)[None], AGE, np.zeros(1), fractions=np.linspace(0, 1, 13))
    # mean of t^-1/2 is 2 T^-1/2, and that of t^1/2 is 2/3 T^1/2, but for the stars of less than 1 Myr
    assert stars.bands["r"][0] == pytest.approx(2 * AGE**-0.5, rel=5e-3)
    assert stars.age[0] == pytest.approx(AGE / 3, rel=5e-3)


def test_a_burst_shines_as_its_population(library, light):
    when = AGE - light.ages_gyr[[5, 20, 40]]
    burst = np.repeat(when[:, None], 13, axis=1)
    mh = light.metallicities[[0, 6, 11]]
    stars = light.of(burst, AGE, mh)
    np.testing.assert_allclose(stars.bands["r"], light.bands["r"][[5, 20, 40], [0, 6, 11]], rtol=2e-3)
    # half a cell of the grid in sqrt(age), and the width that a burst is given
    half_a_cell = 2e-3 * np.sqrt(light.ages_gyr[[5, 20, 40]])
    assert (np.abs(stars.age - light.ages_gyr[[5, 20, 40]]) <= half_a_cell + 2e-5).all()


def test_any_leading_axes_give_what_galaxies_one_at_a_time_give(light, galaxies):
    times, metallicity = galaxies[0].reshape(3, 100, 13), galaxies[1].reshape(3, 100)
    ages = np.array([AGE, AGE + 0.05, AGE + 0.1])
    together = quantities(times, ages[:, None], metallicity=metallicity, a_v=0.3 + 0 * metallicity, light=light)
    for row in range(3):
        parts = {"metallicity": metallicity[row], "a_v": np.full(100, 0.3), "light": light}
        alone = quantities(times[row], ages[row], **parts)
        for name, (samples, unit) in alone.items():
            assert together[name][1] == unit
            np.testing.assert_array_equal(together[name][0][row], samples)


def test_old_and_metal_rich_galaxies_have_high_ratios_of_mass_to_light(light):
    early, late = np.linspace(1.0, 2.0, 13)[None], np.linspace(11.0, AGE - 0.01, 13)[None]
    both = {"a_v": np.zeros(1), "light": light}
    old = quantities(early, AGE, metallicity=np.zeros(1), **both)
    young = quantities(late, AGE, metallicity=np.zeros(1), **both)
    poor = quantities(early, AGE, metallicity=np.full(1, -1.5), **both)
    for name in ("log_ml_r", "log_ml_v"):
        assert poor[name][0] < old[name][0]
        assert young[name][0] < old[name][0] - 0.6
    # young stars shine more, so their age counts more
    assert young["age_lw"][0] < young["age_mw"][0]


@pytest.mark.parametrize("band", sorted(BANDS))
def test_dust_dims_a_band_as_it_dims_the_spectrum(library, light, galaxies, band):
    times, metallicity = galaxies[0][::10], galaxies[1][::10].copy()
    a_v = np.linspace(0.0, 3.0, len(times))
    grid = LogGrid(3600.0, 7350.0, 5e-4)
    populations = StellarPopulations(library, grid, dtype=torch.float64)
    history = history_from_times(torch.as_tensor(times))
    spectra = populations.spectra(history, torch.as_tensor(metallicity), torch.full((len(times),), AGE).double())
    dusty = spectra * calzetti(torch.as_tensor(grid.wavelength), torch.as_tensor(a_v))
    expected = BANDS[band].mean_flux(grid.wavelength, dusty.numpy()) / BANDS[band].solar * populations.unit
    found = light.of(times, AGE, metallicity).bands[band] * 10 ** (-0.4 * attenuation(band, a_v))
    np.testing.assert_allclose(found, expected, rtol=0.01)
    columns = quantities(times, AGE, metallicity=metallicity, a_v=a_v, light=light)
    np.testing.assert_allclose(10 ** -columns[f"log_ml_{band}_dusty"][0], found)


def test_the_sun_in_a_band_agrees_with_astropy_and_its_luminosity_with_the_solar_constant():
    for band in BANDS.values():
        f_nu = band.sun_ab * u.ABmag
        f_lambda = f_nu.to(u.erg / u.s / u.cm**2 / u.AA, u.spectral_density(band.pivot * u.AA))
        luminosity = 4 * np.pi * (10 * u.pc) ** 2 * f_lambda / const.L_sun
        assert band.solar == pytest.approx(luminosity.to_value(1 / u.AA), rel=1e-3)
    # the Sun's irradiance at 5500 Angstrom is 1.86 W / m2 / nm (ASTM E490)
    irradiance = 1.86 * u.W / u.m**2 / u.nm * 4 * np.pi * u.au**2 / const.L_sun
    assert BANDS["v"].solar == pytest.approx(irradiance.to_value(1 / u.AA), rel=0.03)


def test_pivot_wavelengths_are_those_published():
    # Bessell & Murphy (2012) and Doi et al. (2010)
    assert BANDS["v"].pivot == pytest.approx(5490, abs=20)
    assert BANDS["r"].pivot == pytest.approx(6175, abs=10)


def test_the_mean_flux_of_a_flat_spectrum_is_that_flux_on_any_grid():
    for wavelength in (np.arange(4000.0, 7500.0, 3.7), np.geomspace(4500.0, 7200.0, 900)):
        for band in BANDS.values():
            assert band.mean_flux(wavelength, np.full(len(wavelength), 2.0)) == pytest.approx(2.0)
            assert band.weights(wavelength).sum() == pytest.approx(1.0, abs=2e-3)
    band = BANDS["r"]
    assert band.covered(5000.0, 8000.0) == pytest.approx(1.0)
    assert band.covered(5000.0, 5300.0) == 0.0
    assert band.covered(5000.0, 6200.0) + band.covered(6200.0, 8000.0) == pytest.approx(1.0, abs=1e-3)


def test_a_library_that_does_not_reach_a_band_does_not_tell_its_light():
    assert set(light_of(toy.library()).bands) == {"v"}
    assert set(light_of(toy.library(high=7100.0)).bands) == {"r", "v"}
    blue = replace(toy.library().cut(3800.0, 5500.0))
    assert light_of(blue) is None


def test_a_wavelength_in_vacuum_gives_the_light_of_its_air_twin(library):
    # a line of 100 Angstrom in the middle of the band moves by 1.6 Angstrom
    as_vacuum = SSPLibrary(**{**vars(library), "medium": "vacuum"})
    for name, table in light_of(as_vacuum).bands.items():
        np.testing.assert_allclose(table, light_of(library).bands[name], rtol=2e-3)


def test_the_table_survives_the_disk_and_stays_with_the_model(light, tmp_path):
    light.save(tmp_path / "light.safetensors")
    back = Light.load(tmp_path / "light.safetensors")
    assert back.library == light.library
    assert list(back.bands) == list(light.bands)
    for name in light.bands:
        np.testing.assert_array_equal(back.bands[name], light.bands[name])
    model = toy.model()
    model.save(tmp_path / "model")
    assert load_file(tmp_path / "model" / "light.safetensors")
    again = load_model(tmp_path / "model")
    posterior = again.infer(toy.spectra(1)[0], n_samples=10)
    np.testing.assert_array_equal(posterior.light.bands["r"], toy.light().bands["r"])
    again.light = None
    again.save(tmp_path / "model")
    assert load_model(tmp_path / "model").light is None


def test_the_shipped_model_has_the_light_of_its_library(library):
    model = load_model("default")
    assert model.light is not None
    assert model.light.library == model.card["library"]["name"] == library.name
    for name, table in light_of(library).bands.items():
        np.testing.assert_allclose(model.light.bands[name], table, rtol=1e-6)


def test_mass_to_light_ratios_agree_with_those_of_other_models_of_the_same_stars(light, shared_data):
    other = light_of(open_library(shared_data / "ssp" / "miuscat_basti_ku1.30"))
    old, rich = light.ages_gyr >= 2.0, light.metallicities > -0.7
    for name, table in light.bands.items():
        ratio = np.log10(table / other.bands[name])[old][:, rich]
        assert np.abs(ratio).max() < 0.08
        assert abs(ratio.mean()) < 0.05
