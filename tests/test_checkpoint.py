"""Checkpoints: everything comes back, and a half-written file never takes the place of a whole one."""

import pytest
import torch
from torch import nn

from sfhflow import checkpoint
from sfhflow.checkpoint import load_checkpoint, save_checkpoint
from sfhflow.errors import ModelError


def modules(seed, width=4):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 1))
    average = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 1))
    return {"network": network, "average": average}


def optimizer(parts):
    return torch.optim.AdamW(parts["network"].parameters(), lr=1e-2, weight_decay=0.1)


def train(parts, steps, optim, seed=0):
    x = torch.randn(steps, 16, 3, generator=torch.Generator().manual_seed(seed))
    for batch in x:
        optim.zero_grad()
        (parts["network"](batch) - batch.sum(1, keepdim=True)).square().mean().backward()
        optim.step()


def assert_equal(one, other):
    for name in one:
        state, expected = one[name].state_dict(), other[name].state_dict()
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[key], expected[key]) for key in state)


@pytest.fixture
def written(tmp_path):
    parts = modules(0)
    optim = optimizer(parts)
    train(parts, 5, optim)
    state = {"step": 5, "best": 0.1 + 0.2, "history": [{"loss": 1e-17}], "worst": float("inf")}
    save_checkpoint(tmp_path / "run.safetensors", parts, optim, state)
    return tmp_path / "run.safetensors", parts, optim, state


def test_modules_buffers_and_state_come_back_exactly(written):
    path, parts, _, state = written
    fresh = modules(1)
    assert load_checkpoint(path, fresh, optimizer(fresh)) == state
    assert_equal(fresh, parts)


def test_the_optimizer_goes_on_as_if_never_interrupted(written):
    path, parts, optim, _ = written
    fresh = modules(1)
    other = optimizer(fresh)
    load_checkpoint(path, fresh, other)
    train(parts, 7, optim, seed=2)
    train(fresh, 7, other, seed=2)
    assert_equal(fresh, parts)


def test_only_the_checkpoint_is_left_behind(written):
    assert [entry.name for entry in written[0].parent.iterdir()] == ["run.safetensors"]


def test_a_write_that_fails_leaves_the_last_checkpoint_whole(written, monkeypatch):
    path, parts, optim, state = written

    def fail(_tensors, target, _metadata):
        target.write_bytes(b"half a file")
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint, "save_file", fail)
    before = path.read_bytes()
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, parts, optim, {"step": 6})
    assert path.read_bytes() == before
    monkeypatch.undo()
    # what the failure left is in nobody's way
    fresh = modules(1)
    assert load_checkpoint(path, fresh, optimizer(fresh)) == state
    save_checkpoint(path, parts, optim, {"step": 6})
    assert load_checkpoint(path, fresh, optimizer(fresh)) == {"step": 6}
    assert [entry.name for entry in path.parent.iterdir()] == ["run.safetensors"]


def test_modules_that_share_memory_can_be_written(tmp_path):
    parts = modules(0)
    shared = {"network": parts["network"], "average": parts["network"]}
    save_checkpoint(tmp_path / "run.safetensors", shared, optimizer(shared), {})
    assert load_checkpoint(tmp_path / "run.safetensors", parts, optimizer(parts)) == {}
    assert_equal({"a": parts["network"]}, {"a": parts["average"]})


@pytest.mark.parametrize("size", [0, 5, 200])
def test_a_damaged_checkpoint_is_refused_with_a_cure(written, size):
    path, parts, optim, _ = written
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ModelError, match=r"run.safetensors: the checkpoint is damaged .* remove that file"):
        load_checkpoint(path, parts, optim)


def test_a_checkpoint_of_another_architecture_is_refused_in_one_sentence(written):
    other = modules(0, width=9)
    with pytest.raises(ModelError, match="another configuration") as caught:
        load_checkpoint(written[0], other, optimizer(other))
    assert "\n" not in str(caught.value)
