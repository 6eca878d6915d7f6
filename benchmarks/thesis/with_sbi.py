"""The thesis' flow trained by the package that the thesis used, `sbi`, where it is installed."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
import warnings
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

__all__ = ["Trained", "train", "version"]


@dataclass(frozen=True)
class Trained:
    """A trained density estimator of sbi.

    Attributes
    ----------
    estimator : object
        A `ConditionalDensityEstimator`.
    epochs : int
        Epochs of training.
    minutes : float
        What it took.
    """

    estimator: Any
    epochs: int
    minutes: float

    @property
    def n_parameters(self) -> int:
        """Trained numbers."""
        return sum(p.numel() for p in self.estimator.parameters() if p.requires_grad)

    @torch.no_grad()
    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        """Log density (N,) of quantities (N, 10) given latent numbers (N, 16)."""
        return self.estimator.log_prob(theta[None], condition=x)[0]

    @torch.no_grad()
    def sampler(self, x: Tensor, n: int) -> Tensor:
        """Samples (N, n, 10) given latent numbers (N, 16)."""
        return self.estimator.sample((n,), condition=x).transpose(0, 1)


def train(x: Tensor, theta: Tensor, *, seed: int, batch: int, rate: float, patience: int, epochs: int) -> Trained:
    """Train a masked autoregressive flow with five transforms of two layers of 128 units.

    Parameters
    ----------
    x, theta : Tensors of shape (N, 16) and (N, 10)
        Latent numbers and quantities; sbi keeps 10 % for validation.
    seed, batch, rate, patience, epochs
        Seed, batch size, learning rate, epochs without gain after which training ends, and epochs at most.
    """
    inference, nets = import_module("sbi.inference"), import_module("sbi.neural_nets")
    build = nets.posterior_nn(model="maf", hidden_features=128, num_transforms=5, num_blocks=2)
    with (
        # it writes a log into the folder where it runs
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        torch.random.fork_rng(),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        npe = inference.NPE(density_estimator=build, show_progress_bars=False)
        npe.append_simulations(theta, x)
        start = time.perf_counter()
        estimator = npe.train(
            training_batch_size=batch,
            learning_rate=rate,
            validation_fraction=0.1,
            stop_after_epochs=patience,
            max_num_epochs=epochs,
        )
        minutes = (time.perf_counter() - start) / 60
    return Trained(estimator.eval(), int(npe.summary["epochs_trained"][-1]), minutes)


def version() -> str:
    """Version of sbi."""
    return str(import_module("sbi").__version__)
