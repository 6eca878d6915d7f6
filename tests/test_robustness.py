"""The robustness benchmark: its mock surveys see the same galaxies and noise, and its tests can fail."""

import numpy as np
import pytest
from benchmarks import robustness
from benchmarks.mock_surveys import SURVEYS, Galaxies, pixel_noise

import sfhflow
from sfhflow.config import Config

SDSS, BOSS, DESI, MANGA = SURVEYS


@pytest.fixture(scope="module")
def model():
    return sfhflow.load_model("default")


@pytest.fixture(scope="module")
def galaxies(model):
    return Galaxies(Config.model_validate(model.card["config"]).simulator(), 6, seed=1)


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(robustness, "N_SAMPLES", 100)
    monkeypatch.setattr(robustness, "MANY_SAMPLES", 10_000)


@pytest.mark.parametrize("survey", SURVEYS, ids=lambda survey: survey.name)
def test_the_noise_of_pixels_is_white_of_unit_variance(survey):
    noise = np.array([pixel_noise(survey.wavelength, np.random.default_rng(seed)) for seed in range(50)])
    assert noise.std() == pytest.approx(1, abs=0.01)
    assert abs(np.mean(noise[:, 1:] * noise[:, :-1])) < 0.01


def test_surveys_share_their_noise_where_they_overlap():
    def mean(survey, seed):
        inside = (survey.wavelength > 5000) & (survey.wavelength < 5100)
        return pixel_noise(survey.wavelength, np.random.default_rng(seed))[inside].mean()

    means = np.array([[mean(survey, seed) for seed in range(60)] for survey in SURVEYS])
    assert np.corrcoef(means)[0, 1:].min() > 0.97


def test_all_surveys_have_the_same_signal_to_noise_ratio_per_angstrom(galaxies):
    for survey in SURVEYS:
        for row, spectrum in enumerate(galaxies.observe(survey, 40.0)):
            rest = spectrum.rest_wavelength
            inside = ~spectrum.mask & (rest > 4001.2) & (rest < 6801.8)
            per_angstrom = spectrum.flux * np.sqrt(spectrum.ivar / (np.gradient(spectrum.wavelength)))
            ratio = np.median(per_angstrom[inside]) * np.sqrt(1 + galaxies.redshift[row])
            assert ratio == pytest.approx(40.0, rel=0.1)


def test_the_same_call_gives_the_same_spectra_and_another_realisation_others(galaxies):
    one, same, other = (galaxies.observe(SDSS, 20.0, again=again)[0] for again in (0, 0, 1))
    np.testing.assert_array_equal(one.flux, same.flux)
    used = ~one.mask
    pull = (one.flux - other.flux)[used] / one.error[used] / np.sqrt(2)
    assert pull.std() == pytest.approx(1, abs=0.06)


def test_media_and_junk_make_no_difference_and_a_misread_medium_does(model, galaxies):
    found = robustness.air(model, galaxies)["air"]
    assert found["passed"]
    assert found["misread"] > 2 * found["value"]
    assert robustness.junk(model, galaxies, np.random.default_rng(0))["junk"]["value"] == 0


def test_a_larger_calibration_error_moves_medians_more(model, galaxies):
    found = robustness.calibration(model, galaxies, np.random.default_rng(0))
    assert found["calibration_rms"]["value"] > found["calibration"]["value"] > 0


def test_widths_that_do_not_fall_are_noticed(model, galaxies, monkeypatch):
    assert robustness.sharpness(model, galaxies)["sharpness"]["widths"]["3"]["mh"] > 0
    monkeypatch.setattr(robustness, "SNR_STEPS", (300.0, 3.0))
    assert not robustness.sharpness(model, galaxies)["sharpness"]["passed"]


def test_the_other_library_is_skipped_with_a_reason_where_it_is_absent(model, tmp_path):
    simulator = Config.model_validate(model.card["config"]).simulator()
    found = robustness.libraries(model, simulator, tmp_path, None, 32, 0)
    assert "no ssp" in found["library"]["skipped"]
