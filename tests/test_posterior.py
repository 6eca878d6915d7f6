"""The model: what it answers for real spectra, and how it is kept on disk."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import toy
from sfhflow.cosmology import age_of_universe
from sfhflow.errors import InputError, ModelError, SpectrumError
from sfhflow.model import CARD_FORMAT, load_model
from sfhflow.observation import Observation
from sfhflow.parameters import FRACTIONS, GalaxyParameters
from sfhflow.posterior import Posterior
from sfhflow.verdict import Verdict


@pytest.fixture(scope="module")
def model():
    return toy.model()


@pytest.fixture(scope="module")
def posterior(model):
    return model.infer(toy.spectra(1)[0], n_samples=500, seed=1)


def arrays(posterior):
    return posterior.times, posterior.metallicity, posterior.a_v, posterior.sigma_kms


def test_samples_are_rising_times_within_the_age_of_the_universe_and_inside_the_bounds(model, posterior):
    age = float(age_of_universe(0.05))
    assert posterior.age_of_universe == pytest.approx(age, rel=1e-6)
    assert posterior.formation_times.shape == (500, 9)
    assert posterior.times.shape == (500, 13)
    assert (np.diff(posterior.times, axis=1) > 0).all()
    assert posterior.times.min() > 0
    assert posterior.times.max() < posterior.age_of_universe
    np.testing.assert_array_equal(posterior.formation_times[:, 4], posterior.times[:, FRACTIONS.index(0.5)])
    for name in ("metallicity", "a_v", "sigma_kms"):
        bounds, samples = getattr(model.parameters, name), getattr(posterior, name)
        assert samples.shape == (500,)
        assert ((samples > bounds.low) & (samples < bounds.high)).all()


@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
def test_no_weights_and_no_spectrum_can_make_an_unordered_or_infinite_sample(size):
    model = toy.model(seed=3)
    with torch.no_grad():
        for weight in model.network.parameters():
            weight.copy_(size * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    n_pixels = toy.GRID.n_pixels
    flux = torch.stack([torch.full((n_pixels,), 1e5), torch.linspace(-1, 1, n_pixels), torch.zeros(n_pixels)])
    data = Observation(
        flux, torch.full_like(flux, 1e6), torch.full((3, 3), torch.nan), torch.tensor([13.0, 1.0, 0.01])
    )
    for row, galaxy in enumerate(model.sample(data, n_samples=200, seed=0)):
        for values in galaxy:
            assert values.isfinite().all()
        assert (galaxy.times.diff(dim=-1) > 0).all()
        assert (galaxy.times > 0).all()
        assert (galaxy.times < data.age_of_universe[row]).all()
        assert ((galaxy.metallicity >= -2.27) & (galaxy.metallicity <= 0.40)).all()
        assert ((galaxy.sigma_kms >= 30.0 - 1e-9) & (galaxy.sigma_kms <= 400.0 + 1e-9)).all()


def test_a_batch_gives_what_one_at_a_time_gives(model):
    spectra = toy.spectra(7)
    together = model.infer(spectra, n_samples=100, seed=4)
    for spectrum, posterior in zip(spectra, together, strict=True):
        alone = model.infer(spectrum, n_samples=100, seed=4)
        assert posterior.spectrum is spectrum
        for one, other in zip(arrays(alone), arrays(posterior), strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)
        assert alone.verdict.reasons == posterior.verdict.reasons
    assert model.infer([]) == []


def test_splitting_the_samples_in_several_portions_changes_nothing(model, monkeypatch):
    data = toy.observations(9)
    whole = list(model.sample(data, n_samples=50, seed=0))
    monkeypatch.setattr("sfhflow.model._SAMPLES_AT_ONCE", 100)
    split = list(model.sample(data, n_samples=50, seed=0))
    for one, other in zip(whole, split, strict=True):
        torch.testing.assert_close(one.times, other.times, rtol=2e-5, atol=2e-5)


def test_the_seed_decides_the_samples(model):
    spectrum = toy.spectra(1)[0]
    torch.manual_seed(1)
    one = model.infer(spectrum, n_samples=50, seed=7)
    torch.manual_seed(2)
    same, other = (model.infer(spectrum, n_samples=50, seed=s) for s in (7, 8))
    np.testing.assert_array_equal(one.times, same.times)
    assert not np.isclose(one.metallicity, other.metallicity).any()


def test_what_lies_under_the_mask_changes_nothing(model):
    spectrum = toy.spectra(1)[0]
    hidden = np.zeros(len(spectrum), dtype=bool)
    hidden[100:140] = True
    garbage = np.random.default_rng(0).choice([np.nan, np.inf, -1e30, 1e30], len(spectrum))
    clean = spectrum.with_mask(hidden)
    dirty = replace(spectrum, flux=np.where(hidden, garbage, spectrum.flux), mask=hidden | spectrum.mask)
    dead = replace(
        spectrum, flux=np.where(hidden, garbage, spectrum.flux), ivar=np.where(hidden, 0, spectrum.ivar)
    )
    expected = model.infer(clean, n_samples=50)
    for other in (dirty, dead):
        np.testing.assert_array_equal(model.infer(other, n_samples=50).times, expected.times)
    assert not np.array_equal(model.infer(spectrum, n_samples=50).times, expected.times)


@pytest.mark.parametrize("junk", [np.nan, 0.0, 1e9])
def test_junk_in_masked_pixels_leaves_samples_and_verdict_as_they_are_to_the_last_bit(model, junk):
    for row, spectrum in enumerate(toy.spectra(3)):
        hidden = np.random.default_rng(row).random(len(spectrum)) < 0.3
        clean = model.infer(spectrum.with_mask(hidden), n_samples=50)
        arrays_of = {name: np.where(hidden, junk, getattr(spectrum, name)) for name in ("flux", "ivar")}
        dirty = model.infer(replace(spectrum, **arrays_of, mask=hidden | spectrum.mask), n_samples=50)
        for one, other in zip(arrays(clean), arrays(dirty), strict=True):
            np.testing.assert_array_equal(one, other)
        assert clean.verdict == dirty.verdict


@pytest.mark.parametrize("factor", [1e-20, 1e25])
def test_the_unit_of_the_flux_changes_nothing(model, factor):
    spectrum = toy.spectra(1)[0]
    other = replace(spectrum, flux=spectrum.flux * factor, ivar=spectrum.ivar / factor**2)
    one, two = (model.infer(s, n_samples=50) for s in (spectrum, other))
    np.testing.assert_allclose(one.times, two.times, rtol=1e-4)


def test_log_prob_is_the_density_of_the_samples(model):
    # the mean over samples of q of any normalised density r over q is one; r is a narrow Gaussian here
    data = toy.observations(1)
    noise = torch.randn(20_000, model.network.flow.n_noise, generator=torch.Generator().manual_seed(0))
    u = model.network.flow.sample(model.network.encoder(data), noise)[0]
    repeated = Observation(*(field.expand(len(u), *field.shape[1:]) for field in data))
    narrow = torch.distributions.MultivariateNormal(u.mean(0), 0.6 * u.T.cov())
    ratio = (narrow.log_prob(u) - model.log_prob(u, repeated)).exp()
    assert ratio.mean().item() == pytest.approx(1.0, abs=4 * ratio.std().item() / len(u) ** 0.5)
    assert ratio.std() < 5


def test_a_spectrum_outside_the_grid_is_refused_by_name(model):
    far = replace(toy.spectra(1)[0], redshift=2.0)
    with pytest.raises(SpectrumError, match=r"toy_0: only .* usable pixels between 3900 and 6600"):
        model.infer(far)


@pytest.mark.parametrize("n_samples", [0, -5])
def test_less_than_one_sample_is_refused(model, n_samples):
    with pytest.raises(InputError, match="n_samples"):
        model.infer(toy.spectra(1)[0], n_samples=n_samples)


def test_a_blueshift_of_a_nearby_galaxy_is_fitted_at_the_present_age(model):
    near = replace(toy.spectra(1)[0], redshift=-0.001, wavelength=toy.GRID.wavelength)
    assert model.infer(near, n_samples=20).age_of_universe == pytest.approx(float(age_of_universe(0.0)), rel=1e-6)


# --- summary ------------------------------------------------------------------------------------------------


def test_the_summary_holds_the_quantiles_of_the_samples(posterior):
    table = posterior.summary()
    assert table.colnames == ["name", "median", "p16", "p84", "p2_5", "p97_5", "unit"]
    names = list(table["name"])
    assert names[:10] == [*(f"t{10 * k}" for k in range(1, 10)), "mh"]
    assert set(names[10:]) == {"t0", "t95", "t99", "t100", "a_v", "sigma"}
    row = table[names.index("t50")]
    expected = np.percentile(posterior.formation_times[:, 4], [50, 16, 84, 2.5, 97.5])
    np.testing.assert_allclose([row[c] for c in table.colnames[1:-1]], expected)
    units = dict(zip(names, table["unit"], strict=True))
    assert [units[n] for n in ("t10", "t100", "mh", "a_v", "sigma")] == ["Gyr", "Gyr", "dex", "mag", "km/s"]
    np.testing.assert_allclose(table[names.index("sigma")]["median"], np.median(posterior.sigma_kms))


def test_the_intervals_are_plain_numbers(posterior):
    parsed = json.loads(json.dumps(posterior.intervals()))
    assert list(parsed) == list(posterior.summary()["name"])
    assert set(parsed["mh"]) == {"median", "p16", "p84", "p2_5", "p97_5", "unit"}
    for row in parsed.values():
        assert row["p2_5"] <= row["p16"] <= row["median"] <= row["p84"] <= row["p97_5"]


# --- a known velocity dispersion ----------------------------------------------------------------------------


def correlated(n=200_000, *, seed=0):
    """Gaussian in (ln sigma, [M/H]) with correlation 0.8."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, n))
    ln_sigma = np.log(200) + 0.3 * x[0]
    metallicity = 0.1 * (0.8 * x[0] + 0.6 * x[1])
    times = np.sort(rng.uniform(0, 13, (n, 13)), axis=1)
    verdict = Verdict(ok=True, reasons=(), scores={"bad_fit": 0.5})
    return Posterior(
        times, metallicity, np.full(n, 0.3), np.exp(ln_sigma), 13.5, toy.spectra(1)[0], verdict, 0, "gauss"
    )


def test_a_measured_dispersion_conditions_all_samples_as_bayes_theorem_says():
    # product of Gaussians in ln sigma, then the regression of [M/H] on ln sigma
    measured = correlated().given_sigma(260.0, error=0.1, n_samples=50_000)
    weights = np.array([1 / 0.3**2, 1 / 0.1**2])
    mean = weights @ [np.log(200), np.log(260)] / weights.sum()
    spread = weights.sum() ** -0.5
    ln_sigma = np.log(measured.sigma_kms)
    assert len(measured) == 50_000
    assert ln_sigma.mean() == pytest.approx(mean, abs=0.005)
    assert ln_sigma.std() == pytest.approx(spread, rel=0.03)
    shift = (mean - np.log(200)) / 0.3
    assert measured.metallicity.mean() == pytest.approx(0.08 * shift, abs=0.003)
    expected = 0.1 * np.sqrt(0.64 * (spread / 0.3) ** 2 + 0.36)
    assert measured.metallicity.std() == pytest.approx(expected, rel=0.03)
    assert measured.verdict.ok
    assert measured.verdict.scores["bad_fit"] == 0.5


def test_rows_stay_together_when_samples_are_chosen_by_dispersion():
    wide = correlated(5000)
    narrow = wide.given_sigma(220.0, n_samples=300)
    where = [int(np.flatnonzero(wide.sigma_kms == value)[0]) for value in narrow.sigma_kms]
    for one, other in zip(arrays(narrow), arrays(wide), strict=True):
        np.testing.assert_array_equal(one, other[where])


def test_a_dispersion_that_contradicts_the_spectrum_is_named():
    conflict = correlated(20_000).given_sigma(800.0)
    assert not conflict.verdict.ok
    assert conflict.verdict.reasons == ("sigma_conflict",)
    assert np.isfinite(conflict.sigma_kms).all()


@pytest.mark.parametrize("sigma", [0.0, -10.0, np.nan, np.inf])
def test_a_dispersion_must_be_a_positive_number(posterior, sigma):
    with pytest.raises(InputError, match="sigma is"):
        posterior.given_sigma(sigma)


# --- on disk ------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(model, tmp_path):
    model.save(tmp_path / "deep" / "model")
    return tmp_path / "deep" / "model"


def test_a_saved_model_answers_exactly_as_before(model, folder):
    loaded = load_model(folder)
    spectra = toy.spectra(2)
    for one, other in zip(model.infer(spectra, n_samples=64), loaded.infer(spectra, n_samples=64), strict=True):
        for before, after in zip(arrays(one), arrays(other), strict=True):
            np.testing.assert_array_equal(before, after)
        assert one.verdict == other.verdict
    assert loaded.name == "toy"
    assert loaded.parameters == model.parameters
    assert loaded.grid == model.grid
    assert loaded.library_fwhm == model.library_fwhm


def test_saving_a_loaded_model_again_gives_the_same_files(folder, tmp_path):
    load_model(folder).save(tmp_path / "again")
    for name in ("card.json", "weights.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_saved_model_holds_nothing_that_is_executed_when_read(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        "card.json",
        "critic.safetensors",
        "light.safetensors",
        "weights.safetensors",
    ]
    card = json.loads((folder / "card.json").read_text())
    assert card["format"] == CARD_FORMAT
    assert load_file(folder / "weights.safetensors")
    assert b"pickle" not in (folder / "weights.safetensors").read_bytes()[:2000]


def _truncate(folder):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _drop_a_weight(folder):
    weights = load_file(folder / "weights.safetensors")
    weights.pop("flow.location")
    save_file(weights, folder / "weights.safetensors")


def _edit(folder, **changes):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, **changes}))


DAMAGE = {
    "no card": (lambda f: (f / "card.json").unlink(), "card.json is missing"),
    "no weights": (lambda f: (f / "weights.safetensors").unlink(), "weights.safetensors is missing"),
    "cut card": (lambda f: (f / "card.json").write_text('{"format": 1, "se'), "damaged"),
    "empty card": (lambda f: (f / "card.json").write_text(""), "damaged"),
    "card of another kind": (lambda f: (f / "card.json").write_text("[1, 2]"), "damaged"),
    "binary card": (lambda f: (f / "card.json").write_bytes(b"\xff\xfe\x00"), "damaged"),
    "cut weights": (_truncate, "damaged"),
    "empty weights": (lambda f: (f / "weights.safetensors").write_bytes(b""), "damaged"),
    "text for weights": (lambda f: (f / "weights.safetensors").write_text("hello " * 100), "damaged"),
    "missing weight": (_drop_a_weight, "damaged"),
    "another format": (lambda f: _edit(f, format=99), "format 99"),
    "no setup": (lambda f: _edit(f, setup={}), "damaged"),
    "unknown setup": (lambda f: _edit(f, setup={"architecture": {"hidden": [1], "colour": 3}}), "damaged"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_model_is_refused_in_one_sentence_with_a_cure(folder, kind):
    harm, what = DAMAGE[kind]
    harm(folder)
    with pytest.raises(ModelError, match=what) as caught:
        load_model(folder)
    message = str(caught.value)
    assert str(folder) in message
    assert "expected" in message
    assert "\n" not in message
    assert message.rsplit("; ", 1)[1].startswith(("check", "fetch"))


@pytest.mark.parametrize("name", ["no-such-model", ""])
def test_an_unknown_model_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="no model there"):
        load_model(name)


def test_a_file_is_not_a_model(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match="no model there"):
        load_model(tmp_path / "file")


def test_a_device_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(InputError, match=r"device is 'cuda'.*choose cpu"):
        toy.model().to("cuda")
    assert toy.model().to("cpu").device.type == "cpu"


def test_a_graphics_processor_gives_the_samples_of_the_cpu():
    if not torch.cuda.is_available():
        pytest.skip("there is none")
    spectra = toy.spectra(20)
    one = toy.model().infer(spectra, n_samples=200, seed=0)
    other = toy.model().to("cuda").infer(spectra, n_samples=200, seed=0)
    for a, b in zip(one, other, strict=True):
        u, v = (toy.model().parameters.to_unbounded(*unbounded(p)) for p in (a, b))
        torch.testing.assert_close(u, v, rtol=0, atol=1e-4)
        assert a.verdict.reasons == b.verdict.reasons


def unbounded(posterior):
    galaxy = GalaxyParameters(*(torch.as_tensor(array) for array in arrays(posterior)))
    return galaxy, torch.full((len(posterior),), posterior.age_of_universe, dtype=torch.float64)
