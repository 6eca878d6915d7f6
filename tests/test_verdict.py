"""The verdict: few false alarms on clean spectra, an alarm with the right name on what is wrong."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import toy
from sfhflow.noise import NoiseModel
from sfhflow.verdict import CAUTIONS, FALSE_ALARMS, REASONS, Verdict, judge, scores, signal_to_noise
from sfhflow.verdict.critic import Critic
from sfhflow.verdict.faults import FAULTS, Faults, with_flux
from sfhflow.verdict.limits import SNR_NODES, Limits, limit_at, limits_of
from sfhflow.verdict.misfit import Residual, noise_scale

ORDINARY = NoiseModel(snr_range=(40.0, 80.0), full_probability=1.0, max_gaps=0)


@pytest.fixture(scope="module")
def model():
    return toy.model()


def verdicts(model, data):
    raw = scores(model.network.encoder, data, grid=model.grid, critic=model.critic)
    return judge(raw, signal_to_noise(data), model.thresholds)


def alarmed(model, data):
    return np.mean([not verdict.ok for verdict in verdicts(model, data)])


def named(model, data, name):
    return np.mean([name in verdict.reasons for verdict in verdicts(model, data)])


def ordinary(n=50, **changes):
    return toy.simulator(noise=replace(ORDINARY, **changes)).sample(n, seed=11)


def test_about_one_in_a_hundred_clean_spectra_raises_an_alarm(model):
    # the toy's limits rest on 1024 simulations, 10 alarms: their standard error is 0.3 %
    share = alarmed(model, toy.simulator().sample(4096, seed=200).observation)
    assert 0.3 * FALSE_ALARMS < share < 2.5 * FALSE_ALARMS


def test_limits_give_the_wanted_false_alarms_in_total_whatever_the_scores():
    g = torch.Generator().manual_seed(0)

    def drawn(n):
        snr = 400 ** torch.rand(n, generator=g)
        first = torch.rand(n, generator=g) * (1 + snr)
        return {"a": first, "b": torch.rand(n, generator=g), "c": 0.5 * first + 0.01}, snr

    limits = limits_of(drawn(40_000), drawn(40_000), drawn(40_000))
    fresh, snr = drawn(40_000)
    over = torch.stack([fresh[name] > limit_at(limits.alarm[name], snr) for name in fresh])
    # the standard errors of the calibration and of this sample are 0.0005 each; the binning adds a little
    assert over.any(0).double().mean().item() == pytest.approx(FALSE_ALARMS, abs=0.0025)


def test_twice_the_mismatch_moves_the_limit_of_a_refusal_only():
    snr = torch.full((2000,), 20.0)
    plain = torch.linspace(0.0, 1.0, 2000)
    limits = limits_of(({"a": 3 * plain}, snr), ({"a": plain}, snr), ({"a": plain}, snr))
    node = SNR_NODES.index(20.0)
    assert limits.alarm["a"][node] == pytest.approx(0.99, abs=2e-3)
    assert limits.refusal["a"][node] == pytest.approx(2.97, abs=6e-3)


def test_limits_are_linear_in_the_logarithm_of_the_signal_to_noise_ratio():
    nodes = [float(i) for i in range(len(SNR_NODES))]
    middle = math.sqrt(SNR_NODES[2] * SNR_NODES[3])
    found = limit_at(nodes, torch.tensor([0.01, SNR_NODES[2], middle, 1e5]))
    assert found.tolist() == pytest.approx([0.0, 2.0, 2.5, len(nodes) - 1.0], abs=1e-5)


def test_an_alarm_below_the_limit_of_a_refusal_is_a_caution():
    ones = [1.0] * len(SNR_NODES)
    limits = Limits({"bad_fit": ones}, {"bad_fit": [2.0] * len(SNR_NODES)}, {"bad_fit": 3.0})
    raw = {"bad_fit": torch.tensor([0.9, 1.5, 3.0]), "uninformative": torch.zeros(3)}
    fine, caution, refused = judge(raw, torch.full((3,), 20.0), limits)
    assert fine.ok
    assert caution.reasons == ("template_mismatch",)
    assert "CAUTION" in caution.text
    assert refused.reasons == ("bad_fit",)
    assert "DO NOT TRUST" in refused.text


def test_an_ordinary_galaxy_raises_no_alarm(model):
    assert alarmed(model, ordinary().observation) < 0.05


def noise_alone(data):
    g = torch.Generator().manual_seed(0)
    noise = 3 * torch.randn(data.flux.shape, generator=g)
    return data._replace(flux=data.flux.mean() * (1 + noise) * (data.ivar > 0))


def upside_down(data):
    return data._replace(flux=2 * data.flux.mean(-1, keepdim=True) * (data.ivar > 0) - data.flux)


def shifted(data):
    return data._replace(flux=data.flux.roll(25, -1) * (data.ivar > 0))


def line_forest(data):
    spikes = torch.zeros(data.flux.shape[1])
    spikes[20::15] = 1.0
    return data._replace(flux=data.flux * (1 + spikes))


@pytest.mark.parametrize("harm", [noise_alone, upside_down, shifted, line_forest])
def test_a_spectrum_that_is_no_galaxy_raises_an_alarm(model, harm):
    assert alarmed(model, harm(ordinary(snr_range=(80.0, 81.0)).observation)) > 0.95


@pytest.mark.parametrize(
    ("snr", "factor", "name"), [(20.0, 1 / 3, "errors_too_small"), (20.0, 3.0, "errors_too_large")]
)
def test_wrong_errors_are_named(model, snr, factor, name):
    data = ordinary(snr_range=(snr, 1.05 * snr)).observation
    assert named(model, data._replace(ivar=data.ivar / factor**2), name) > 0.9


def test_errors_too_small_raise_an_alarm_also_where_they_look_like_template_mismatch(model):
    data = ordinary(snr_range=(20.0, 21.0)).observation
    assert alarmed(model, data._replace(ivar=9 * data.ivar)) > 0.9


def test_the_scale_of_the_errors_survives_resampling_by_a_fraction_of_a_pixel():
    white = torch.randn(400, 3001, generator=torch.Generator().manual_seed(1))
    for fraction in (0.0, 0.25, 0.5):
        noise = (1 - fraction) * white[:, :-1] + fraction * white[:, 1:]
        ones = torch.ones_like(noise)
        for scale in noise_scale(Residual(ones, 2 * noise, ones, ones)):
            assert scale.mean().item() == pytest.approx(4.0, rel=0.02)


def test_mismatch_that_is_linear_between_nodes_hardly_counts_as_noise():
    g = torch.Generator().manual_seed(1)
    nodes = torch.randn(400, 1, 751, generator=g)
    smooth = torch.nn.functional.interpolate(nodes, 3001, mode="linear", align_corners=True)[:, 0]
    ones = torch.ones_like(smooth)
    least, most = noise_scale(Residual(ones, smooth, ones, ones))
    # autocovariances of straight lines between nodes 4 pixels apart, by hand: 11/16, 5/8, 31/64, 5/16
    assert most.mean().item() == pytest.approx(11 / 16 + 2 * 5 / 8, rel=0.02)
    assert least.mean().item() == pytest.approx(11 / 16 + 2 * (5 / 8 - 31 / 64 - 5 / 16), abs=0.05)


def test_a_score_of_y_is_as_rare_as_the_fourth_power_of_one_over_y():
    g = torch.Generator().manual_seed(0)
    snr = torch.full((40_000,), 20.0)

    def drawn():
        # exceeded by x with probability x^-12, and by x with probability x^-3
        u = torch.rand(2, 40_000, generator=g)
        return {"bad_fit": u[0] ** (-1 / 12), "emission_lines": u[1] ** (-1 / 3)}, snr

    limits = limits_of(drawn(), drawn(), drawn())
    assert limits.steepness["bad_fit"] == pytest.approx(3.0, rel=0.05)
    assert limits.steepness["emission_lines"] == pytest.approx(0.75, rel=0.05)


def test_a_good_fit_of_impossible_stars_is_outside_the_training(model):
    encoder, data = model.network.encoder, ordinary(8).observation
    strange = encoder.mean + 15.0 * encoder.components[2]
    error = strange.abs() / 100
    data = data._replace(flux=strange.expand(8, -1), ivar=error.expand(8, -1) ** -2)
    relative = [verdict.scores["outside_training"] for verdict in verdicts(model, data)]
    assert min(relative) > 1


def test_a_spectrum_without_information_is_called_uninformative(model):
    assert named(model, ordinary(snr_range=(0.02, 0.03)).observation, "uninformative") == 1


def test_a_galaxy_beyond_the_redshifts_of_the_prior_is_named(model):
    data = ordinary().observation
    early = data._replace(age_of_universe=torch.full_like(data.age_of_universe, 8.0))
    assert named(model, early, "high_redshift") == 1


def test_scores_do_not_depend_on_the_unit_of_the_flux(model):
    data = ordinary(10).observation
    other = data._replace(flux=data.flux * 1e6, ivar=data.ivar / 1e12)
    found = [scores(model.network.encoder, d, grid=model.grid, critic=model.critic) for d in (data, other)]
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=2e-3, atol=1e-4)


def test_the_critic_tells_shifted_spectra_from_right_ones(model):
    batch = ordinary(200)
    faults = Faults(model.grid, torch.Generator().manual_seed(3))
    moved = faults.shifted(batch.noiseless, torch.full((200,), 3000.0))
    encoder, at = model.network.encoder, FAULTS.index("wrong_redshift")
    data = with_flux(batch.observation, batch.noiseless, moved)
    clean, faulty = (model.critic(encoder.scaled(encoder.features(d)))[:, at] for d in (batch.observation, data))
    assert (faulty[:, None] > clean).double().mean().item() > 0.9


def test_a_fault_moves_features_by_its_velocity():
    faults = Faults(toy.GRID, torch.Generator())
    pixel = toy.GRID.velocity_step_kms
    flux = torch.rand(2, toy.GRID.n_pixels)
    moved = faults.shifted(flux, torch.tensor([3 * pixel, -2 * pixel]))
    torch.testing.assert_close(moved[0, 5:-5], flux[0, 2:-8])
    torch.testing.assert_close(moved[1, 5:-5], flux[1, 7:-3])


@pytest.mark.parametrize("kind", FAULTS)
def test_faulty_spectra_are_finite_have_unit_mean_and_repeat(kind):
    flux = toy.simulator().sample(20, seed=1).noiseless
    flux = flux / flux.mean(-1, keepdim=True)
    one, two = (Faults(toy.GRID, torch.Generator().manual_seed(5)).draw(kind, flux) for _ in range(2))
    assert torch.equal(one, two)
    assert torch.isfinite(one).all()
    assert not torch.allclose(one, flux, rtol=1e-3)
    assert kind in REASONS
    if "wrong" not in kind:
        torch.testing.assert_close(one.mean(-1), torch.ones(20), rtol=1e-3, atol=0)


def test_a_critic_is_what_its_state_says(model):
    copy = Critic.of_state(model.critic.state_dict())
    x = torch.randn(5, model.network.encoder.feature_mean.shape[0])
    assert torch.equal(copy(x), model.critic(x))


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_not_a_finite_number_is_an_alarm(score):
    limits = Limits({"bad_fit": [2.0] * 7}, {"bad_fit": [2.0] * 7}, {"bad_fit": 1.0})
    raw = {"bad_fit": torch.tensor([score]), "uninformative": torch.zeros(1)}
    assert judge(raw, torch.ones(1), limits)[0].reasons == ("bad_fit",)


def test_a_score_can_be_added_later():
    verdict = Verdict(ok=True, reasons=(), scores={"bad_fit": 0.5})
    assert verdict.with_score("sigma_conflict", 0.9).ok
    assert verdict.with_score("sigma_conflict", 1.1).reasons == ("sigma_conflict",)
    assert verdict.ok


def test_a_vague_reason_gives_way_to_a_clear_one():
    verdict = Verdict(ok=True, reasons=(), scores={})
    assert verdict.with_score("outside_training", 2).reasons == ("outside_training",)
    both = verdict.with_score("outside_training", 2).with_score("non_stellar", 2)
    assert both.reasons == ("non_stellar",)
    assert both.scores["outside_training"] == 2


def test_cautions_are_reasons():
    assert set(REASONS) > CAUTIONS
