r"""The best that any method can do: posteriors from the true likelihood of noisy spectra.

The galaxies of the benchmark have five parameters: three time quantiles, the present rate for each mass, and
[M/H].  Each is the image of a standard normal number under its inverse cumulative prior, so that the prior is
:math:`N(0, I_5)`, and with white noise of standard deviation :math:`\sigma` the posterior is

.. math:: p(z \mid x) \propto \exp\left(-\frac{|z|^2}{2} - \frac{|m(z) - x|^2}{2 \sigma^2}\right)

with the forward model m of the benchmark itself.  It is sampled by importance: a flow, trained on the same spectra
as the answer that is judged and given its encoder, proposes parameters z, and each sample has the weight of the
posterior over the flow's density.  The weights make the result exact whatever the flow has learned; how well is
told by the effective number of samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.thesis.answer import Answer
from benchmarks.thesis.dataset import Dataset, normalised, weights_and_times
from benchmarks.thesis.library import Library
from sfhflow.flow import ConditionalFlow

__all__ = ["Forward", "Particles", "Proposal", "sample"]

# log SFR - log M when both are uniform, in -50..0 and 9..12
_LOG_SFR, _LOG_MASS = (-50.0, 0.0), (9.0, 12.0)
_EDGE = 1e-9
_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Particles:
    """Weighted samples of the posteriors of S spectra.

    Attributes
    ----------
    z : Tensor of shape (S, P, 5)
        Parameters.
    weights : Tensor of shape (S, P)
        They sum to one.
    quantities : Tensor of shape (S, P, 10)
        Formation times in Gyr and [M/H].
    """

    z: Tensor
    weights: Tensor
    quantities: Tensor

    def effective(self) -> Tensor:
        """Effective number (S,) of samples."""
        return 1 / self.weights.square().sum(1)

    def median(self) -> Tensor:
        """Medians (S, 10) of the quantities."""
        ordered, order = self.quantities.sort(1)
        below = self.weights[..., None].expand_as(ordered).gather(1, order).cumsum(1)
        index = (below < 0.5).sum(1, keepdim=True).clamp(max=ordered.shape[1] - 1)
        return ordered.gather(1, index)[:, 0]


@dataclass(frozen=True, eq=False)
class Forward:
    """Quantities and noise-free spectra as functions of the five parameters."""

    data: Dataset
    library: Library

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients (N, R), float32, and quantities (N, 10) of parameters (N, 5)."""
        tuples, metallicity = self.tuples(z.double())
        weights, times = weights_and_times(tuples, self.library)
        coefficients = normalised(self.data.view, weights, metallicity)
        return coefficients, torch.cat([times, metallicity[:, None]], 1)

    def tuples(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """GP-SFH tuples (N, 6) and [M/H] (N,) of parameters (N, 5)."""
        unit = torch.special.ndtr(z).clamp(_EDGE, 1 - _EDGE)
        # sticks broken off one after the other: the gaps are uniform on the simplex
        stick = 1 - (1 - unit[:, :3]) ** (1 / torch.tensor([3.0, 2.0, 1.0], dtype=z.dtype))
        times = 1 - (1 - stick).cumprod(1)
        ssfr = _ssfr(unit[:, 3])
        mass = torch.full_like(ssfr, 10.0)
        low, high = self.data.ends
        parts = [mass, ssfr + mass, torch.full_like(mass, 3.0), *times.unbind(1)]
        return torch.stack(parts, 1), low + (high - low) * unit[:, 4]

    def parameters(self, tuples: Tensor, metallicity: Tensor) -> Tensor:
        """Inverse of `tuples`."""
        times = tuples[:, 3:]
        before = torch.cat([torch.zeros_like(times[:, :1]), times[:, :-1]], 1)
        stick = (times - before) / (1 - before)
        unit = 1 - (1 - stick) ** torch.tensor([3.0, 2.0, 1.0], dtype=tuples.dtype)
        low, high = self.data.ends
        rest = [_ssfr_below(tuples[:, 1] - tuples[:, 0]), (metallicity - low) / (high - low)]
        return torch.special.ndtri(torch.cat([unit, torch.stack(rest, 1)], 1).clamp(_EDGE, 1 - _EDGE))


def _ssfr_below(x: Tensor) -> Tensor:
    """Prior probability of log SFR - log M below x: the integral of a trapezium."""
    low, width, narrow = _LOG_SFR[0] - _LOG_MASS[1], _LOG_SFR[1] - _LOG_SFR[0], _LOG_MASS[1] - _LOG_MASS[0]
    place = (x - low).clamp(0, width + narrow)
    ramp = place.clamp(max=narrow) ** 2 / 2 + narrow * (place - narrow).clamp(0, width - narrow)
    last = (place - width).clamp(min=0)
    return (ramp + narrow * last - last**2 / 2) / (width * narrow)


def _ssfr(unit: Tensor) -> Tensor:
    """Inverse of `_ssfr_below`."""
    low, width, narrow = _LOG_SFR[0] - _LOG_MASS[1], _LOG_SFR[1] - _LOG_SFR[0], _LOG_MASS[1] - _LOG_MASS[0]
    area = unit * width * narrow
    first = (2 * area).sqrt()
    middle = narrow / 2 + area / narrow
    last = width + narrow - (2 * (width * narrow - area)).clamp(min=0).sqrt()
    return low + torch.where(first < narrow, first, torch.where(middle < width, middle, last))


class Proposal(nn.Module):
    """Flow over the five parameters, given the features that an answer's encoder makes of spectra."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer.eval().requires_grad_(requires_grad=False)
        n_hidden = answer.plan.width + 10
        self.context = nn.Sequential(nn.Linear(n_hidden, 256), nn.SiLU(), nn.Linear(256, 128), nn.SiLU())
        self.flow = ConditionalFlow(5, 128, components=8, transforms=4, hidden=(64,), bins=8)

    def contexts(self, features: Tensor) -> Tensor:
        """Contexts (N, 128) of features (N, K)."""
        with torch.no_grad():
            hidden = self.answer.encoder(features)
            hidden = torch.cat([hidden, self.answer.head(nn.functional.silu(hidden))], 1)
        return self.context(hidden)

    def fit(self, data: Dataset, forward: Forward, *, epochs: int, batch: int = 512, seed: int = 0) -> None:
        """Train on the training part of a data set, with fresh noise in every batch."""
        generator = torch.Generator().manual_seed(seed + 17)
        rows = torch.arange(len(data))[data.train]
        features = self.answer.features(data.coefficients[rows])
        z = forward.parameters(data.histories.tuples[rows], data.histories.metallicity[rows]).float()
        weights = [*self.context.parameters(), *self.flow.parameters()]
        optimizer = torch.optim.AdamW(weights, 2e-3, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * (len(rows) // batch))
        for _ in range(epochs):
            for some in torch.randperm(len(rows), generator=generator).split(batch):
                if len(some) < batch:
                    break
                context = self.contexts(self.answer.noisy(features[some], generator))
                loss = -self.flow.log_prob(z[some], context).mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(weights, 5.0)
                optimizer.step()
                schedule.step()


@torch.no_grad()
def sample(
    proposal: Proposal, forward: Forward, observed: Tensor, noise: float, n: int, generator: torch.Generator
) -> Particles:
    """Weighted samples of the posteriors of observed spectra.

    Parameters
    ----------
    proposal, forward
        Where parameters come from, and what spectra they give.
    observed : Tensor of shape (S, R)
        Coefficients of noisy spectra.
    noise : float
        Standard deviation of the noise a pixel.
    n : int
        Samples of each spectrum.
    """
    parts = []
    for some in observed.split(max(1, _ROWS // n)):
        context = proposal.contexts(proposal.answer.features(some))
        normal = torch.randn(len(some), n, proposal.flow.n_noise, generator=generator)
        z = proposal.flow.sample(context, normal)
        density = proposal.flow.log_prob(z, context[:, None].expand(-1, n, -1)).double()
        coefficients, quantities = forward(z.flatten(0, 1))
        apart = coefficients.unflatten(0, z.shape[:2]) - some[:, None]
        likelihood = -0.5 * (apart.double() / noise).square().sum(-1)
        log_weight = likelihood - 0.5 * z.double().square().sum(-1) - density
        # a history that the forward model cannot make, of parameters far out in the prior
        log_weight = log_weight.nan_to_num(nan=-torch.inf)
        parts.append((z, log_weight.softmax(1), quantities.unflatten(0, z.shape[:2])))
    return Particles(*(torch.cat(some) for some in zip(*parts, strict=True)))
