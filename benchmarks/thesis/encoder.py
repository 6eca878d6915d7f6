"""Stage: the thesis' encoder, trained (section 3.2.1, figures 7 and 8), and the latent numbers of the spectra.

The authors' code (github.com/patriglesias/SBI_SFHs) takes 250 "epochs" of 128 batches of 128 spectra, 4.1 million
spectra in all, with Adam and a learning rate that rises to 5e-4 and falls to zero; a log of losses there
(norm/saved_models/losses_12.txt, divided by the batch size) ends at 0.17.  On a GPU (`--device cuda`) this stage
does the same.  A CPU core takes the network through some tens of spectra a second; there the training
is as long as `PLANS` says, with a quarter of the channels, and the results say so.

A checkpoint is written after every epoch; a run that finds one goes on from it.
"""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.thesis.context import Context
from benchmarks.thesis.dataset import NAMES, Dataset
from benchmarks.thesis.network import CHANNELS, N_LATENTS, ThesisNetwork, log_cosh
from sfhflow.checkpoint import load_checkpoint, save_checkpoint
from sfhflow.diagnostics import r2
from sfhflow.plots import learning_curves

__all__ = [
    "PLANS",
    "Latents",
    "Plan",
    "Training",
    "encode",
    "load_encoder",
    "load_latents",
    "plan_of",
    "run",
    "section",
]

_RATE = 5e-4
_AUTHORS_LOSS = 0.17
_CHUNK = 256
_WEIGHTS = "encoder.safetensors"


@dataclass(frozen=True)
class Plan:
    """How long to train, and how many spectra to encode afterwards.

    Attributes
    ----------
    epochs, batches, batch_size : int
        Epochs, batches in each, and spectra in those.
    channels : int
        See `ThesisNetwork`.
    n_validation : int
        Spectra for the validation loss.
    n_encoded : int
        Spectra whose latent numbers are kept: 80 % training, 10 % validation, 10 % test.
    """

    epochs: int
    batches: int
    batch_size: int
    channels: int
    n_validation: int
    n_encoded: int


PLANS = {
    "thesis": Plan(
        epochs=250, batches=128, batch_size=128, channels=CHANNELS, n_validation=15_000, n_encoded=150_000
    ),
    "full": Plan(epochs=10, batches=192, batch_size=32, channels=128, n_validation=1_000, n_encoded=24_000),
    "quick": Plan(epochs=2, batches=20, batch_size=32, channels=32, n_validation=256, n_encoded=2_000),
    "tiny": Plan(epochs=2, batches=2, batch_size=8, channels=16, n_validation=32, n_encoded=300),
}


@dataclass(frozen=True, eq=False)
class Latents:
    """Latent numbers of part of a data set.

    Attributes
    ----------
    train, validation, test : Tensor of int
        Rows of the data set.
    values : Tensor of shape (N, 16)
        Their latent numbers; those of rows that were not encoded are NaN.
    """

    train: Tensor
    validation: Tensor
    test: Tensor
    values: Tensor


def run(context: Context) -> dict[str, Any]:
    """Train the encoder, encode, and describe how well its head estimates."""
    data, plan = context.dataset("discrete"), plan_of(context)
    training = Training(data, plan, context)
    training.loop()
    network = training.best.eval()
    save_file({**network.state_dict(), "channels": torch.tensor(plan.channels)}, context.file(_WEIGHTS))
    start = time.perf_counter()
    latents = encode(network, data, plan, context.device)
    encode_seconds = time.perf_counter() - start
    save_file(
        {name: getattr(latents, name).contiguous() for name in ("train", "validation", "test", "values")},
        context.file("latents.safetensors"),
    )
    with torch.no_grad():
        estimate = network.head.cpu()(latents.values[latents.test])
    scores = r2(estimate.numpy(), data.truth[latents.test].numpy())
    _draw(context, training.history)
    return {
        "plan": asdict(plan),
        "is_thesis_scale": plan == PLANS["thesis"],
        "device": context.device,
        "parameters": sum(p.numel() for p in network.parameters()),
        "spectra_seen": plan.epochs * plan.batches * plan.batch_size,
        "training_set": len(data.truth[data.train]),
        "minutes": training.minutes,
        "history": training.history,
        "best_validation": training.best_loss,
        "r2": dict(zip(NAMES, scores.tolist(), strict=True)),
        "encode_seconds_per_spectrum": encode_seconds / sum(plan_rows(plan, data)),
    }


def section(result: dict[str, Any]) -> list[str]:
    """Lines of the page."""
    plan, scores = result["plan"], result["r2"]
    channels = plan["channels"]
    scale = (
        "at the scale of the thesis"
        if result["is_thesis_scale"]
        else f"with {channels} channels in the last block in place of the thesis' {CHANNELS}"
    )
    seen = f"{result['spectra_seen']:,}"
    lines = [
        f"The thesis' network {scale} ({result['parameters']:,} parameters), trained on {seen} spectra "
        f"({plan['epochs']} epochs of {plan['batches']} batches of {plan['batch_size']}) in "
        f"{result['minutes']:.1f} minutes ({result['device']}). The authors' code shows theirs 4,096,000 spectra "
        f"(250 epochs of 128 batches of 128), and the validation loss in a log of theirs ends at {_AUTHORS_LOSS}; "
        f"here it ends at {result['best_validation']:.2f}.",
        "",
        "![Losses of the encoder](figures/encoder-losses.png)",
        "",
        "R2 of the estimates of the encoder's own head on test spectra:",
        "",
        "| " + " | ".join(scores) + " |",
        "|" + "---:|" * len(scores),
        "| " + " | ".join(f"{value:.3f}" for value in scores.values()) + " |",
    ]
    if not result["is_thesis_scale"]:
        lines += ["", "These latent numbers are those of a network that is far from trained: see the losses."]
    return lines


def plan_of(context: Context) -> Plan:
    """Size of the training for this run: the thesis' own where there is a GPU."""
    if context.tiny:
        return PLANS["tiny"]
    if context.quick:
        return PLANS["quick"]
    return PLANS["full" if context.device == "cpu" else "thesis"]


def load_encoder(context: Context) -> ThesisNetwork:
    """The trained network of this run."""
    weights = load_file(context.file(_WEIGHTS))
    network = ThesisNetwork(len(NAMES), int(weights.pop("channels")))
    network.load_state_dict(weights)
    return network.eval()


def load_latents(context: Context) -> Latents:
    """The latent numbers of this run."""
    return Latents(**load_file(context.file("latents.safetensors")))


class Training:
    """State of the training of a network: from scratch, or of one that goes on, with noise on the spectra."""

    def __init__(
        self,
        data: Dataset,
        plan: Plan,
        context: Context,
        *,
        noise: float = 0.0,
        start: ThesisNetwork | None = None,
    ) -> None:
        torch.manual_seed(context.seed)
        self.noise = noise
        self.data, self.plan, self.device, self.seed = data.to(context.device), plan, context.device, context.seed
        self.network = ThesisNetwork(len(NAMES), plan.channels).to(self.device)
        self.best = ThesisNetwork(len(NAMES), plan.channels).to(self.device)
        if start is not None:
            self.network.load_state_dict(start.state_dict())
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=_RATE)
        self.history: list[dict[str, float]] = []
        self.minutes, self.best_loss = 0.0, math.inf
        # of this plan: another one's rate of learning would not fit
        mark = hashlib.sha256(repr((plan, len(data), noise)).encode()).hexdigest()[:8]
        self.checkpoint = context.file(f"encoder-checkpoint-{mark}.safetensors")
        if self.checkpoint.exists():
            state = load_checkpoint(self.checkpoint, self._modules(), self.optimizer)
            self.history, self.minutes, self.best_loss = (state[k] for k in ("history", "minutes", "best_loss"))

    def loop(self) -> None:
        """Train until the plan is done."""
        start = time.perf_counter() - 60 * self.minutes
        for epoch in range(len(self.history), self.plan.epochs):
            training, validation = self._epoch(epoch), self.validation_loss()
            self.minutes = (time.perf_counter() - start) / 60
            if validation < self.best_loss:
                self.best_loss = validation
                self.best.load_state_dict(self.network.state_dict())
            self.history.append({"epoch": epoch + 1, "training": training, "validation": validation})
            print(f"  epoch {epoch + 1}: {training:.4f} {validation:.4f} {self.minutes:.1f} min", flush=True)
            state = {"history": self.history, "minutes": self.minutes, "best_loss": self.best_loss}
            save_checkpoint(self.checkpoint, self._modules(), self.optimizer, state)

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Loss on spectra that training never sees."""
        first = self.data.validation.start
        rows = slice(first, min(self.data.validation.stop, first + self.plan.n_validation))
        truth = self.data.truth[rows]
        generator = torch.Generator(self.device).manual_seed(self.seed)
        parts = torch.arange(rows.start, rows.stop).split(_CHUNK)
        spectra = (noisy(self.data.spectra(part), self.noise, generator) for part in parts)
        return log_cosh(torch.cat([self.network(x).cpu() for x in spectra]), truth).item()

    def _epoch(self, epoch: int) -> float:
        plan, data = self.plan, self.data
        seed = 1_000_003 * self.seed + epoch
        generator, device_generator = (torch.Generator(d).manual_seed(seed) for d in ("cpu", self.device))
        wanted, n_train = plan.batches * plan.batch_size, data.train.stop
        parts = [torch.randperm(n_train, generator=generator) for _ in range(math.ceil(wanted / n_train))]
        total = 0.0
        for number, rows in enumerate(torch.cat(parts)[:wanted].split(plan.batch_size)):
            for group in self.optimizer.param_groups:
                group["lr"] = _RATE * _one_cycle((epoch * plan.batches + number) / (plan.epochs * plan.batches))
            estimate = self.network(noisy(data.spectra(rows), self.noise, device_generator))
            loss = log_cosh(estimate, data.truth[rows].to(self.device))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        return total / plan.batches

    def _modules(self) -> dict[str, torch.nn.Module]:
        return {"network": self.network, "best": self.best}


def plan_rows(plan: Plan, data: Dataset) -> tuple[int, int, int]:
    """How many spectra of the training, validation and test set are encoded."""
    n = min(plan.n_encoded, len(data))
    return n * 8 // 10, n // 10, n // 10


def _one_cycle(done: float) -> float:
    """Factor of the learning rate: a cosine rise from 1/25 over 30 % of the steps and a cosine fall to zero."""
    if done < 0.3:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * done / 0.3))
    return 0.5 * (1 + math.cos(math.pi * (done - 0.3) / 0.7))


def noisy(spectra: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Spectra with white noise of standard deviation `noise`."""
    if noise == 0:
        return spectra
    return spectra + noise * torch.randn(spectra.shape, generator=generator, device=spectra.device)


@torch.no_grad()
def encode(network: ThesisNetwork, data: Dataset, plan: Plan, device: str, *, noise: float = 0.0) -> Latents:
    """Latent numbers of as many spectra as the plan says, with noise that is drawn once."""
    generator, spectra = torch.Generator(device).manual_seed(1), data.to(device).spectra
    counts = plan_rows(plan, data)
    starts = (data.train.start, data.validation.start, data.test.start)
    rows = [torch.arange(start, start + count) for start, count in zip(starts, counts, strict=True)]
    values = torch.full((len(data), N_LATENTS), math.nan)
    for some in torch.cat(rows).split(_CHUNK):
        values[some] = network.encode(noisy(spectra(some), noise, generator)).cpu()
    return Latents(*rows, values)


def _draw(context: Context, history: list[dict[str, float]]) -> None:
    epochs = [row["epoch"] for row in history]
    curves = {name: [row[name] for row in history] for name in ("training", "validation")}
    ax = learning_curves(epochs, curves, ylabel="log cosh loss")
    ax.figure.savefig(context.figure("encoder-losses"))
