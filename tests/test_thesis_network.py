"""The thesis' encoder and flow: sizes of figure 7, attention as eq. 2, losses, and a training that goes on."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from benchmarks.thesis import encoder, latents, networks_noise, posterior, timing
from benchmarks.thesis.__main__ import run_stage
from benchmarks.thesis.context import Context
from benchmarks.thesis.dataset import NAMES
from benchmarks.thesis.network import ThesisNetwork, log_cosh

MINE = ("encoder", "latents", "posterior", "timing")


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """A run of all stages in tiny sizes, with the shipped library."""
    folder = tmp_path_factory.mktemp("thesis")
    context = Context(folder, folder / "no-data", tiny=True)
    for name in MINE:
        run_stage(name, context)
    return context


def test_the_network_has_the_sizes_of_the_thesis():
    network = ThesisNetwork()
    shapes = [tuple(block[0].weight.shape) for block in network.convolutions]
    assert shapes == [(128, 1, 5), (256, 128, 11), (512, 256, 21)]
    linear = [layer.out_features for layer in network.compress if isinstance(layer, torch.nn.Linear)]
    assert linear == [128, 64, 32, 16]
    assert network(torch.rand(2, 4300)).shape == (2, 10)


def test_latent_numbers_are_attended_features_compressed():
    network, spectra = ThesisNetwork(channels=16), torch.rand(3, 400)
    x = spectra[:, None]
    for block, pool in zip(network.convolutions, (5, 11, 1), strict=True):
        x = block(x)
        x = torch.nn.functional.max_pool1d(x, pool, ceil_mode=True)
    attended = torch.zeros(3, 8)
    for galaxy in range(3):
        for channel in range(8):
            weight = x[galaxy, 8 + channel].exp()
            attended[galaxy, channel] = (x[galaxy, channel] * weight).sum() / weight.sum()
    torch.testing.assert_close(network.encode(spectra), network.compress(attended))


def test_the_loss_is_log_cosh_also_far_away():
    difference = torch.tensor([-3.0, 0.0, 0.5, 300.0], dtype=torch.float64)
    expected = np.mean([np.log(np.cosh(3.0)), 0.0, np.log(np.cosh(0.5)), 300 - np.log(2)])
    assert log_cosh(difference, torch.zeros(4, dtype=torch.float64)).item() == pytest.approx(expected, rel=1e-12)


def test_the_learning_rate_rises_and_falls_to_nothing():
    rate = [encoder._one_cycle(done) for done in np.linspace(0, 1, 101)]
    assert rate[0] == pytest.approx(0.04)
    assert (max(rate), rate[30]) == (1.0, 1.0)
    assert rate[-1] == pytest.approx(0.0, abs=1e-12)
    assert np.all(np.diff(rate[:31]) > 0)
    assert np.all(np.diff(rate[30:]) < 0)


def test_a_training_that_was_stopped_ends_as_one_that_was_not(context, tmp_path):
    data, plan = context.dataset("discrete"), encoder.plan_of(context)
    plain, broken = (Context(tmp_path / name, context.data, tiny=True) for name in ("plain", "broken"))
    whole = encoder.Training(data, plan, plain)
    whole.loop()
    stopped = encoder.Training(data, plan, broken)
    epoch = stopped._epoch

    def interrupted(number):
        if number == 1:
            raise KeyboardInterrupt
        return epoch(number)

    stopped._epoch = interrupted
    with pytest.raises(KeyboardInterrupt):
        stopped.loop()
    again = encoder.Training(data, plan, broken)
    assert len(again.history) == 1
    assert encoder.Training(data, replace(plan, epochs=3), broken).history == []
    again.loop()
    assert [row["validation"] for row in again.history] == pytest.approx(
        [row["validation"] for row in whole.history], rel=1e-5
    )


def test_only_what_was_encoded_has_latent_numbers(context):
    kept, data = encoder.load_latents(context), context.dataset("discrete")
    rows = torch.cat([kept.train, kept.validation, kept.test])
    assert [len(part) for part in (kept.train, kept.validation, kept.test)] == [240, 30, 30]
    assert kept.values[rows].isfinite().all()
    assert kept.values.isfinite().all(1).sum() == len(rows)
    with torch.no_grad():
        once = encoder.load_encoder(context).encode(data.spectra(kept.test[:3]))
    torch.testing.assert_close(kept.values[kept.test[:3]], once)


def test_correlations_are_those_of_numpy():
    a, b = torch.randn(50, 3).double(), torch.randn(50, 4).double()
    expected = np.corrcoef(np.hstack([a, b]).T)[:3, 3:]
    np.testing.assert_allclose(latents.pearson(a, b), expected, atol=1e-12)
    assert latents.pearson(a, torch.ones(50, 1).double()).abs().max() == 0


def test_a_map_that_sorts_a_quantity_is_told_from_one_that_does_not():
    rng = np.random.default_rng(0)
    points = rng.uniform(size=(500, 2))
    found = latents.sorting(points, {"place": points[:, 0], "chance": rng.uniform(size=500)})
    assert found["place"] > 0.95
    assert found["chance"] < 0.1


def test_the_flow_gives_back_a_gaussian_posterior(tmp_path):
    context = Context(tmp_path, tmp_path, tiny=True)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2000, 16, generator=generator)
    theta = x[:, :10] + 0.5 * torch.randn(2000, 10, generator=generator)
    training = posterior.Training(x, theta, 100, context)
    training.loop(12)
    flow = posterior.load_flow(context)
    # each quantity is known to 0.5: their entropy is 10 x log(0.5 sqrt(2 pi e)) = 7.26 nats
    assert -flow.log_prob(theta=theta, x=x).mean().item() == pytest.approx(7.26, abs=0.5)
    samples = flow.sampler(x[:50], 400)
    np.testing.assert_allclose(samples.mean(1), x[:50, :10], atol=0.5)
    assert samples.std(1).mean().item() == pytest.approx(0.5, abs=0.08)


def test_impossible_samples_are_counted():
    samples = np.tile(np.append(np.arange(1.0, 10.0), 0.0), (1, 4, 1))
    samples[0, 1, 0] = -0.1
    samples[0, 2, 3] = 3.0
    samples[0, 3, 8] = 14.0
    truth = np.vstack([samples[0, 0], samples[0, 0]])
    judged = posterior.judged(np.repeat(samples, 2, 0), truth, torch.zeros(2))
    assert judged["impossible"] == pytest.approx(0.75)


def test_every_stage_has_figures_and_a_section(context):
    figures = {path.stem for path in (context.folder / "figures").iterdir()}
    named = set()
    for stage in (encoder, latents, posterior, timing):
        lines = stage.section(json.loads(context.file(f"{stage.__name__.rsplit('.', 1)[1]}.json").read_text()))
        assert all("\n" not in line for line in lines)
        named |= {line.split("figures/")[1].removesuffix(".png)") for line in lines if "figures/" in line}
    assert named == figures


def test_noise_is_white_and_none_is_none():
    spectra, generator = torch.ones(500, 100), torch.Generator().manual_seed(0)
    assert encoder.noisy(spectra, 0.0, generator) is spectra
    noise = encoder.noisy(spectra, 0.1, generator) - spectra
    assert float(noise.std()) == pytest.approx(0.1, rel=0.02)
    assert abs(float((noise[:, 1:] * noise[:, :-1]).mean())) < 2e-4


def test_the_networks_are_trained_further_with_noise_and_say_how_long(context):
    result = run_stage("networks_noise", context)
    assert result["spectra_seen"] == 1 * 2 * 8
    assert [result[name]["snr"] for name in ("snr100", "snr30", "snr10")] == [100, 30, 10]
    for name in ("snr100", "snr30", "snr10"):
        assert set(result[name]["r2"]) == set(NAMES)
        assert list(result[name]["coverage"]) == ["0.5", "0.68", "0.9", "0.95"]
    before = encoder.load_encoder(context).state_dict()
    after = encoder.Training(
        context.dataset("discrete"),
        encoder.plan_of(context),
        replace(context, folder=context.folder / "else"),
        noise=0.1,
        start=encoder.load_encoder(context),
    ).network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert "trained further on 16 noisy spectra (1 epochs)" in networks_noise.section(result)[0]


def test_results_say_at_what_scale_they_were_made(context):
    result = context.result("encoder")
    assert not result["is_thesis_scale"]
    assert result["spectra_seen"] == 2 * 2 * 8
    assert set(result["r2"]) == set(NAMES)
    assert "in place of the thesis' 512" in encoder.section(result)[0]
