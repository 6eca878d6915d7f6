"""Training: it learns, it is a function of its seed, and it can be interrupted at any moment."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

import toy
from sfhflow.errors import ModelError
from sfhflow.model import load_model
from sfhflow.noise import NoiseModel
from sfhflow.simulator import Simulator
from sfhflow.train import fit, stream_seed


def train(directory=None, *, simulator=None, architecture=toy.ARCHITECTURE, start=None, **changes):
    return fit(
        simulator or toy.simulator(),
        architecture=architecture,
        plan=toy.plan(**changes),
        directory=directory,
        start=start,
    )


def weights(model):
    return model.network.state_dict()


def assert_same(one, other):
    assert weights(one).keys() == weights(other).keys()
    assert all(torch.equal(weights(one)[key], weights(other)[key]) for key in weights(one))
    assert one.thresholds == other.thresholds


def without_clock(history):
    return [{key: value for key, value in row.items() if not key.endswith("minutes")} for row in history]


class Unplugged(Simulator):
    """A simulator that fails at one of the training batches."""

    stop_at: int = -1

    def sample(self, n, *, seed):
        if seed == self.stop_at:
            raise KeyboardInterrupt
        return super().sample(n, seed=seed)


def unplugged(step, seed=0):
    base = toy.simulator()
    result = Unplugged(**{field.name: getattr(base, field.name) for field in fields(base)})
    result.stop_at = stream_seed(seed, "train", step)
    return result


@pytest.fixture(scope="module")
def uninterrupted():
    return train()


def test_the_loss_falls_and_every_weight_moves():
    start, _ = train(steps=1, validate_every=1, learning_rate=0.0, weight_decay=0.0)
    model, history = train(steps=120, validate_every=30, learning_rate=3e-3, average=0.95)
    losses = [row["validation"] for row in history]
    assert [row["step"] for row in history] == [30, 60, 90, 120]
    assert losses[-1] < losses[0] - 0.2
    assert history[-1]["training"] < history[0]["training"]
    moved = dict(model.network.named_parameters())
    for name, weight in start.network.named_parameters():
        assert not torch.equal(weight, moved[name]), name


def test_the_validation_loss_is_that_of_fresh_galaxies(uninterrupted):
    model, history = uninterrupted
    sample = toy.simulator().sample(4000, seed=stream_seed(0, "test", 0))
    loss = -model.log_prob(sample.u, sample.observation)
    expected = min(row["validation"] for row in history)
    # 256 galaxies of validation
    assert loss.mean().item() == pytest.approx(expected, abs=4 * loss.std().item() / 256**0.5)


def test_a_run_is_a_function_of_its_seed_alone(uninterrupted):
    torch.manual_seed(99)
    np.random.default_rng(3)
    model, history = train()
    assert_same(model, uninterrupted[0])
    assert without_clock(history) == without_clock(uninterrupted[1])
    other, _ = train(seed=1)
    assert not torch.equal(weights(other)["encoder.components"], weights(model)["encoder.components"])


# the first validation, and so the first checkpoint, is at step 4; batch k is made one step ahead
@pytest.mark.parametrize("step", [2, 4, 5, 7, 11])
def test_an_interrupted_run_ends_as_if_it_had_not_been(uninterrupted, tmp_path, step):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, simulator=unplugged(step))
    model, history = train(tmp_path)
    assert_same(model, uninterrupted[0])
    assert without_clock(history) == without_clock(uninterrupted[1])
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]


def test_a_run_can_be_interrupted_again_and_again(uninterrupted, tmp_path):
    for step in (6, 6, 10):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, simulator=unplugged(step))
    assert_same(train(tmp_path)[0], uninterrupted[0])


def test_a_finished_run_is_not_trained_further(uninterrupted, tmp_path):
    train(tmp_path)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    model, history = train(tmp_path, simulator=unplugged(12))
    assert_same(model, uninterrupted[0])
    assert len(history) == 3
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


def test_training_stops_when_patience_runs_out_and_stays_stopped(tmp_path):
    # without learning the loss cannot improve after the first validation
    plan = {"learning_rate": 0.0, "weight_decay": 0.0, "steps": 1000, "validate_every": 2, "patience": 3}
    model, history = train(tmp_path, **plan)
    assert [row["step"] for row in history] == [2, 4, 6, 8]
    again, same = train(tmp_path, **plan)
    assert same == history
    assert_same(again, model)


def test_the_best_weights_are_kept_not_the_last():
    # a rate that wrecks the network once it has risen
    model, history = train(
        steps=200, validate_every=5, learning_rate=0.5, average=0.5, warmup=40, max_gradient=1e9, patience=3
    )
    losses = [row["validation"] for row in history]
    assert losses[-1] > min(losses) + 5
    sample = toy.simulator().sample(1000, seed=stream_seed(0, "test", 0))
    assert -model.log_prob(sample.u, sample.observation).mean().item() < min(losses) + 3
    assert model.card["training"]["validation_log_prob"] == -min(losses)


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": replace(toy.ARCHITECTURE, width=48)},
        {"simulator": toy.simulator(noise=NoiseModel(snr_range=(1.0, 2.0)))},
    ],
    ids=["architecture", "simulator"],
)
def test_a_checkpoint_of_another_configuration_is_refused(tmp_path, change):
    train(tmp_path)
    with pytest.raises(ModelError, match=r"of another configuration.* remove that file"):
        train(tmp_path, **change)


def test_the_model_that_comes_out_knows_its_world_and_survives_the_disk(uninterrupted, tmp_path):
    model, history = uninterrupted
    model.save(tmp_path)
    loaded = load_model(tmp_path)
    spectrum = toy.spectra(1)[0]
    np.testing.assert_array_equal(
        loaded.infer(spectrum, n_samples=20).times, model.infer(spectrum, n_samples=20).times
    )
    training = loaded.card["training"]
    assert training["steps"] == 12
    assert training["history"] == history
    assert training["plan"]["batch_size"] == toy.PLAN.batch_size
    assert loaded.card["library"] == {"name": "toy", "imf": "none"}
    assert loaded.grid == toy.GRID
    assert loaded.library_fwhm == 4.0


def test_streams_of_random_numbers_never_meet():
    """Not even in the 32 bits of a seed that the generator of the CPU uses."""
    plan = {
        "train": 100_000,
        "components": 100,
        "scaling": 100,
        "validation": 100,
        "thresholds": 100,
        "test": 1000,
    }
    for seed in range(3):
        starts = np.array([stream_seed(seed, stream, 0) % 2**32 for stream in plan])
        ends = starts + np.array(list(plan.values()))
        order = np.argsort(starts)
        assert (ends[order][:-1] < starts[order][1:]).all()


def test_reusing_simulations_in_other_processes_changes_nothing_but_the_time(tmp_path):
    here, history = train(reuse=2, memory=3)
    elsewhere, other = train(reuse=2, memory=3, workers=1)
    assert_same(here, elsewhere)
    assert without_clock(history) == without_clock(other)


def test_fine_tuning_starts_from_the_weights_of_the_model(uninterrupted):
    model, _ = uninterrupted
    still, history = train(start=model, steps=1, validate_every=1, learning_rate=0.0, weight_decay=0.0, seed=3)
    assert all(torch.equal(weights(still)[key], weights(model)[key]) for key in weights(model))
    tuned, later = train(start=model, steps=40, validate_every=40, seed=3)
    assert later[-1]["validation"] < history[-1]["validation"]
    assert torch.equal(weights(tuned)["encoder.components"], weights(model)["encoder.components"])


def test_a_model_of_another_shape_is_no_start(uninterrupted):
    with pytest.raises(ModelError, match=r"has architecture .*n_components=8.*expected .*n_components=9"):
        train(start=uninterrupted[0], architecture=replace(toy.ARCHITECTURE, n_components=9))


@pytest.mark.slow
def test_a_model_trained_in_half_a_minute_is_calibrated_and_better_than_the_prior():
    architecture = replace(
        toy.ARCHITECTURE, n_components=10, width=64, n_context=32, transforms=4, hidden=(64,), bins=6
    )
    model, history = train(
        architecture=architecture,
        steps=1200,
        batch_size=128,
        warmup=50,
        learning_rate=5e-3,
        average=0.98,
        n_components_sample=4096,
        n_scaling=4096,
        n_validation=1024,
        n_thresholds=4096,
        validate_every=300,
    )
    assert history[-1]["validation"] < history[0]["validation"]
    sample = toy.simulator().sample(2000, seed=stream_seed(0, "test", 0))
    truth = np.column_stack([sample.galaxy.times[:, 1:10], sample.galaxy.metallicity])
    drawn = np.stack(
        [
            np.column_stack([galaxy.times[:, 1:10], galaxy.metallicity])
            # galaxies inferred with one seed share their noise, and so the error of their quantiles
            for seed in range(100)
            for galaxy in model.sample(
                sample.observation.rows(slice(20 * seed, 20 * seed + 20)), n_samples=200, seed=seed
            )
        ]
    )
    for level in (0.5, 0.68, 0.9):
        low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2], axis=1)
        coverage = ((truth >= low) & (truth <= high)).mean(0)
        # four standard errors of 2000 galaxies, and 0.02 for a network that is not quite trained
        tolerance = 4 * (level * (1 - level) / 2000) ** 0.5 + 0.02
        np.testing.assert_allclose(coverage, level, atol=tolerance)
    explained = 1 - (np.median(drawn, axis=1) - truth).var(0) / truth.var(0)
    assert explained[-1] > 0.95
    assert explained[8] > 0.5
    assert explained[4] > 0.2
