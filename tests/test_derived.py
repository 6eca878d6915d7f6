"""Derived quantities against analytic histories, numerical integration and the torch histories."""

import numpy as np
import pytest
import torch

from sfhflow.derived import (
    LOG_SSFR_FLOOR,
    cumulative_mass,
    log_ssfr,
    mass_weighted_age,
    quantities,
    quenching_time,
    quiescent_probability,
    recent_fraction,
    star_formation_rate,
    time_since_quenching,
)
from sfhflow.errors import InputError
from sfhflow.parameters import FRACTIONS
from sfhflow.sfh import history

AGE = 13.8
MASS = np.diff(FRACTIONS)


@pytest.fixture(scope="module")
def times():
    """Formation times of 50 galaxies with Dirichlet gaps, many of them bursty."""
    gaps = np.random.default_rng(1).dirichlet(np.full(len(FRACTIONS) + 1, 0.5), size=50)
    return AGE * np.clip(np.cumsum(gaps, axis=1)[:, :-1], 0, 1)


def constant(start, end):
    return (start + (end - start) * np.array(FRACTIONS))[None]


def rate_by_hand(row, t):
    """Instantaneous rate of one galaxy at one cosmic time, by looking for the bin."""
    for k, mass in enumerate(MASS):
        if row[k] <= t < row[k + 1]:
            return mass / (row[k + 1] - row[k])
    return 0.0


def test_cumulative_mass_agrees_with_linear_interpolation_of_the_formation_times(times):
    grid = np.linspace(-1, AGE + 1, 301)
    expected = [np.interp(grid, row, FRACTIONS) for row in times]
    np.testing.assert_allclose(cumulative_mass(times, grid), expected, atol=1e-12)


def test_cumulative_mass_agrees_with_the_histories_that_make_the_training_spectra(times):
    grid = np.linspace(0, AGE, 77)
    record = history.StarFormationHistory(torch.as_tensor(times), torch.as_tensor(MASS).expand(len(times), -1))
    expected = history.cumulative_mass(record, torch.as_tensor(grid))
    np.testing.assert_allclose(cumulative_mass(times, grid), expected, atol=1e-12)


def test_an_instantaneous_burst_forms_all_its_mass_at_once():
    burst = np.full((1, len(FRACTIONS)), 3.0)
    np.testing.assert_array_equal(cumulative_mass(burst, [2.999, 3.0, 3.001]), [[0, 1, 1]])
    assert mass_weighted_age(burst, AGE) == pytest.approx(AGE - 3)


def test_binned_rates_conserve_mass_and_tend_to_the_rate_between_formation_times(times):
    edges = np.linspace(0, AGE, 40)
    rates = star_formation_rate(times, edges)
    np.testing.assert_allclose(rates @ np.diff(edges), cumulative_mass(times, [AGE])[:, 0])
    inside = 0.5 * (times[0, :-1] + times[0, 1:])
    narrow = np.sort(np.concatenate([inside - 1e-7, inside + 1e-7]))
    np.testing.assert_allclose(
        star_formation_rate(times[:1], narrow)[0, ::2], [rate_by_hand(times[0], t) for t in inside], rtol=1e-6
    )


def test_mass_weighted_age_agrees_with_numerical_integration(times):
    edges = np.linspace(0, AGE, 20_001)
    formed = np.diff(cumulative_mass(times, edges), axis=1)
    expected = formed @ (AGE - 0.5 * (edges[1:] + edges[:-1]))
    np.testing.assert_allclose(mass_weighted_age(times, AGE), expected, atol=1e-3)


def test_a_constant_rate_over_all_time_has_the_analytic_age_and_specific_rates():
    row = constant(0.0, AGE)
    assert mass_weighted_age(row, AGE) == pytest.approx(AGE / 2)
    for window in (0.01, 0.1, 1.0):
        assert log_ssfr(row, AGE, window) == pytest.approx(-9 - np.log10(AGE))
    assert recent_fraction(row, AGE, 1.0) == pytest.approx(1 / AGE)


def test_a_dead_galaxy_has_the_floor_as_its_specific_rate_and_no_recent_mass():
    row = constant(1.0, 5.0)
    assert log_ssfr(row, AGE, 0.1) == LOG_SSFR_FLOOR
    assert recent_fraction(row, AGE, 1.0) == 0


def test_a_window_longer_than_the_age_of_the_universe_holds_all_the_mass():
    assert recent_fraction(constant(0.1, 0.6), 0.7, 1.0) == 1
    assert log_ssfr(constant(0.1, 0.6), 0.7, 1.0) == pytest.approx(-9)


def test_quenching_is_the_end_of_a_constant_rate_and_undefined_while_it_lasts():
    assert time_since_quenching(constant(1.0, 5.0), AGE) == pytest.approx(AGE - 5)
    assert np.isnan(time_since_quenching(constant(1.0, AGE - 0.001), AGE))


def test_a_trickle_of_late_stars_does_not_delay_quenching():
    row = np.append(np.linspace(1.0, 3.0, len(FRACTIONS) - 1), AGE)[None]
    # 1 % of the mass over 10.8 Gyr: a normalised rate of 0.013
    assert time_since_quenching(row, AGE) == pytest.approx(AGE - 3)


def test_a_late_burst_ends_quiescence():
    row = np.append(np.linspace(1.0, 3.0, len(FRACTIONS) - 2), [AGE - 0.06, AGE - 0.01])[None]
    assert np.isnan(time_since_quenching(row, AGE))
    earlier = np.append(np.linspace(1.0, 3.0, len(FRACTIONS) - 2), [AGE - 0.95, AGE - 0.9])[None]
    assert time_since_quenching(earlier, AGE) == pytest.approx(0.9)


def test_quenching_agrees_with_following_the_specific_rate_back_in_time(times):
    step = 1e-3
    grid = np.arange(AGE, 0, -step) - step / 2
    for row, found in zip(times, time_since_quenching(times, AGE), strict=True):
        formed = np.interp(grid, row, FRACTIONS)
        active = [f > 0 and rate_by_hand(row, t) * t >= 0.2 * f for t, f in zip(grid, formed, strict=True)]
        mean = (1 - np.interp(AGE - 0.1, row, FRACTIONS)) / 0.1
        if mean >= 0.2 / AGE:
            assert np.isnan(found)
        else:
            assert found == pytest.approx(AGE - grid[np.argmax(active)], abs=2 * step)


def test_derived_columns_have_one_value_a_sample(times):
    columns = quantities(times, AGE, metallicity=np.zeros(50), a_v=np.zeros(50))
    assert {"age_mw", "log_ssfr_10myr", "log_ssfr_100myr", "log_ssfr_1gyr", "f_1gyr"} <= set(columns)
    assert all(samples.shape == (50,) for samples, _ in columns.values())
    np.testing.assert_allclose(
        columns["log_ssfr_1gyr"][0], np.log10(np.maximum(columns["f_1gyr"][0] / 1e9, 1e-14))
    )


def test_quenching_time_and_time_since_quenching_make_the_age_of_the_universe(times):
    when, since = quenching_time(times, AGE), time_since_quenching(times, AGE)
    quenched = np.isfinite(when)
    assert 0 < quenched.sum() < len(times)
    np.testing.assert_allclose((when + since)[quenched], AGE)
    assert np.isnan(since[~quenched]).all()
    assert (when[~quenched] == np.inf).all()
    assert quenching_time(constant(1.0, 5.0), AGE) == 5.0


def test_the_probability_of_quiescence_is_the_fraction_of_the_samples():
    dead, alive = np.repeat(constant(1.0, 5.0), 30, axis=0), np.repeat(constant(1.0, AGE), 10, axis=0)
    galaxies = np.stack([np.concatenate([dead, alive]), np.concatenate([alive, alive, alive, alive])])
    np.testing.assert_array_equal(quiescent_probability(quenching_time(galaxies, AGE)), [0.75, 0.0])


def test_all_functions_take_galaxies_before_samples(times):
    batch, ages = times.reshape(5, 10, 13), np.linspace(AGE, AGE + 1, 5)
    for function in (mass_weighted_age, time_since_quenching, lambda t, a: recent_fraction(t, a, 1.0)):
        together = function(batch, ages[:, None])
        np.testing.assert_array_equal(together, [function(t, a) for t, a in zip(batch, ages, strict=True)])
    edges = np.linspace(0, AGE, 9)
    expected = [star_formation_rate(t, edges) for t in batch]
    np.testing.assert_array_equal(star_formation_rate(batch, edges), expected)


def test_times_that_do_not_match_the_fractions_are_refused():
    with pytest.raises(InputError, match=r"\(2, 4\), expected \(..., 13\)"):
        cumulative_mass(np.zeros((2, 4)), [1.0])
    with pytest.raises(InputError, match="rising"):
        cumulative_mass(np.zeros((2, 3)), [1.0], fractions=[0, 1, 0.5])
