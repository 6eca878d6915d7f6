"""What holds for every encoder that a configuration can name."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

import toy
from sfhflow.config import read_config
from sfhflow.encoder import ENCODERS, EncoderName
from sfhflow.encoder.pixels import PixelEncoder
from sfhflow.errors import ConfigError
from sfhflow.model import Model, load_model
from sfhflow.network import Network
from sfhflow.noise import NoiseModel
from sfhflow.parameters import ParameterMap
from sfhflow.projection import principal_components, typical_flux
from sfhflow.train import fit
from sfhflow.verdict import scores

NAMES = sorted(ENCODERS)
PIXELS = ["residual", "spender-attention"]


def architecture(name):
    return replace(toy.ARCHITECTURE, encoder=name)


def build(name, *, seed=0):
    """An untrained encoder with its components and scalings."""
    torch.manual_seed(seed)
    network = Network(architecture(name), toy.GRID.n_pixels, ParameterMap().n_features).eval()
    sample = toy.simulator().sample(1024, seed=9)
    encoder = network.encoder
    encoder.set_components(*principal_components(sample.noiseless, toy.ARCHITECTURE.n_components))
    encoder.standardise(encoder.features(sample.observation))
    encoder.sum_dtype = torch.float64
    return encoder


@pytest.fixture(scope="module", params=NAMES)
def encoder(request):
    return build(request.param)


def test_the_names_of_a_configuration_are_those_of_the_registry():
    assert set(get_args(EncoderName)) == set(ENCODERS)
    assert {"projection", "residual", "spender-attention"} <= set(ENCODERS)


@pytest.mark.parametrize("junk", [torch.nan, 0.0, 1e9, -torch.inf])
def test_what_lies_under_the_mask_changes_no_bit(encoder, junk):
    data = toy.observations(6)
    assert (data.ivar == 0).any(-1).all()
    dirty = data._replace(flux=torch.where(data.ivar > 0, data.flux, junk))
    assert torch.equal(encoder.features(dirty), encoder.features(data))
    assert torch.equal(encoder(dirty), encoder(data))
    clean = scores(encoder, data, grid=toy.GRID)
    for name, score in scores(encoder, dirty, grid=toy.GRID).items():
        assert torch.equal(clean[name], score), name


def test_the_mask_itself_is_seen(encoder):
    data = toy.observations(6)
    shorter = data.ivar.clone()
    shorter[:, : toy.GRID.n_pixels // 2] = 0.0
    shorter[shorter.sum(-1) == 0] = data.ivar[shorter.sum(-1) == 0]
    change = (encoder(data._replace(ivar=shorter)) - encoder(data)).abs().amax(-1)
    assert (change[(shorter != data.ivar).any(-1)] > 1e-3).all()


def test_errors_and_resolution_and_age_are_seen(encoder):
    data = toy.observations(6)
    for other in (
        data._replace(ivar=data.ivar / 9),
        data._replace(lsf_kms=data.lsf_kms * 1.5),
        data._replace(age_of_universe=data.age_of_universe - 2),
    ):
        told = ~data.lsf_kms.isnan().any(-1)
        assert ((encoder(other) - encoder(data)).abs().amax(-1)[told] > 1e-4).all()


def test_features_and_contexts_have_a_row_for_each_galaxy(encoder):
    data = toy.observations(5)
    features = encoder.features(data)
    assert features.shape == (5, len(encoder.feature_mean))
    assert features.isfinite().all()
    context = encoder.encode(features)
    assert context.shape == (5, toy.ARCHITECTURE.n_context)
    assert context.dtype == torch.float32
    assert torch.equal(context, encoder(data))
    assert torch.equal(context, encoder(data, encoder.project(data)))


def test_a_spectrum_has_the_same_context_alone_and_in_any_batch(encoder):
    data = toy.observations(24)
    together = encoder(data)
    alone = torch.cat([encoder(data.rows(slice(i, i + 1))) for i in range(24)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("factor", [1e-8, 1e8])
def test_the_unit_of_the_flux_does_not_matter(encoder, factor):
    data = toy.observations(12)
    scaled = data._replace(flux=data.flux * factor, ivar=data.ivar / factor**2)
    # rounding may move a pixel to the next half-precision number
    torch.testing.assert_close(encoder(scaled), encoder(data), rtol=0, atol=5e-3)


def test_absurd_spectra_and_none_at_all_have_finite_contexts(encoder):
    n_pixels = toy.GRID.n_pixels
    noise = torch.randn(n_pixels, generator=torch.Generator().manual_seed(0))
    spike = torch.zeros(n_pixels).index_fill(0, torch.tensor([50]), 1e6)
    flux = torch.stack([torch.zeros(n_pixels), torch.full((n_pixels,), -5.0), 1e4 * noise, spike])
    ages, lsf = torch.full((4,), 13.0), torch.full((4, 3), torch.nan)
    for ivar in (1e-12, 1.0, 1e12, 0.0):
        data = toy.observations(4)._replace(
            flux=flux, ivar=torch.full_like(flux, ivar), age_of_universe=ages, lsf_kms=lsf
        )
        assert encoder(data).isfinite().all()


@pytest.mark.parametrize("name", PIXELS)
def test_half_precision_rounds_the_flux_by_less_than_a_tenth_of_the_smallest_error(name):
    encoder = build(name)
    assert isinstance(encoder, PixelEncoder)
    data = toy.simulator(noise=NoiseModel(snr_range=(300.0, 300.0))).sample(64, seed=2).observation
    good = data.ivar > 0
    scale = typical_flux(data.flux, data.ivar)[:, None]
    exact = data.flux / scale - encoder.mean
    rounding = encoder.features(data)[:, : toy.GRID.n_pixels].float() - exact
    in_errors = (rounding * scale * data.ivar.sqrt())[good]
    assert in_errors.square().mean().sqrt() < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_a_model_with_it_is_saved_and_loaded_and_judges_and_answers(name, tmp_path):
    base = toy.model()
    torch.manual_seed(1)
    network = Network(architecture(name), toy.GRID.n_pixels, base.parameters.n_features)
    encoder = build(name)
    network.encoder.load_state_dict(encoder.state_dict())
    model = Model(
        network,
        architecture=architecture(name),
        grid=base.grid,
        library_fwhm=base.library_fwhm,
        parameters=base.parameters,
        thresholds=base.thresholds,
        card={"name": name},
    )
    model.save(tmp_path)
    loaded = load_model(tmp_path)
    assert type(loaded.network.encoder) is type(encoder)
    spectrum = toy.spectra(1)[0]
    one, two = (m.infer(spectrum, n_samples=5, seed=3) for m in (model, loaded))
    np.testing.assert_array_equal(one.times, two.times)
    assert one.verdict == two.verdict
    # but for the critic's part, the scores are those of the projection, whoever makes the context
    expected = base.infer(spectrum, n_samples=1).verdict.scores
    assert {"bad_fit", "outside_training"} <= set(one.verdict.scores)
    for score, value in one.verdict.scores.items():
        if score == "template_mismatch":
            continue
        assert value == pytest.approx(expected[score], rel=1e-3, abs=1e-3), score


@pytest.mark.parametrize("name", NAMES)
def test_training_lowers_the_loss_moves_every_weight_and_reads_the_spectrum(name):
    plan = toy.plan(steps=150, validate_every=75, learning_rate=5e-3, average=0.9, n_components_sample=512)
    start, _ = fit(
        toy.simulator(), architecture=architecture(name), plan=replace(plan, steps=1, learning_rate=0.0)
    )
    model, history = fit(toy.simulator(), architecture=architecture(name), plan=plan)
    sample = toy.simulator().sample(1024, seed=77)
    before, after = (m.log_prob(sample.u, sample.observation).mean().item() for m in (start, model))
    assert after > before + 0.5
    assert -history[-1]["validation"] == pytest.approx(after, abs=0.6)
    # the posterior of one galaxy does not fit another
    assert after > model.log_prob(sample.u.roll(1, 0), sample.observation).mean().item() + 0.5
    moved = dict(model.network.named_parameters())
    for key, weight in start.network.named_parameters():
        assert not torch.equal(weight, moved[key]), key


def test_attention_passes_over_what_was_not_observed():
    encoder = build("spender-attention")
    data = toy.observations(4)
    ivar = data.ivar.clone()
    half = toy.GRID.n_pixels // 2
    ivar[:, half:] = 0.0
    flux, quality, good, _ = encoder.parts(encoder.features(data._replace(ivar=ivar)))
    _, attention = encoder.attend(torch.stack([flux, quality, good], dim=1), good)
    observed = (ivar > 0).any(-1)
    torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:2]))
    # 55 pixels to each place after both poolings
    assert (attention[observed, :, -(-half // 55) :] == 0).all()


def test_an_unknown_encoder_is_refused_with_those_there_are(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[architecture]\nwidth = 64\nencoder = 'transformer'\n")
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    for part in ("line 3", "architecture.encoder", "'transformer'", *NAMES):
        assert part in str(caught.value)


def test_a_configuration_chooses_the_encoder(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[architecture]\nencoder = 'spender-attention'\n")
    assert read_config(path).architecture.encoder == "spender-attention"
