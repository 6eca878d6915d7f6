"""The verdict: few false alarms on clean spectra, an alarm on what the model has never seen."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import toy
from sfhflow.noise import NoiseModel
from sfhflow.verdict import FALSE_ALARMS, Verdict, calibrate, judge, scores

ORDINARY = NoiseModel(snr_range=(40.0, 80.0), full_probability=1.0, max_gaps=0)


@pytest.fixture(scope="module")
def encoder():
    return toy.model().network.encoder


@pytest.fixture(scope="module")
def thresholds(encoder):
    return calibrate(scores(encoder, toy.simulator().sample(8192, seed=100).observation))


def reasons(encoder, thresholds, data):
    raw = scores(encoder, data)
    rows = range(len(data.flux))
    return [judge({name: float(s[row]) for name, s in raw.items()}, thresholds).reasons for row in rows]


def ordinary(n=50, **changes):
    return toy.simulator(noise=replace(ORDINARY, **changes)).sample(n, seed=11).observation


def test_one_in_a_hundred_clean_spectra_raises_an_alarm(encoder, thresholds):
    found = reasons(encoder, thresholds, toy.simulator().sample(8192, seed=200).observation)
    # at most the sum of the scores' shares; less where two scores raise it together.  The standard errors of
    # the calibration and of this sample, 0.0011 each, add in quadrature
    assert 0.5 * FALSE_ALARMS < np.mean([bool(names) for names in found]) < FALSE_ALARMS + 4 * 0.0016


def test_thresholds_share_the_false_alarms_equally():
    g = torch.Generator().manual_seed(0)
    limits = calibrate({"a": torch.rand(100_000, generator=g), "b": 10 * torch.rand(100_000, generator=g)})
    assert limits["a"] == pytest.approx(1 - FALSE_ALARMS / 2, abs=1e-3)
    assert limits["b"] == pytest.approx(10 * limits["a"], rel=1e-3)


def test_an_ordinary_galaxy_raises_no_alarm(encoder, thresholds):
    assert np.mean([bool(names) for names in reasons(encoder, thresholds, ordinary())]) < 0.05


def noise_alone(data):
    g = torch.Generator().manual_seed(0)
    return data._replace(
        flux=data.flux.mean() * (1 + 3 * torch.randn(data.flux.shape, generator=g)) * (data.ivar > 0)
    )


def upside_down(data):
    return data._replace(flux=2 * data.flux.mean(-1, keepdim=True) * (data.ivar > 0) - data.flux)


def shifted(data):
    return data._replace(flux=data.flux.roll(25, -1) * (data.ivar > 0))


def line_forest(data):
    spikes = torch.zeros(data.flux.shape[1])
    spikes[20::15] = 1.0
    return data._replace(flux=data.flux * (1 + spikes))


@pytest.mark.parametrize("harm", [noise_alone, upside_down, shifted, line_forest])
def test_a_spectrum_that_is_no_galaxy_raises_an_alarm(encoder, thresholds, harm):
    data = harm(ordinary(snr_range=(80.0, 81.0)))
    assert np.mean([bool(names) for names in reasons(encoder, thresholds, data)]) > 0.95


def test_a_good_fit_of_impossible_stars_is_outside_the_training(encoder, thresholds):
    data = ordinary(8)
    strange = encoder.mean + 8.0 * encoder.components[2]
    error = strange.abs() / 100
    data = data._replace(flux=strange.expand(8, -1), ivar=error.expand(8, -1) ** -2)
    assert reasons(encoder, thresholds, data) == [("outside_training",)] * 8


def test_a_spectrum_without_information_is_called_uninformative(encoder, thresholds):
    faint = ordinary(snr_range=(0.2, 0.3))
    assert all("uninformative" in names for names in reasons(encoder, thresholds, faint))


def test_a_galaxy_beyond_the_redshifts_of_the_prior_is_named(encoder, thresholds):
    data = ordinary()
    early = data._replace(age_of_universe=torch.full_like(data.age_of_universe, 8.0))
    assert all("high_redshift" in names for names in reasons(encoder, thresholds, early))


def test_scores_do_not_depend_on_the_unit_of_the_flux(encoder):
    data = ordinary(10)
    other = data._replace(flux=data.flux * 1e6, ivar=data.ivar / 1e12)
    for name, value in scores(encoder, data).items():
        torch.testing.assert_close(scores(encoder, other)[name], value, rtol=1e-4, atol=1e-6)


def test_scores_are_relative_to_their_thresholds_and_reasons_are_those_above_one():
    verdict = judge({"a": 1.0, "b": 3.0, "not a threshold": 99.0}, {"a": 2.0, "b": 2.0})
    assert verdict == Verdict(ok=False, reasons=("b",), scores={"a": 0.5, "b": 1.5})
    assert judge({"a": 2.0}, {"a": 2.0}).ok


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_not_a_finite_number_is_an_alarm(score):
    verdict = judge({"a": score}, {"a": 2.0})
    assert not verdict.ok
    assert verdict.reasons == ("a",)


def test_a_score_can_be_added_later():
    verdict = judge({"a": 1.0}, {"a": 2.0})
    assert verdict.with_score("b", 0.9) == Verdict(ok=True, reasons=(), scores={"a": 0.5, "b": 0.9})
    assert verdict.with_score("b", 1.1).reasons == ("b",)
    assert verdict.ok
