"""The calibration certificate: an exact posterior passes, wrong ones fail, and a run can be interrupted."""

import json
import math
import re
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
import torch

import toy
from gaussian_world import AGE, MAP, N_PIXELS, GaussianPosterior, GaussianWorld
from sfhflow.certificate import NAMES, Sizes, certificate_page, certify, compare, headline, run_trials
from sfhflow.certificate.trial import BATCH, mask_more, signal_to_noise
from sfhflow.cli import verify
from sfhflow.config import read_config
from sfhflow.errors import ModelError
from sfhflow.model import shipped_models
from sfhflow.plots import certificate_figure
from sfhflow.train import stream_seed

SIZES = Sizes(main=2048, masked=1024, faint=512, n_samples=99)
ABOUT = {
    "model": "toy",
    "command": "c",
    "weights": "w" * 20,
    "seed": 0,
    "galaxies": SIZES.galaxies,
    "n_samples": 99,
}


def certificate_of(widen=1.0, *, seed=0, **options):
    trials, prior = run_trials(GaussianPosterior(widen), GaussianWorld(), sizes=SIZES, seed=seed, **options)
    return certify(trials, prior, ABOUT)


@pytest.fixture(scope="module")
def certificates():
    return {name: certificate_of(widen) for name, widen in {"exact": 1.0, "narrow": 0.7, "wide": 1.4}.items()}


def outcomes(certificate):
    return {criterion.name: criterion.outcome for criterion in certificate.criteria}


# --- three ways: right, too narrow, too wide ---


def test_the_exact_posterior_passes_every_criterion(certificates):
    found = outcomes(certificates["exact"])
    assert set(found.values()) <= {"pass", "within noise"}
    assert certificates["exact"].passed
    assert found["sharpness"] == found["prior"] == found["tarp_1000"] == found["sbc_2048"] == "pass"


@pytest.mark.parametrize(("case", "sign"), [("narrow", -1), ("wide", 1)])
def test_a_posterior_of_the_wrong_width_fails_everywhere_with_the_right_sign(certificates, case, sign):
    certificate = certificates[case]
    assert not certificate.passed
    found = outcomes(certificate)
    failed = {"coverage", "coverage_snr", "coverage_t50", "coverage_mh", "coverage_masked", "tarp_1000"}
    assert all(found[name] == "fail" for name in failed)
    assert all(sign * c.value > 0.02 for c in certificate.criteria if c.name.startswith("coverage"))
    assert all(test.width_p_value < 1e-6 for test in certificate.tests)


def test_only_the_narrow_posterior_claims_to_know_what_no_data_told(certificates):
    assert outcomes(certificates["narrow"])["prior"] == "fail"
    assert outcomes(certificates["wide"])["prior"] == "pass"


def test_the_coverage_of_the_metallicity_is_that_of_a_gaussian_of_the_wrong_width(certificates):
    # [M/H] is a monotone function of one coordinate, whose posterior is Gaussian
    for case, widen in (("exact", 1.0), ("narrow", 0.7), ("wide", 1.4)):
        got = certificates[case].everything.coverage[:, -1]
        expected = [
            math.erf(widen * NormalDist().inv_cdf(0.5 + level / 2) / math.sqrt(2))
            for level in (0.5, 0.68, 0.9, 0.95)
        ]
        np.testing.assert_allclose(got, expected, atol=0.04)


# --- what is measured ---


def test_the_log_probability_is_the_mean_over_the_galaxies_of_the_test_stream(certificates):
    log_prob = []
    for number in range(SIZES.main // BATCH):
        batch = GaussianWorld().sample(BATCH, seed=stream_seed(0, "test", number))
        log_prob.append(GaussianPosterior().log_prob(batch.u, batch.observation))
    expected = torch.cat(log_prob)
    assert certificates["exact"].log_prob == pytest.approx(float(expected.mean()))
    assert certificates["exact"].log_prob_error == pytest.approx(
        float(expected.std()) / len(expected) ** 0.5, rel=1e-3
    )
    assert certificates["exact"].log_prob > max(certificates[case].log_prob for case in ("narrow", "wide"))


def test_galaxies_are_binned_by_the_signal_to_noise_ratio_of_an_angstrom(certificates):
    bins = certificates["exact"].local["snr"]
    # log-uniform from 1 to 400 a pixel, and a pixel is an Angstrom
    share = np.diff(np.log([1, 3, 10, 30, 100, 300])) / math.log(400)
    counts = np.array([b.n_galaxies for b in bins])
    np.testing.assert_allclose(counts, share * SIZES.main, atol=5 * SIZES.main**0.5 / 2)
    observation = GaussianWorld(toy.NoiseModel(snr_range=(50.0, 50.0))).sample(200, seed=1).observation
    assert float(signal_to_noise(observation, torch.tensor(0.25)).mean()) == pytest.approx(100, rel=0.05)


def test_more_masks_hide_up_to_half_of_the_pixels_singly_or_in_gaps():
    observation = GaussianWorld().sample(4000, seed=2).observation
    hidden = observation._replace(ivar=torch.where(torch.arange(N_PIXELS) < 20, 0.0, observation.ivar))
    masked, share, in_gaps = mask_more(hidden, torch.Generator().manual_seed(3))
    gone = (hidden.ivar > 0) & (masked.ivar == 0)
    assert bool((masked.flux[gone] == 0).all())
    torch.testing.assert_close(share, gone.sum(-1) / (N_PIXELS - 20))
    assert 0.2 < float(share.mean()) < 0.26
    runs = (gone[:, 1:] & ~gone[:, :-1]).sum(-1)
    assert bool((runs[in_gaps] <= 5).all())
    assert float(runs[~in_gaps].float().mean()) > 6


def test_headline_quantities_are_times_in_units_of_the_age_and_the_metallicity():
    u = torch.randn(5, MAP.n_features, dtype=torch.float64)
    galaxy = MAP.to_physical(u, torch.full((5,), AGE, dtype=torch.float64))
    values = headline(galaxy, torch.full((5,), AGE))
    assert values.shape == (5, len(NAMES))
    assert (np.diff(values[:, :9]) > 0).all()
    np.testing.assert_allclose(values[:, 4], galaxy.times[:, 5] / AGE, rtol=1e-6)
    np.testing.assert_allclose(values[:, 9], galaxy.metallicity)


# --- runs ---


def test_an_interrupted_run_goes_on_and_ends_with_the_same_certificate(certificates, tmp_path):
    done = []

    def interrupt(n):
        done.append(n)
        if len(done) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        certificate_of(folder=tmp_path, progress=interrupt)
    kept = sorted(tmp_path.glob("*.safetensors"))
    assert len(kept) == 3
    kept[1].write_bytes(b"damaged")

    class Counting(GaussianPosterior):
        batches = 0

        def log_prob(self, u, observation):
            self.batches += 1
            return super().log_prob(u, observation)

    posterior = Counting()
    trials, prior = run_trials(posterior, GaussianWorld(), sizes=SIZES, seed=0, folder=tmp_path)
    assert posterior.batches == sum(SIZES.galaxies.values()) // BATCH - 2
    assert certify(trials, prior, ABOUT).to_dict() == certificates["exact"].to_dict()


def test_another_seed_repeats_the_certificate_and_another_width_does_not(certificates):
    plain = {name: certificate.to_dict() for name, certificate in certificates.items()}
    assert compare(plain["exact"], plain["exact"]).value == 0
    assert compare(certificate_of(seed=1).to_dict(), plain["exact"]).outcome == "pass"
    assert compare(plain["narrow"], plain["exact"]).outcome == "fail"


# --- what is written ---


def test_the_certificate_is_strict_json_and_its_page_and_figure_are_made_from_that(certificates):
    text = json.dumps(certificates["narrow"].to_dict(), allow_nan=False)
    assert len(text) < 40_000
    plain = json.loads(text)
    page = certificate_page(plain)
    assert "**Some criteria failed.**" in page
    assert all(criterion["statement"] in page for criterion in plain["criteria"])
    assert "1 to 3 (" in page
    figure = certificate_figure(plain)
    labels = [ax.get_xlabel() for ax in figure.findobj(lambda artist: hasattr(artist, "get_xlabel"))]
    assert sum(label.startswith("rank of") for label in labels) == len(NAMES)
    assert "No criterion failed" in certificate_page(certificates["exact"].to_dict())


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """The toy's model with the configuration of its simulator, and small tests."""
    model = toy.model()
    model.card["config"] = read_config(toy.write_config(tmp_path)).model_dump(mode="json")
    model.save(tmp_path / "model")
    small = replace(verify.QUICK, main=512, masked=512, faint=512, n_samples=31)
    monkeypatch.setattr(verify, "QUICK", small)
    return tmp_path / "model"


def test_verify_writes_its_files_and_repeats_itself(trained, tmp_path, capsys):
    for out in ("one", "two"):
        verify.verify(str(trained), quick=True, out=tmp_path / out)
    written = {path.name for path in (tmp_path / "one").iterdir()}
    assert written == {"certificate.json", "certificate.md", "certificate.png"}
    one, two = ((tmp_path / out / "certificate.json").read_bytes() for out in ("one", "two"))
    assert one == two
    (trained / "certificate.json").write_bytes(one)
    capsys.readouterr()
    verify.verify(str(trained), quick=True, out=tmp_path / "three")
    assert "pass         The model's own certificate is repeated" in capsys.readouterr().out


def test_strict_exits_with_one_because_an_untrained_model_fails(trained, tmp_path):
    with pytest.raises(verify.typer.Exit) as ended:
        verify.verify(str(trained), quick=True, out=tmp_path / "out", strict=True)
    assert ended.value.exit_code == 1


def test_a_certificate_of_other_weights_in_the_folder_of_the_model_is_noticed(trained, tmp_path, capsys):
    (trained / "certificate.json").write_text(json.dumps({"provenance": {"weights": "0" * 64}}))
    verify.verify(str(trained), quick=True, out=tmp_path / "out")
    assert re.search("^fail .*certificate.json is of these weights", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.slow
def test_the_shipped_model_repeats_its_own_certificate(tmp_path, capsys):
    if not (shipped_models()["default"] / "certificate.json").is_file():
        pytest.skip("the model carries no certificate")
    verify.verify("default", quick=True, out=tmp_path)
    assert re.search("^pass .*own certificate is repeated", capsys.readouterr().out, re.MULTILINE)


def test_a_model_without_configuration_is_refused(tmp_path):
    bare = tmp_path / "bare"
    toy.model().save(bare)
    with pytest.raises(ModelError, match="holds no training configuration"):
        verify.verify(str(bare), quick=True, out=tmp_path / "out")
