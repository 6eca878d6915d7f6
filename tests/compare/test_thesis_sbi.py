"""The thesis' flow by sbi and by the package learn the same posterior from the same numbers."""

import numpy as np
import pytest
import torch

pytest.importorskip("sbi", reason="sbi is not installed")

from benchmarks.thesis import posterior, with_sbi
from benchmarks.thesis.context import Context


@pytest.mark.slow
def test_both_packages_find_the_same_gaussian(tmp_path):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3000, 16, generator=generator)
    theta = x[:, :10] + 0.5 * torch.randn(3000, 10, generator=generator)
    theirs = with_sbi.train(x, theta, seed=0, batch=100, rate=5e-4, patience=20, epochs=8)
    training = posterior.Training(x, theta, 100, Context(tmp_path, tmp_path, tiny=True))
    training.loop(8)
    ours = training.best
    # each quantity is known to 0.5: their entropy is 10 x log(0.5 sqrt(2 pi e)) nats
    entropy = 10 * np.log(0.5 * np.sqrt(2 * np.pi * np.e))
    assert -theirs.log_prob(theta, x).mean().item() == pytest.approx(entropy, abs=0.7)
    assert -ours.log_prob(theta=theta, x=x).mean().item() == pytest.approx(entropy, abs=0.7)
    samples = [flow.sampler(x[:30], 500) for flow in (theirs, ours)]
    assert samples[0].shape == samples[1].shape == (30, 500, 10)
    for found in samples:
        assert (found.mean(1) - x[:30, :10]).square().mean().sqrt() < 0.25
