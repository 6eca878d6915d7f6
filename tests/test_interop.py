"""Posteriors in the form of other packages: each read back by the rule of the package it is made for."""

from dataclasses import replace

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.table import QTable

import toy
from sfhflow import interop
from sfhflow.derived import LOG_SSFR_FLOOR, all_columns, cumulative_mass, log_ssfr
from sfhflow.errors import InputError, LibraryError
from sfhflow.parameters import FRACTIONS
from sfhflow.sfh.gp import gp_sfr

MASS = 3e10


@pytest.fixture(scope="module")
def posterior():
    return toy.model().infer(toy.spectra(1)[0], n_samples=200, seed=1)


@pytest.fixture(scope="module")
def constant(posterior):
    """A constant star formation rate since the Big Bang in every sample."""
    return replace(posterior, times=np.tile(posterior.age_of_universe * np.array(FRACTIONS), (len(posterior), 1)))


def test_arviz_holds_every_quantity_with_its_unit_and_the_spectrum(posterior):
    arviz = pytest.importorskip("arviz", exc_type=ImportError)
    data = interop.to_inference_data(posterior)
    columns = all_columns(posterior)
    assert set(data.posterior.data_vars) == set(columns)
    for name, (samples, unit) in columns.items():
        np.testing.assert_array_equal(data.posterior[name].values, samples[None])
        assert data.posterior[name].attrs["unit"] == unit
    summary = arviz.summary(data, var_names=["t50", "mh"], kind="stats")
    np.testing.assert_allclose(
        summary["mean"].astype(float), [columns[n][0].mean() for n in ("t50", "mh")], atol=0.01
    )
    assert data.posterior.attrs["verdict_ok"] == posterior.verdict.ok
    flux = data.observed_data["flux"]
    np.testing.assert_array_equal(flux["wavelength"].values, posterior.spectrum.wavelength)
    np.testing.assert_array_equal(np.isnan(flux.values), posterior.spectrum.mask)


@pytest.mark.filterwarnings("ignore:The unit", "ignore:Keyword name")
@pytest.mark.parametrize("kind", ["ecsv", "fits"])
def test_the_table_of_samples_has_units_and_survives_a_file(posterior, tmp_path, kind):
    table = interop.to_table(posterior)
    assert (len(table), set(table.colnames)) == (len(posterior), set(all_columns(posterior)))
    assert table["t50"].to(u.Myr).value == pytest.approx(1e3 * posterior.formation_times[:, 4])
    rate = table["log_ssfr_1gyr"].physical.to_value(1 / u.Gyr)
    assert np.log10(rate) - 9 == pytest.approx(log_ssfr(posterior.times, posterior.age_of_universe, 1.0))
    path = tmp_path / f"samples.{kind}"
    table.write(path)
    again = QTable.read(path)
    np.testing.assert_allclose(again["sigma"].to_value("km/s"), posterior.sigma_kms)
    assert again["quiescent_for"].unit == u.Gyr


def test_a_constant_history_has_one_rate_in_every_bin(constant):
    table = interop.sfh_table(constant, mass=MASS)
    expected = MASS / (1e9 * constant.age_of_universe)
    for name in ("median", "p16", "p97_5"):
        np.testing.assert_allclose(table[f"sfr_{name}"].to_value("Msun/yr"), expected)
    assert table["mass_median"].sum().to_value("Msun") == pytest.approx(MASS)
    assert table["lookback_start"][0] == 0 * u.Gyr
    assert table["lookback_end"][-1].to_value("Gyr") == pytest.approx(constant.age_of_universe)


def test_prospectors_own_rule_makes_the_masses_of_the_ratios(posterior):
    """`logsfr_ratios_to_masses`: m_i = m_1 prod_{j<i} (dt_{j+1} / dt_j) / ratio_j, with sum m = 10**logmass."""
    given = interop.prospector_continuity(posterior, mass=MASS)
    width = np.diff(10 ** given["agebins"], axis=1)[:, 0]
    steps = width[1:] / width[:-1] * 10 ** -given["logsfr_ratios"]
    masses = np.cumprod(np.hstack([np.ones((len(steps), 1)), steps]), axis=1)
    # rates count as at least 1e-14 a year in ratios
    floor = MASS * 1e9 * posterior.age_of_universe * 10.0**LOG_SSFR_FLOOR
    masses *= 10 ** given["logmass"][:, None] / masses.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(masses, given["mass"], atol=floor)
    formed = cumulative_mass(posterior.times, np.array([posterior.age_of_universe - 0.1]))[:, 0]
    np.testing.assert_allclose(given["mass"][:, :2].sum(axis=1), MASS * (1 - formed), atol=1e-6 * MASS)


def test_bagpipes_own_rule_makes_the_rates_of_the_steps(posterior):
    """`continuity`: edges from the oldest on, the rate of bin i is 10**(dsfr_1 + ... + dsfr_{i-1})."""
    edges = np.array([0.0, 0.05, 1.0, 5.0, posterior.age_of_universe])
    given = interop.bagpipes_continuity(posterior, edges, mass=MASS)
    oldest_first = given["bin_edges"][::-1] * 1e6
    steps = np.array([given[f"dsfr{i}"] for i in range(1, 4)])
    rates = np.array([10 ** np.sum(steps[:i], axis=0) for i in range(4)])
    masses = rates * -np.diff(oldest_first)[:, None]
    # rates count as at least 1e-14 a year in ratios
    floor = MASS * 1e9 * posterior.age_of_universe * 10.0**LOG_SSFR_FLOOR
    masses *= 10 ** given["massformed"] / masses.sum(axis=0)
    by = posterior.age_of_universe - edges[::-1]
    truth = MASS * np.diff(cumulative_mass(posterior.times, by), axis=1)
    np.testing.assert_allclose(masses.T, truth, atol=floor)
    np.testing.assert_allclose(np.log10(given["metallicity"]), posterior.metallicity)


def test_tuples_describe_the_history_as_dense_basis_reads_them(constant, posterior):
    tuples = interop.sfh_tuples(constant, log_mass=10.0)
    rate = np.log10(1e10 / (1e9 * constant.age_of_universe))
    np.testing.assert_allclose(tuples[0], [10.0, rate, 3, 0.25, 0.5, 0.75])
    # a smooth history made from a tuple gives that tuple back
    given = torch.tensor([[10.0, rate, 4, 0.15, 0.3, 0.5, 0.75], [10.0, rate - 1, 4, 0.2, 0.35, 0.55, 0.7]])
    sfr, cosmic = gp_sfr(given.double(), posterior.age_of_universe)
    formed = np.cumsum(sfr.numpy(), axis=1) / np.sum(sfr.numpy(), axis=1, keepdims=True)
    times = [np.interp(FRACTIONS, *curves) for curves in zip(formed, cosmic.numpy(), strict=True)]
    made = interop.sfh_tuples(replace(posterior, times=np.array(times)), 4, log_mass=10.0)
    np.testing.assert_allclose(made[:, 3:], given[:, 3:], atol=0.02)


def test_weights_remake_the_spectrum_and_turn_into_light(posterior):
    library = toy.library()
    weights = interop.ssp_weights(posterior, library.ages_gyr, library.metallicities)
    assert weights.shape == (200, *library.shape[:2])
    np.testing.assert_allclose(weights.sum(axis=(1, 2)), 1)
    np.testing.assert_allclose((weights.sum(axis=1) @ library.metallicities), posterior.metallicity, atol=1e-6)
    # the galaxy as a plain sum over short steps of time
    age, row = posterior.age_of_universe, 7
    edges = np.linspace(0, age, 40_001)
    mass = np.diff(cumulative_mass(posterior.times[[row]], edges)[0])
    lookback = np.clip(age - 0.5 * (edges[1:] + edges[:-1]), library.ages_gyr[0], None)
    direct = mass @ library.interpolate(lookback, np.full(len(lookback), posterior.metallicity[row]))
    np.testing.assert_allclose(np.tensordot(weights[row], library.flux), direct, rtol=1e-4)
    light = interop.light_per_mass(library)
    luminous = interop.ssp_weights(posterior, library.ages_gyr, library.metallicities, light=light)
    np.testing.assert_allclose(luminous.sum(axis=(1, 2)), 1)
    log_age = np.log10(library.ages_gyr)
    # young stars are bright: ages weighted by light are younger
    assert np.all((luminous.sum(axis=2) - weights.sum(axis=2)) @ log_age < 0)


def test_what_cannot_be_is_refused_in_a_sentence(posterior):
    age = posterior.age_of_universe
    for wrong in ([0, 5], [0, 5, 4, age], [0.1, age], [[0, age]]):
        with pytest.raises(InputError, match=r"edges_gyr.*expected.*correct"):
            interop.sfh_table(posterior, wrong)
    with pytest.raises(InputError, match=r"mass is -1.*expected"):
        interop.sfh_table(posterior, mass=-1)
    with pytest.raises(InputError, match="n_bins is 3"):
        interop.default_edges(age, 3)
    with pytest.raises(InputError, match="n_times is 0"):
        interop.sfh_tuples(posterior, 0)
    with pytest.raises(InputError, match="band is 100 to 200"):
        interop.light_per_mass(toy.library(), (100.0, 200.0))
    with pytest.raises(LibraryError, match="oldest"):
        interop.ssp_weights(posterior, [0.1, 1.0], [-3.0, 1.0])
    with pytest.raises(InputError, match="light has shape"):
        interop.ssp_weights(posterior, [0.1, 15.0], [-3.0, 1.0], light=[1.0])
