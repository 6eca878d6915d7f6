r"""Our own answer to the thesis' task: principal components, a residual network, a flow over log-ratios.

A spectrum x enters as its principal components, each divided by its standard deviation together with the noise's,

.. math:: f_k = \frac{p_k \cdot (x - \bar x)}{\sqrt{v_k + \sigma^2}},

where white noise of standard deviation :math:`\sigma` a pixel has the same on every component, so that noisy
spectra need never be made: noise is drawn on the components, afresh in every batch.  Beyond the components kept,
spectra differ by less than rounding errors, and noise there says nothing about the galaxy.

A galaxy's spectrum is linear in its history once [M/H] is known, so the first layer is a choice among linear maps,

.. math:: h = \sum_k g_k(f) (W_k f + b_k), \qquad \sum_k g_k = 1,

whose weights g a small network sees in the spectrum.  A residual network makes a context of h, and a flow the
density of ten unbounded coordinates: nine isometric log-ratios of the ten gaps between 0, t10 ... t90 and the age
of the Universe, and the logit of [M/H] within the library (`sfhflow.parameters`).  So no sample is unordered or
out of range.  The network learns first to predict the ten quantities (log-cosh loss, as the thesis' encoder), then
both learn together by the log-probability.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.thesis.dataset import AGE_OF_UNIVERSE, Dataset
from benchmarks.thesis.network import log_cosh
from sfhflow.encoder.layers import residual_layers
from sfhflow.flow import ConditionalFlow
from sfhflow.log_ratios import isometric_to_times, times_to_isometric
from sfhflow.parameters import Bounded

__all__ = ["Answer", "Plan", "train"]

_ROWS = 4096
# relative size of rounding errors: finer differences between spectra are not looked at
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Plan:
    """How an answer is trained.

    Attributes
    ----------
    noise : float
        Standard deviation of white noise, in units of the spectrum's median; zero for the thesis' case.
    regression, density : int
        Epochs of the prediction of the quantities, and of the density after that.
    batch : int
        Spectra in a batch.
    rate : float
        Largest learning rate; it rises and falls along a cosine in each of the two parts.
    width, depth, experts : int
        Of the residual network, and linear maps before it.
    components : int
        Principal components.
    """

    noise: float = 0.0
    regression: int = 20
    density: int = 8
    batch: int = 256
    rate: float = 2e-3
    width: int = 256
    depth: int = 4
    experts: int = 8
    components: int = 200


class Experts(nn.Module):
    """Mean of linear maps, weighted as a network of the same input says."""

    def __init__(self, n_inputs: int, n_outputs: int, experts: int) -> None:
        super().__init__()
        self.experts = experts
        self.gate = nn.Sequential(
            nn.Linear(n_inputs, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, experts)
        )
        self.maps = nn.Linear(n_inputs, experts * n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (N, n_outputs) of inputs (N, n_inputs)."""
        share = self.gate(x).softmax(-1)
        return torch.einsum("nk,nkd->nd", share, self.maps(x).unflatten(-1, (self.experts, -1)))


class Answer(nn.Module):
    """Encoder and flow for spectra given as coefficients (N, R)."""

    centre: Tensor
    axes: Tensor
    location: Tensor
    scale: Tensor

    def __init__(self, n_inputs: int, metallicities: tuple[float, float], plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self.metallicity = Bounded(*metallicities)
        self.register_buffer("centre", torch.zeros(n_inputs))
        self.register_buffer("axes", torch.zeros(n_inputs, min(plan.components, n_inputs)))
        self.register_buffer("location", torch.zeros(10))
        self.register_buffer("scale", torch.ones(10))
        n_features = self.axes.shape[1]
        self.encoder = nn.Sequential(
            Experts(n_features, plan.width, plan.experts),
            residual_layers(plan.width, plan.width, plan.depth, plan.width),
        )
        self.head = nn.Linear(plan.width, 10)
        self.context = nn.Sequential(nn.SiLU(), nn.Linear(plan.width + 10, 128), nn.SiLU())
        self.flow = ConditionalFlow(10, 128, components=8, transforms=2, hidden=(64,), bins=8)

    def initialise(self, data: Dataset) -> None:
        """Set principal components and scales from the training spectra."""
        spectra = data.coefficients[data.train].double()
        self.centre.copy_(spectra.mean(0))
        values, vectors = torch.linalg.eigh(torch.cov(spectra.T))
        values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
        smallest = (_ROUNDING * float(spectra.square().sum(1).mean().sqrt())) ** 2
        n_features = self.axes.shape[1]
        self.axes.copy_(vectors[:, :n_features] / (values[:n_features] + self.plan.noise**2 + smallest).sqrt())
        truth = data.truth[data.train]
        self.location.copy_(truth.mean(0))
        self.scale.copy_(truth.std(0))
        self.flow.standardise(self.coordinates(truth))

    def features(self, coefficients: Tensor) -> Tensor:
        """Whitened components (N, K) of noise-free spectra."""
        return (coefficients - self.centre) @ self.axes

    def noisy(self, features: Tensor, generator: torch.Generator) -> Tensor:
        """Components with the noise of the plan added."""
        if self.plan.noise == 0:
            return features
        noise = torch.randn(features.shape, generator=generator)
        # the axes are orthogonal: noise on one component says nothing about another's
        return features.addcmul(noise, self.axes.norm(dim=0), value=self.plan.noise)

    def coordinates(self, truth: Tensor) -> Tensor:
        """Unbounded coordinates (N, 10) of the quantities."""
        ratios = times_to_isometric(truth[..., :9].double() / AGE_OF_UNIVERSE).to(truth)
        return torch.cat([ratios, self.metallicity.to_unbounded(truth[..., 9:])], -1)

    def quantities(self, u: Tensor) -> Tensor:
        """Inverse of `coordinates`."""
        times = isometric_to_times(u[..., :9]) * AGE_OF_UNIVERSE
        return torch.cat([times, self.metallicity.to_physical(u[..., 9:])], -1)

    def encode(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted standardised quantities (N, 10) and context of the flow (N, 128)."""
        hidden = self.encoder(features)
        prediction = self.head(nn.functional.silu(hidden))
        return prediction, self.context(torch.cat([hidden, prediction], -1))

    @torch.no_grad()
    def sample(self, features: Tensor, n_samples: int, *, seed: int) -> Iterator[Tensor]:
        """Posterior samples of the quantities in batches (n, n_samples, 10)."""
        generator = torch.Generator().manual_seed(seed)
        for some in features.split(max(1, 250_000 // n_samples)):
            noise = torch.randn(len(some), n_samples, self.flow.n_noise, generator=generator)
            yield self.quantities(self.flow.sample(self.encode(some)[1], noise))


def train(data: Dataset, plan: Plan, *, seed: int = 0) -> tuple[Answer, list[dict[str, float]]]:
    """Train on the training part of a data set; the losses of every epoch, on training and validation spectra."""
    torch.manual_seed(seed)
    answer = Answer(data.coefficients.shape[1], data.ends, plan)
    answer.initialise(data)
    return answer, list(_Training(answer, data, seed).run())


class _Training:
    """One training; keeps what its epochs share."""

    def __init__(self, answer: Answer, data: Dataset, seed: int) -> None:
        self.answer, self.plan = answer, answer.plan
        self.generator = torch.Generator().manual_seed(seed)
        self.features = torch.cat([answer.features(some) for some in data.coefficients.split(_ROWS)])
        self.truth = (data.truth - answer.location) / answer.scale
        self.u = answer.coordinates(data.truth)
        self.rows = torch.arange(len(data))
        self.train, self.validation = self.rows[data.train], self.rows[data.validation]

    def run(self) -> Iterator[dict[str, float]]:
        """Train both parts; yields the losses of each epoch."""
        plan, answer = self.plan, self.answer
        predictor = [*answer.encoder.parameters(), *answer.head.parameters()]
        yield from self._part(predictor, plan.regression, plan.rate, density=False)
        yield from self._part(list(answer.parameters()), plan.density, plan.rate / 2, density=True)
        answer.eval()

    def _part(
        self, parameters: list[nn.Parameter], epochs: int, rate: float, *, density: bool
    ) -> Iterator[dict[str, float]]:
        optimizer = torch.optim.AdamW(parameters, rate, weight_decay=1e-4)
        steps = epochs * (len(self.train) // self.plan.batch)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _cosine(step / max(steps, 1)))
        for epoch in range(epochs):
            self.answer.train()
            order = self.train[torch.randperm(len(self.train), generator=self.generator)]
            losses = []
            for rows in order.split(self.plan.batch):
                if len(rows) < self.plan.batch:
                    break
                loss = self._loss(rows, density=density)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(parameters, 5.0)
                optimizer.step()
                schedule.step()
                losses.append(float(loss.detach()))
            with torch.no_grad():
                self.answer.eval()
                held = [float(self._loss(rows, density=density)) for rows in self.validation.split(_ROWS)]
            yield {
                "part": float(density),
                "epoch": epoch,
                "training": sum(losses) / len(losses),
                "validation": sum(held) / len(held),
            }

    def _loss(self, rows: Tensor, *, density: bool) -> Tensor:
        features = self.answer.noisy(self.features[rows], self.generator)
        prediction, context = self.answer.encode(features)
        if not density:
            return log_cosh(prediction, self.truth[rows])
        return -self.answer.flow.log_prob(self.u[rows], context).mean()


def _cosine(place: float) -> float:
    """Part of the learning rate: up during the first twentieth, then down to zero along a cosine."""
    warm = 0.05
    return place / warm + 1e-3 if place < warm else 0.5 * (1 + math.cos(math.pi * (place - warm) / (1 - warm)))
