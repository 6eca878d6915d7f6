r"""Training an amortized posterior.

Neural posterior estimation minimises the expected Kullback-Leibler divergence from the true posterior to the
estimate, which up to a constant is

.. math:: L(\phi) = -E_{p(\theta) p(x|\theta)} \log q_\phi(\theta | x)

(Papamakarios & Murray 2016, arXiv:1605.06376).  Galaxies are simulated without end while the network learns, and
each is used for a few steps only (`sfhflow.feed`), so there is little to overfit.  Batches, and so the whole
run, are a function of the seed, also when a run is interrupted and resumed.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from sfhflow.checkpoint import load_checkpoint, save_checkpoint
from sfhflow.encoder import Encoder
from sfhflow.errors import ModelError
from sfhflow.feed import Batch, Feed
from sfhflow.galaxy import light_of
from sfhflow.mismatch import TemplateMismatch
from sfhflow.model import Model
from sfhflow.network import Architecture, Network
from sfhflow.projection import principal_components
from sfhflow.simulator import Simulator
from sfhflow.verdict.standards import set_standards

__all__ = ["TrainingPlan", "fit"]

_LOG = logging.getLogger(__name__)

# Streams of seeds that never meet: training batch i, and the named fixed sets.
_STREAM = {"train": 0, "components": 1, "scaling": 2, "validation": 3, "thresholds": 4, "test": 5}
_CHUNK = 1024
# what a checkpoint holds beside the weights
_STATE = ("step", "stale", "minutes", "cpu_minutes", "best_loss", "history", "trained_on")
# Nats; the same model on the same simulations agrees far better than this on any machine.
_SAME_LOSS = 0.05


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast to train.

    Attributes
    ----------
    steps, batch_size : int
        Optimisation steps at most, and galaxies in each.
    reuse, memory, workers : int
        Steps for each simulated batch, batches from which a step draws, and processes that simulate (0: a
        thread of this one does); see `sfhflow.feed.Feed`.
    learning_rate, weight_decay : float
        Of AdamW; the rate rises linearly over `warmup` steps and falls as a cosine to zero at `steps`.
    warmup : int
        Steps of the rise.
    max_gradient : float
        Gradients are clipped to this norm.
    average : float
        Decay of the exponential running average of the weights, which is the model that is kept.
    n_components_sample, n_scaling, n_validation, n_thresholds : int
        Simulations for the principal components, the scaling of inputs, the validation loss and the verdict's
        thresholds.
    validate_every : int
        Steps between validations; each is followed by a checkpoint.
    patience : int
        Validations without gain after which training stops.
    seed : int
        Of the initial weights and all simulations.
    """

    steps: int = 20_000
    batch_size: int = 512
    reuse: int = 1
    memory: int = 1
    workers: int = 0
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup: int = 500
    max_gradient: float = 5.0
    average: float = 0.999
    n_components_sample: int = 12_288
    n_scaling: int = 8_192
    n_validation: int = 8_192
    n_thresholds: int = 20_000
    validate_every: int = 500
    patience: int = 12
    seed: int = 0


def fit(
    simulator: Simulator,
    *,
    architecture: Architecture | None = None,
    plan: TrainingPlan | None = None,
    directory: Path | None = None,
    device: str = "cpu",
    progress: bool = False,
    start: Model | None = None,
) -> tuple[Model, list[dict[str, float]]]:
    """Train a model on a simulator.

    Parameters
    ----------
    simulator : Simulator
        Source of the training data.
    architecture, plan : optional
        Sizes, by default those of the shipped model, and schedule.
    directory : Path, optional
        Where checkpoints are kept.  A run that finds one there goes on from it.
    device : str
        Where the network is trained; simulations run on the CPU.
    progress : bool
        Show a progress bar.
    start : Model, optional
        A model of the same architecture and grid whose weights (with its principal components and scalings) a
        new run starts from: fine-tuning to another prior, instrument or library takes a fraction of the time.

    Returns
    -------
    model : Model
        With the running average of the weights at the best validation loss.
    history : list of dict
        Step, training and validation loss (nats), minutes, and minutes of processor time in this process, at
        each validation.

    Raises
    ------
    ModelError
        If the checkpoint in `directory` is damaged or of another configuration, or `start` does not fit.
    """
    run = _Run(simulator, architecture or Architecture(), plan or TrainingPlan(), directory, device, start)
    run.loop(show=progress)
    return run.model(), run.history


@dataclass
class _Source:
    """Simulated training batches by number."""

    simulator: Simulator
    encoder: Encoder
    seed: int
    batch_size: int

    def __call__(self, number: int) -> Batch:
        batch = self.simulator.sample(self.batch_size, seed=stream_seed(self.seed, "train", number))
        return self.encoder.features(batch.observation), batch.u


class _Clock:
    """Minutes by the wall clock and of processor time, going on from those of an earlier run."""

    def __init__(self, minutes: float, cpu_minutes: float) -> None:
        self.zero = time.monotonic() - 60 * minutes, time.process_time() - 60 * cpu_minutes

    def read(self) -> tuple[float, float]:
        """Minutes until now."""
        return (time.monotonic() - self.zero[0]) / 60, (time.process_time() - self.zero[1]) / 60


class _Run:
    """State of a training run."""

    def __init__(
        self,
        simulator: Simulator,
        architecture: Architecture,
        plan: TrainingPlan,
        directory: Path | None,
        device: str,
        start: Model | None,
    ) -> None:
        torch.manual_seed(plan.seed)
        self.simulator, self.architecture, self.plan = simulator, architecture, plan
        self.device = self.trained_on = device
        self.checkpoint = directory / "checkpoint.safetensors" if directory else None
        n_features = simulator.prior.parameters.n_features
        self.network = Network(architecture, simulator.grid.n_pixels, n_features)
        self.step, self.stale, self.best_loss = 0, 0, math.inf
        self.minutes, self.cpu_minutes = 0.0, 0.0
        self.history: list[dict[str, float]] = []
        resumed = self.checkpoint is not None and self.checkpoint.exists()
        if not resumed and start:
            self._start_from(start)
        elif not resumed:
            _initialise(self.network, simulator, plan)
        # a copy on the CPU makes the inputs of the network, also when that trains elsewhere
        self.featurizer = copy.deepcopy(self.network.encoder).eval()
        self.network.to(device)
        self.average = copy.deepcopy(self.network).eval()
        self.best = copy.deepcopy(self.network).eval()
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=True
        )
        if resumed:
            self._resume()
        self.validation = self._features("validation", plan.n_validation)
        if resumed:
            self._check_same_problem()

    def loop(self, *, show: bool) -> None:
        """Train until the schedule ends or patience runs out."""
        plan = self.plan
        if self.stale >= plan.patience or self.step >= plan.steps:
            return
        self.trained_on = self.device
        if self.checkpoint:
            self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        bar = tqdm(total=plan.steps, initial=self.step, disable=not show, unit="step", smoothing=0.05)
        clock, total = _Clock(self.minutes, self.cpu_minutes), 0.0
        source = _Source(self.simulator, self.featurizer, plan.seed, plan.batch_size)
        feed = Feed(source, reuse=plan.reuse, memory=plan.memory, workers=plan.workers)
        for features, u in feed.batches(self.step, plan.steps, seed=plan.seed):
            total += self._update(features.to(self.device), u.to(self.device))
            self.step += 1
            bar.update()
            if self.step % plan.validate_every and self.step != plan.steps:
                continue
            self.minutes, self.cpu_minutes = clock.read()
            self._validate(total / ((self.step - 1) % plan.validate_every + 1))
            total = 0.0
            bar.set_postfix(self.history[-1], refresh=False)
            if self.stale >= plan.patience:
                break
        bar.close()

    def model(self) -> Model:
        """The best model so far, with the standards of its verdict."""
        if not math.isfinite(self.best_loss):
            raise ModelError("training never reached a finite loss; lower the learning rate or check the prior")
        network = self.best.to("cpu")
        seed = stream_seed(self.plan.seed, "thresholds", 0)
        standards = set_standards(network.encoder, self.simulator, n=self.plan.n_thresholds, seed=seed)
        return Model(
            network,
            architecture=self.architecture,
            grid=self.simulator.grid,
            library_fwhm=float(torch.as_tensor(self.simulator.library.fwhm).mean()),
            parameters=self.simulator.prior.parameters,
            thresholds=standards.limits,
            card=self._card(),
            light=light_of(self.simulator.library),
            critic=standards.critic,
            prior_quantiles=standards.prior,
        )

    def _update(self, features: Tensor, u: Tensor) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.learning_rate * _schedule(self.step, self.plan)
        context = self.network.encoder.encode(features)
        loss = -self.network.flow.log_prob(u, context).mean()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.plan.max_gradient)
        self.optimizer.step()
        # a short memory at first, so that the average leaves the initial weights behind
        decay = min(self.plan.average, (1 + self.step) / (10 + self.step))
        update_average = get_ema_multi_avg_fn(decay)
        update_average(list(self.average.parameters()), list(self.network.parameters()), self.step)
        return loss.item()

    @torch.no_grad()
    def _validation_loss(self, network: Network) -> float:
        features, u = self.validation
        chunks = zip(features.split(_CHUNK), u.split(_CHUNK), strict=True)
        log_prob = torch.cat([network.flow.log_prob(b, network.encoder.encode(a)) for a, b in chunks])
        return -log_prob.mean().item()

    def _validate(self, training_loss: float) -> None:
        loss = self._validation_loss(self.average)
        self.stale += 1
        if loss < self.best_loss:
            self.best_loss, self.stale = loss, 0
            self.best.load_state_dict(self.average.state_dict())
        self.history.append(
            {
                "step": self.step,
                "training": training_loss,
                "validation": loss,
                "minutes": self.minutes,
                "cpu_minutes": self.cpu_minutes,
            }
        )
        _LOG.info("step %d: training %.3f, validation %.3f nats", self.step, training_loss, loss)
        if self.checkpoint:
            state = {k: getattr(self, k) for k in _STATE}
            save_checkpoint(self.checkpoint, self._modules(), self.optimizer, state)

    def _start_from(self, model: Model) -> None:
        same = {"architecture": self.architecture, "grid": self.simulator.grid}
        for name, expected in same.items():
            if (found := getattr(model, name)) != expected:
                raise ModelError(
                    f"{model.name}: the model to start from has {name} {found}, expected {expected} as in the "
                    f"configuration; copy its [{name}]"
                )
        self.network.load_state_dict(model.network.state_dict())

    def _resume(self) -> None:
        assert self.checkpoint is not None
        for name, value in load_checkpoint(self.checkpoint, self._modules(), self.optimizer).items():
            setattr(self, name, value)
        self.featurizer.load_state_dict(self.network.encoder.state_dict())

    def _check_same_problem(self) -> None:
        """Refuse a checkpoint of another simulator, whose best loss would never be reached in this one."""
        loss = self._validation_loss(self.best)
        if math.isfinite(self.best_loss) and not abs(loss - self.best_loss) < _SAME_LOSS:
            raise ModelError(
                f"{self.checkpoint}: its best model has a validation loss of {loss:.3f} nats in this "
                f"configuration, expected the {self.best_loss:.3f} of when it was written; it is of another "
                "configuration, so choose another folder or remove that file"
            )

    def _modules(self) -> dict[str, torch.nn.Module]:
        return {"network": self.network, "average": self.average, "best": self.best}

    def _features(self, stream: str, n: int) -> tuple[Tensor, Tensor]:
        features, u = [], []
        for part in range(math.ceil(n / _CHUNK)):
            batch = self.simulator.sample(_CHUNK, seed=stream_seed(self.plan.seed, stream, part))
            features.append(self.featurizer.features(batch.observation))
            u.append(batch.u)
        return torch.cat(features)[:n].to(self.device), torch.cat(u)[:n].to(self.device)

    def _card(self) -> dict[str, Any]:
        return {
            "training": {
                "plan": asdict(self.plan),
                "steps": self.step,
                "minutes": round(self.minutes, 1),
                "device": self.trained_on,
                "validation_log_prob": -self.best_loss,
                "history": self.history,
            },
            "library": {"name": self.simulator.library.name, **self.simulator.library.metadata},
        }


def stream_seed(seed: int, stream: str, index: int) -> int:
    """Seed of batch `index` of a stream.

    torch keeps the low 32 bits of a seed; modulo those, the streams of one run do not meet within 1e8 batches
    for seeds below 200,000.
    """
    return (seed * len(_STREAM) + _STREAM[stream]) * 1_000_000_000 + index


def _schedule(step: int, plan: TrainingPlan) -> float:
    rise = min(1.0, (step + 1) / plan.warmup)
    return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, step / plan.steps)))


@torch.no_grad()
def _initialise(network: Network, simulator: Simulator, plan: TrainingPlan) -> None:
    """Principal components and the scaling of inputs and coordinates, from simulations."""
    encoder = network.encoder
    # without template mismatch: its many small directions would crowd out those that carry the signal
    clean = replace(simulator, mismatch=TemplateMismatch(amplitude_range=(1e-9, 1e-9), library_amplitude=0.0))
    parts = range(math.ceil(plan.n_components_sample / _CHUNK))
    seeds = [stream_seed(plan.seed, "components", part) for part in parts]
    spectra = torch.cat([clean.sample(_CHUNK, seed=seed).noiseless for seed in seeds])
    encoder.set_components(*principal_components(spectra, len(encoder.components)))
    features, u = [], []
    for part in range(math.ceil(plan.n_scaling / _CHUNK)):
        batch = simulator.sample(_CHUNK, seed=stream_seed(plan.seed, "scaling", part))
        features.append(encoder.features(batch.observation))
        u.append(batch.u)
    encoder.standardise(torch.cat(features))
    network.flow.standardise(torch.cat(u))
