r"""Our own answer to the thesis' task: an inversion and principal components, a residual network, a flow.

A spectrum x enters twice.  As the masses of single populations that a linear-Gaussian model finds in it, and their
[M/H] (`benchmarks.thesis.inversion`): without noise they are nearly right.  And as its principal components, each
divided by its standard deviation together with the noise's,

.. math:: f_k = \frac{p_k \cdot (x - \bar x)}{\sqrt{v_k + \sigma^2}},

where white noise of standard deviation :math:`\sigma` a pixel has the same on every component.  Noisy spectra
need never be made: beyond the coefficients of the library's basis noise says nothing about the galaxy, and on them
it is drawn afresh.

A galaxy's spectrum is linear in its history once [M/H] is known, so the first layer is a choice among linear maps,

.. math:: h = \sum_k g_k(f) (W_k f + b_k), \qquad \sum_k g_k = 1,

whose weights g a small network sees in the spectrum.  A residual network learns to predict the ten quantities from
h (log-cosh loss, as the thesis' encoder).  Held fixed then, it gives a flow its context, and the place about which
the flow is the density of ten unbounded coordinates: nested log-ratios of the ten gaps between 0, t10 ... t90 and
the age of the Universe (`sfhflow.log_ratios`), and the logit of [M/H] within the library.  So no sample is
unordered or out of range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.thesis.dataset import AGE_OF_UNIVERSE, NAMES, Dataset
from benchmarks.thesis.inversion import Inversion
from benchmarks.thesis.network import log_cosh
from sfhflow.encoder.layers import residual_layers
from sfhflow.flow import ConditionalFlow
from sfhflow.log_ratios import nested_to_times, times_to_nested
from sfhflow.parameters import Bounded

__all__ = ["Answer", "Plan", "train"]

_ROWS = 4096
# Gyr: no shorter gap between formation times is predicted
_LEAST_GAP = 0.02
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
    inversion : bool
        Whether the network sees the inversion.
    keep_noise : int
        Epochs for which noise is kept before it is drawn afresh.
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
    inversion: bool = True
    keep_noise: int = 1


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
    """Encoder and flow for spectra of a data set's kind, given as coefficients (N, R)."""

    centre: Tensor
    axes: Tensor
    location: Tensor
    scale: Tensor

    def __init__(self, data: Dataset, plan: Plan) -> None:
        super().__init__()
        n_inputs = data.coefficients.shape[1]
        self.plan, self.metallicity = plan, Bounded(*data.ends)
        self.inversion = Inversion(data, max(plan.noise, _ROUNDING)) if plan.inversion else None
        self.register_buffer("centre", torch.zeros(n_inputs))
        self.register_buffer("axes", torch.zeros(n_inputs, min(plan.components, n_inputs)))
        n_quantities = len(NAMES)
        self.register_buffer("location", torch.zeros(n_quantities))
        self.register_buffer("scale", torch.ones(n_quantities))
        self.register_buffer("spread", torch.ones(n_quantities))
        n_features = self.axes.shape[1]
        if self.inversion is not None:
            n_features += len(self.inversion.times) + len(NAMES)
        self.encoder = nn.Sequential(
            Experts(n_features, plan.width, plan.experts),
            residual_layers(plan.width, plan.width, plan.depth, plan.width),
        )
        self.head = nn.Linear(plan.width, n_quantities)
        self.context = nn.Sequential(nn.Linear(plan.width + n_quantities, 128), nn.SiLU())
        self.flow = ConditionalFlow(n_quantities, 128, components=8, transforms=2, hidden=(64,), bins=8)

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

    def features(self, coefficients: Tensor) -> Tensor:
        """What the network sees of spectra (N, R): (N, K)."""
        components = (coefficients - self.centre) @ self.axes
        if self.inversion is None:
            return components
        formed, times, metallicity = self.inversion(coefficients)
        middle = (metallicity - self.metallicity.low) / (self.metallicity.high - self.metallicity.low) - 0.5
        seen = [formed - 0.5, times / AGE_OF_UNIVERSE - 0.5, middle[:, None]]
        return torch.cat([components, *(3 * part.float() for part in seen)], 1)

    def noisy(self, coefficients: Tensor, generator: torch.Generator) -> Tensor:
        """Coefficients with the noise of the plan added."""
        if self.plan.noise == 0:
            return coefficients
        noise = torch.randn(coefficients.shape, generator=generator)
        return coefficients.add(noise, alpha=self.plan.noise)

    def coordinates(self, truth: Tensor) -> Tensor:
        """Unbounded coordinates (N, 10) of the quantities."""
        ratios = times_to_nested(truth[..., :9].double() / AGE_OF_UNIVERSE).to(truth)
        return torch.cat([ratios, self.metallicity.to_unbounded(truth[..., 9:])], -1)

    def quantities(self, u: Tensor) -> Tensor:
        """Inverse of `coordinates`."""
        times = nested_to_times(u[..., :9]) * AGE_OF_UNIVERSE
        return torch.cat([times, self.metallicity.to_physical(u[..., 9:])], -1)

    def place(self, prediction: Tensor) -> Tensor:
        """Coordinates (N, 10) of standardised predictions, which need be neither ordered nor in range."""
        found = prediction * self.scale + self.location
        times = nn.functional.pad(found[:, :9].clamp(0, AGE_OF_UNIVERSE).sort(1).values, (1, 0))
        gaps = times.diff(dim=1, append=times.new_full((len(times), 1), AGE_OF_UNIVERSE)).clamp_min(_LEAST_GAP)
        times = AGE_OF_UNIVERSE * gaps.cumsum(1)[:, :-1] / gaps.sum(1, keepdim=True)
        edge = 1e-3 * (self.metallicity.high - self.metallicity.low)
        metallicity = found[:, 9:].clamp(self.metallicity.low + edge, self.metallicity.high - edge)
        return self.coordinates(torch.cat([times, metallicity], 1))

    def encode(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised predictions (N, 10), and all that the network knows (N, width + 10)."""
        hidden = nn.functional.silu(self.encoder(features))
        prediction = self.head(hidden)
        return prediction, torch.cat([hidden, prediction], -1)

    def log_prob(self, u: Tensor, features: Tensor) -> Tensor:
        """Log density (N,) of coordinates (N, 10)."""
        with torch.no_grad():
            prediction, known = self.encode(features)
            apart = (u - self.place(prediction)) / self.spread
        return self.flow.log_prob(apart, self.context(known)) - self.spread.log().sum()

    @torch.no_grad()
    def sample(self, features: Tensor, n_samples: int, *, seed: int) -> Iterator[Tensor]:
        """Posterior samples of the quantities in batches (n, n_samples, 10)."""
        generator = torch.Generator().manual_seed(seed)
        for some in features.split(max(1, 250_000 // n_samples)):
            noise = torch.randn(len(some), n_samples, self.flow.n_noise, generator=generator)
            prediction, known = self.encode(some)
            apart = self.flow.sample(self.context(known), noise)
            yield self.quantities(self.place(prediction)[:, None] + self.spread * apart)


def train(data: Dataset, plan: Plan, *, seed: int = 0) -> tuple[Answer, list[dict[str, float]]]:
    """Train on the training part of a data set; the losses of every epoch, on training and validation spectra."""
    torch.manual_seed(seed)
    answer = Answer(data, plan)
    answer.initialise(data)
    return answer, list(_Training(answer, data, seed).run())


class _Training:
    """One training; keeps what its epochs share."""

    def __init__(self, answer: Answer, data: Dataset, seed: int) -> None:
        self.answer, self.plan = answer, answer.plan
        self.generator = torch.Generator().manual_seed(seed)
        self.spectra = data.coefficients[: data.validation.stop]
        self.epochs = 0
        self.truth = (data.truth - answer.location) / answer.scale
        self.u = answer.coordinates(data.truth)
        rows = torch.arange(len(data))
        self.train, self.validation = rows[data.train], rows[data.validation]

    def run(self) -> Iterator[dict[str, float]]:
        """Train both parts; yields the losses of each epoch."""
        plan, answer = self.plan, self.answer
        predictor = [*answer.encoder.parameters(), *answer.head.parameters()]
        yield from self._part(predictor, plan.regression, plan.rate, self._miss)
        self._standardise()
        density = [*answer.context.parameters(), *answer.flow.parameters()]
        yield from self._part(density, plan.density, plan.rate / 2, self._surprise)
        answer.eval()

    def _part(
        self, parameters: list[nn.Parameter], epochs: int, rate: float, loss_of: Callable[[Tensor], Tensor]
    ) -> Iterator[dict[str, float]]:
        optimizer = torch.optim.AdamW(parameters, rate, weight_decay=1e-4)
        steps = epochs * (len(self.train) // self.plan.batch)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _cosine(step / max(steps, 1)))
        for epoch in range(epochs):
            self._draw_noise()
            self.answer.train()
            order = self.train[torch.randperm(len(self.train), generator=self.generator)]
            losses = []
            for rows in order.split(self.plan.batch):
                if len(rows) < self.plan.batch:
                    break
                loss = loss_of(rows)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(parameters, 5.0)
                optimizer.step()
                schedule.step()
                losses.append(float(loss.detach()))
            with torch.no_grad():
                self.answer.eval()
                held = [float(loss_of(rows)) for rows in self.validation.split(_ROWS)]
            yield {
                "part": float(loss_of == self._surprise),
                "epoch": epoch,
                "training": sum(losses) / len(losses),
                "validation": sum(held) / len(held),
            }

    def _miss(self, rows: Tensor) -> Tensor:
        return log_cosh(self.answer.encode(self.features[rows])[0], self.truth[rows])

    def _surprise(self, rows: Tensor) -> Tensor:
        return -self.answer.log_prob(self.u[rows], self.features[rows]).mean()

    @torch.no_grad()
    def _standardise(self) -> None:
        """Set the scales of what the flow describes."""
        parts = self.train.split(_ROWS)
        places = [self.answer.place(self.answer.encode(self.features[rows])[0]) for rows in parts]
        apart = self.u[self.train] - torch.cat(places)
        self.answer.spread.copy_(apart.std(0))
        self.answer.flow.standardise(apart / self.answer.spread)

    @torch.no_grad()
    def _draw_noise(self) -> None:
        """Features of all galaxies with noise drawn afresh, where that has been used for long enough."""
        if self.epochs % self.plan.keep_noise == 0 and (self.plan.noise or self.epochs == 0):
            parts = self.spectra.split(_ROWS)
            seen = [self.answer.features(self.answer.noisy(some, self.generator)) for some in parts]
            self.features = torch.cat(seen)
        self.epochs += 1


def _cosine(place: float) -> float:
    """Part of the learning rate: up during the first twentieth, then down to zero along a cosine."""
    warm = 0.05
    return place / warm + 1e-3 if place < warm else 0.5 * (1 + math.cos(math.pi * (place - warm) / (1 - warm)))
