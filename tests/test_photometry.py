"""Luminosities and masses against astropy and a galaxy built by hand."""

from dataclasses import replace

import astropy.units as u
import numpy as np
import pytest
from astropy.cosmology import Planck18

import toy
from sfhflow.bands import BANDS
from sfhflow.derived import all_columns, quantities
from sfhflow.errors import SpectrumError
from sfhflow.grid import air_to_vacuum
from sfhflow.light import attenuation
from sfhflow.photometry import distance_mpc, flux_scale, log_luminosities
from sfhflow.posterior import Posterior
from sfhflow.spectrum import Spectrum
from sfhflow.verdict import Verdict

REDSHIFT = 0.1
REST = np.arange(3700.0, 7300.0, 2.0)
UNIT = "1e-17 erg / (s cm2 Angstrom)"


def galaxy(luminosity, *, redshift=REDSHIFT, distance=None, unit=UNIT, **changes):
    """Spectrum of a source with `luminosity` in Lsun / Angstrom at the rest-frame air wavelengths `REST`."""
    metres = Planck18.luminosity_distance(redshift) if distance is None else distance * u.Mpc
    flux = luminosity * u.L_sun / u.AA / (4 * np.pi * metres**2 * (1 + redshift))
    flux = flux.to_value(1e-17 * u.erg / u.s / u.cm**2 / u.AA)
    parts = {
        "wavelength": air_to_vacuum(REST) * (1 + redshift),
        "flux": flux,
        "ivar": 1e4 / np.abs(flux).mean() ** 2 * np.ones(len(REST)),
        "redshift": redshift,
        "flux_unit": unit,
    }
    return Spectrum(**{**parts, **changes})


def in_band(luminosity, name):
    return np.log10(BANDS[name].mean_flux(REST, luminosity) / BANDS[name].solar)


@pytest.mark.parametrize("redshift", [0.01, 0.1, 0.4])
def test_a_luminosity_comes_back_from_the_flux_at_any_redshift(redshift):
    luminosity = 1e6 * (REST / 5500.0) ** 1.5
    found = log_luminosities(galaxy(luminosity, redshift=redshift))
    assert found["r"] == pytest.approx(in_band(luminosity, "r"), abs=1e-3)
    assert np.isnan(found["v"])


def test_a_spectrum_that_ends_before_the_r_band_is_measured_in_v():
    luminosity = 1e6 * (REST / 5500.0) ** 1.5
    whole = galaxy(luminosity)
    cut = whole.with_mask(REST > 6600.0)
    assert np.isnan(log_luminosities(cut)["r"])
    assert log_luminosities(cut)["v"] == pytest.approx(in_band(luminosity, "v"), abs=1e-3)
    assert all(np.isnan(value) for value in log_luminosities(whole.with_mask(REST > 5500.0)).values())


def test_emission_lines_and_gaps_do_not_count():
    luminosity = 1e6 * (REST / 5500.0) ** 1.5
    lines = luminosity + 3e7 * np.exp(-0.5 * ((REST - 6563.0) / 4.0) ** 2)
    gap = np.abs(REST - 6100.0) < 15.0
    spoilt = galaxy(np.where(gap, 1e9, lines)).with_mask(gap)
    assert log_luminosities(spoilt)["r"] == pytest.approx(in_band(luminosity, "r"), abs=2e-3)
    # the line alone would add a tenth
    assert in_band(lines, "r") > in_band(luminosity, "r") + 0.02


def test_a_distance_that_is_given_wins_over_the_redshift():
    luminosity = 1e6 + 0 * REST
    spectrum = galaxy(luminosity, redshift=0.002, distance=20.0)
    assert distance_mpc(spectrum) is None
    assert np.isnan(log_luminosities(spectrum)["r"])
    told = replace(spectrum, distance_mpc=20.0)
    assert log_luminosities(told)["r"] == pytest.approx(in_band(luminosity, "r"), abs=1e-3)
    assert distance_mpc(galaxy(luminosity)) == pytest.approx(Planck18.luminosity_distance(0.1).value, rel=1e-5)


@pytest.mark.parametrize("distance", [0.0, -3.0, np.inf, np.nan])
def test_an_impossible_distance_is_refused(distance):
    with pytest.raises(SpectrumError, match="positive number of Mpc"):
        galaxy(1e6 + 0 * REST, distance_mpc=distance)


@pytest.mark.parametrize(
    ("text", "scale"),
    [
        ("1e-17 erg / (s cm2 Angstrom)", 1e-17),
        ("1E-17 erg/cm^2/s/Ang", 1e-17),
        ("10**(-20)*erg/s/cm**2/Angstrom", 1e-20),
        ("10^-17 erg/s/cm^2/Angstrom", 1e-17),
        ("1E-17 erg/s/cm^2/Ang/spaxel", 1e-17),
        ("10**-17 erg s-1 cm-2 Angstrom-1", 1e-17),
        ("erg/s/cm^2/A", 1.0),
        ("erg / (Angstrom cm2 s)", 1.0),
        ("W m-2 um-1", 0.1),
        ("", None),
        ("adu", None),
        ("1e-17 erg/s/cm^2/A/arcsec^2", None),
        ("Jy", None),
        ("relative", None),
    ],
)
def test_units_are_read_as_files_write_them(text, scale):
    assert flux_scale(text) == (None if scale is None else pytest.approx(scale))


def test_no_unit_no_light_and_no_signal_mean_no_luminosity():
    luminosity = 1e6 + 0 * REST
    assert np.isnan(log_luminosities(galaxy(luminosity, unit=""))["r"])
    assert np.isnan(log_luminosities(galaxy(-luminosity))["r"])
    noise = np.random.default_rng(1).normal(0, 1, len(REST))
    assert np.isnan(log_luminosities(galaxy(1e6 * noise, ivar=np.full(len(REST), 1e-9)))["r"])


def posterior_of(spectrum, light, *, n=50):
    rng = np.random.default_rng(4)
    age = Planck18.age(REDSHIFT).value
    times = age * rng.dirichlet(np.full(14, 1.0), size=n).cumsum(axis=1)[:, :-1]
    mh, a_v = rng.uniform(-1, 0.2, n), rng.uniform(0, 1, n)
    verdict = Verdict(ok=True, reasons=(), scores={})
    return Posterior(times, mh, a_v, np.full(n, 150.0), age, spectrum, verdict, 0, "toy", light=light)


def test_the_mass_of_each_sample_makes_the_observed_light():
    luminosity = 1e6 * (REST / 5500.0) ** 1.5
    light = toy.light()
    posterior = posterior_of(galaxy(luminosity), light)
    columns = all_columns(posterior)
    assert columns["log_mass"][1] == "dex(Msun)"
    mass = 10 ** columns["log_mass"][0]
    stars = light.of(posterior.times, posterior.age_of_universe, posterior.metallicity)
    shines = mass * stars.bands["r"] * 10 ** (-0.4 * attenuation("r", posterior.a_v))
    np.testing.assert_allclose(np.log10(shines), in_band(luminosity, "r"), atol=1e-3)


def test_without_unit_or_light_there_is_no_mass_but_everything_else():
    posterior = posterior_of(galaxy(1e6 + 0 * REST, unit=""), toy.light())
    columns = all_columns(posterior)
    assert np.isnan(columns["log_mass"][0]).all()
    assert np.isfinite(columns["log_ml_r"][0]).all()
    dark = all_columns(replace(posterior, light=None))
    assert set(columns) - set(dark) == {
        *("age_lw", "log_mass", "log_ml_r", "log_ml_v", "log_ml_r_dusty", "log_ml_v_dusty"),
    }


def test_each_galaxy_of_a_batch_takes_the_band_it_was_measured_in():
    times = np.broadcast_to(np.linspace(1.0, 12.0, 13), (2, 4, 13))
    zeros = np.zeros((2, 4))
    measured = {"r": np.array([[10.0], [np.nan]]), "v": np.array([[np.nan], [9.0]])}
    parts = {"metallicity": zeros, "a_v": zeros + 0.5, "light": toy.light(), "log_luminosity": measured}
    columns = quantities(times, np.full((2, 1), 13.0), **parts)
    np.testing.assert_allclose(columns["log_mass"][0][0], 10.0 + columns["log_ml_r_dusty"][0][0])
    np.testing.assert_allclose(columns["log_mass"][0][1], 9.0 + columns["log_ml_v_dusty"][0][1])
