"""Stage: the thesis' posterior (sections 3.2.2 and 4.2, figures 12, 13 and 14), by the package and by `sbi`.

A masked autoregressive flow of five MADE blocks with two hidden layers of 128 units, given the 16 latent numbers;
Adam with a learning rate of 5e-4, 90 % of the latent numbers for training, and an end after 20 epochs without
gain on the others, or after `_Size.steps`.  The same is trained by `sbi` (Tejero-Cantero et al. 2020) on the same
numbers where that package can be imported, and both are asked about the same test galaxies: R2 of the posterior
medians, mean log density of the truth, and the share of samples that no history can have (times out of order or
outside the age of the Universe), which neither flow forbids.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.markdown import table
from benchmarks.thesis import with_sbi
from benchmarks.thesis.context import Context
from benchmarks.thesis.dataset import AGE_OF_UNIVERSE, NAMES
from benchmarks.thesis.encoder import load_latents
from sfhflow.checkpoint import load_checkpoint, save_checkpoint
from sfhflow.diagnostics import r2
from sfhflow.flow import AutoregressiveFlow
from sfhflow.plots import corner, formation_percentiles, predicted_true
from sfhflow.plots.style import COLUMN_INCHES, new_figure

__all__ = ["Training", "judged", "load_flow", "run", "sampled", "section"]

Array = NDArray[np.float64]
Sampler = Callable[[Tensor, int], Tensor]

THESIS = {"t10": 0.7935, "t50": 0.9354, "t90": 0.9895, "mh": 0.7583}
"""R2 of the thesis' posterior medians on its test set (figure 13)."""
_RATE = 5e-4
_HIDDEN = (128, 128)
_TRANSFORMS = 5
_PATIENCE = 20
_VALIDATION = 0.1
_GALAXIES = 100  # sampled at once


@dataclass(frozen=True)
class _Size:
    """Steps at most, in whole epochs, galaxies in a batch, test galaxies, and samples of each."""

    steps: int
    batch: int
    n_test: int
    n_samples: int


def run(context: Context) -> dict[str, Any]:
    """Train both flows, sample, compare, draw."""
    size = _Size(
        context.size(30_000, 20, 8),
        context.size(256, 256, 64),
        context.size(1_000, 100, 20),
        context.size(300, 100, 50),
    )
    data, latents = context.dataset("discrete"), load_latents(context)
    rows = torch.cat([latents.train, latents.validation])
    # from the same shuffled galaxies, so that both know the same
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(context.seed))]
    x, theta = latents.values[rows], data.truth[rows]
    test = latents.test[: size.n_test]
    x_test, truth = latents.values[test], data.truth[test]
    training = Training(x, theta, size.batch, context)
    epochs = math.ceil(size.steps / training.steps_an_epoch)
    training.loop(epochs)
    flow = training.best
    ours, seconds = sampled(flow.sampler, x_test, size.n_samples, context.seed)
    samples = {"sfhflow": ours}
    result: dict[str, Any] = {
        "n_training": len(rows),
        "n_test": len(test),
        "n_samples": size.n_samples,
        "sfhflow": {
            **judged(samples["sfhflow"], truth.numpy(), flow.log_prob(theta=truth, x=x_test)),
            "epochs": training.epoch,
            "minutes": training.minutes,
            "ms_per_1000_samples": 1e6 * seconds / (len(test) * size.n_samples),
            "parameters": sum(p.numel() for p in flow.flow.parameters()),
        },
    }
    if find_spec("sbi"):
        other = with_sbi.train(
            x, theta, seed=context.seed, batch=size.batch, rate=_RATE, patience=_PATIENCE, epochs=epochs
        )
        samples["sbi"], seconds = sampled(other.sampler, x_test, size.n_samples, context.seed)
        result["sbi"] = {
            **judged(samples["sbi"], truth.numpy(), other.log_prob(truth, x_test)),
            "epochs": other.epochs,
            "minutes": other.minutes,
            "ms_per_1000_samples": 1e6 * seconds / (len(test) * size.n_samples),
            "parameters": other.n_parameters,
            "version": with_sbi.version(),
        }
    _draw(context, samples, truth.numpy())
    return result


def section(result: dict[str, Any]) -> list[str]:
    """Lines of the page."""
    packages = [name for name in ("sfhflow", "sbi") if name in result]
    shown = list(THESIS)
    lines = [
        f"The flow, trained on the latent numbers of {result['n_training']:,} spectra; R2 of the medians of "
        f"{result['n_samples']} posterior samples for {result['n_test']:,} test galaxies.",
        "",
    ]
    rows = []
    for name in packages:
        row = result[name]
        cells = [f"thesis' flow by {name}", *(f"{row['r2'][quantity]:.3f}" for quantity in shown)]
        cells += [f"{row['log_prob']:.2f}", f"{100 * row['impossible']:.1f} %"]
        rows.append([*cells, str(row["epochs"]), f"{row['minutes']:.1f}"])
    rows.append(["thesis", *(f"{THESIS[quantity]:.3f}" for quantity in shown), "", "", "", ""])
    lines += table(["", *shown, "log density", "impossible samples", "epochs", "minutes"], rows)
    if "sbi" not in result:
        lines += ["", "sbi is not installed where this was run."]
    lines += [
        "",
        "![Posterior medians and true values](figures/posterior-medians.png)",
        "",
        "![Four assembly histories](figures/posterior-histories.png)",
        "",
        "![Posterior of one galaxy](figures/posterior-corner.png)",
    ]
    return lines


class ThesisFlow:
    """The flow on standardised latent numbers."""

    def __init__(self, mean: Tensor, std: Tensor, *, seed: int = 0) -> None:
        self.mean, self.std = mean, std
        self.flow = AutoregressiveFlow(len(NAMES), len(mean), transforms=_TRANSFORMS, hidden=_HIDDEN, seed=seed)

    def log_prob(self, *, theta: Tensor, x: Tensor) -> Tensor:
        """Log density (N,) of quantities (N, 10) given latent numbers (N, 16)."""
        return self.flow.log_prob(theta, (x - self.mean) / self.std)

    @torch.no_grad()
    def sampler(self, x: Tensor, n: int) -> Tensor:
        """Samples (N, n, 10) given latent numbers (N, 16)."""
        noise = torch.randn(len(x), n, self.flow.n_noise)
        return self.flow.sample((x - self.mean) / self.std, noise)


class Training:
    """State of the training of the flow; a checkpoint is written after every epoch."""

    def __init__(self, x: Tensor, theta: Tensor, batch: int, context: Context) -> None:
        self.x, self.theta, self.batch, self.seed = x, theta, batch, context.seed
        mean, std = x.mean(0), x.std(0).clamp_min(1e-6)
        self.flow, self.best = (ThesisFlow(mean, std, seed=context.seed) for _ in range(2))
        for flow in (self.flow, self.best):
            flow.flow.standardise(theta)
        self.n_validation = max(1, int(_VALIDATION * len(x)))
        self.optimizer = torch.optim.Adam(self.flow.flow.parameters(), lr=_RATE)
        self.epoch, self.stale, self.minutes, self.best_loss = 0, 0, 0.0, math.inf
        # of these latent numbers: another encoder's mean something else
        mark = hashlib.sha256(x.numpy().tobytes()).hexdigest()[:8]
        self.checkpoint = context.file(f"maf-checkpoint-{mark}.safetensors")
        self.weights = context.file("maf.safetensors")
        if self.checkpoint.exists():
            state = load_checkpoint(self.checkpoint, self._modules(), self.optimizer)
            self.__dict__.update(state)

    @property
    def steps_an_epoch(self) -> int:
        """Batches in an epoch, the last one smaller."""
        return math.ceil((len(self.x) - self.n_validation) / self.batch)

    def loop(self, epochs: int) -> None:
        """Train until nothing is gained any more."""
        start = time.perf_counter() - 60 * self.minutes
        while self.epoch < epochs and self.stale < _PATIENCE:
            self._train_once()
            loss = self._validation_loss()
            self.epoch, self.stale = self.epoch + 1, self.stale + 1
            self.minutes = (time.perf_counter() - start) / 60
            if loss < self.best_loss:
                self.best_loss, self.stale = loss, 0
                self.best.flow.load_state_dict(self.flow.flow.state_dict())
            state = {name: getattr(self, name) for name in ("epoch", "stale", "minutes", "best_loss")}
            save_checkpoint(self.checkpoint, self._modules(), self.optimizer, state)
            if self.epoch % 10 == 0:
                print(f"  epoch {self.epoch}: {loss:.3f} nats, {self.minutes:.1f} min", flush=True)
        save_file({**self.best.flow.state_dict(), "x_mean": self.best.mean, "x_std": self.best.std}, self.weights)

    def _train_once(self) -> None:
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch)
        n_train = len(self.x) - self.n_validation
        for rows in torch.randperm(n_train, generator=generator).split(self.batch):
            loss = -self.flow.log_prob(theta=self.theta[rows], x=self.x[rows]).mean()
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.flow.flow.parameters(), 5.0)
            self.optimizer.step()

    @torch.no_grad()
    def _validation_loss(self) -> float:
        n = self.n_validation
        return -self.flow.log_prob(theta=self.theta[-n:], x=self.x[-n:]).mean().item()

    def _modules(self) -> dict[str, torch.nn.Module]:
        return {"flow": self.flow.flow, "best": self.best.flow}


def load_flow(context: Context) -> ThesisFlow:
    """The trained flow of this run."""
    weights = load_file(context.file("maf.safetensors"))
    flow = ThesisFlow(weights.pop("x_mean"), weights.pop("x_std"))
    flow.flow.load_state_dict(weights)
    return flow


def sampled(sampler: Sampler, x: Tensor, n: int, seed: int) -> tuple[Array, float]:
    """Samples (N, n, 10) for latent numbers (N, 16), and the seconds that they took."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        start = time.perf_counter()
        samples = torch.cat([sampler(some, n) for some in x.split(_GALAXIES)])
        return samples.double().numpy(), time.perf_counter() - start


def judged(samples: Array, truth: Array, log_prob: Tensor) -> dict[str, Any]:
    """Scores of posterior samples (N, n, 10) of galaxies with true quantities (N, 10)."""
    scores = r2(np.median(samples, axis=1), truth.astype(float))
    times = samples[..., :-1]
    possible = (np.diff(times, axis=-1) > 0).all(-1) & (times[..., 0] > 0) & (times[..., -1] < AGE_OF_UNIVERSE)
    return {
        "r2": dict(zip(NAMES, scores.tolist(), strict=True)),
        "log_prob": log_prob.detach().mean().item(),
        "impossible": float(1 - possible.mean()),
    }


def _draw(context: Context, samples: dict[str, Array], truth: Array) -> None:
    ours = samples["sfhflow"]
    medians = np.median(ours, axis=1)
    figure = new_figure(2 * COLUMN_INCHES, 2 * COLUMN_INCHES)
    for name, ax in zip(THESIS, figure.subplots(2, 2).flat, strict=True):
        k = NAMES.index(name)
        predicted_true(medians[:, k], truth[:, k], name=name, ax=ax)
    figure.savefig(context.figure("posterior-medians"))
    figure = new_figure(2 * COLUMN_INCHES, 4.4)
    # galaxies whose median mass forms early, late and between
    order = np.argsort(truth[:, NAMES.index("t50")])
    chosen = order[[round(f * (len(order) - 1)) for f in (0.05, 0.35, 0.65, 0.95)]]
    for galaxy, ax in zip(chosen, figure.subplots(2, 2).flat, strict=True):
        formation_percentiles(ours[galaxy, :, :-1], truth=truth[galaxy, :-1], age_gyr=AGE_OF_UNIVERSE, ax=ax)
    figure.savefig(context.figure("posterior-histories"))
    galaxy = chosen[1]
    drawn = dict(zip(NAMES, ours[galaxy].T, strict=True))
    corner(drawn, NAMES, truth=dict(zip(NAMES, truth[galaxy].tolist(), strict=True)))[0, 0].figure.savefig(
        context.figure("posterior-corner"), dpi=90
    )
