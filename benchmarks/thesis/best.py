r"""The best that any method can do: posteriors from the true likelihood of noisy spectra.

The prior of the benchmark's galaxies is :math:`N(0, I_5)` in the parameters *z* (`benchmarks.thesis.parameters`),
and with white noise of standard deviation :math:`\sigma` the posterior is

.. math:: p(z \mid x) \propto \exp\left(-\frac{|z|^2}{2} - \frac{|m(z) - x|^2}{2 \sigma^2}\right)

with the forward model m of the benchmark itself.  It is sampled by adaptive importance sampling
(`sfhflow.exact.importance`): a flow, trained on the same spectra as the answer that is judged and given what its
encoder knows, proposes parameters first, mixtures of Student distributions fitted to the weighted samples
thereafter.  The weights make the result exact whatever the flow has learned; how well is told by the effective
number of samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.thesis.answer import Answer
from benchmarks.thesis.dataset import NAMES, Dataset, normalised, weights_and_times
from benchmarks.thesis.library import Library
from benchmarks.thesis.parameters import N_PARAMETERS, from_tuples, quantities, to_tuples
from sfhflow.exact import sample_target
from sfhflow.flow import ConditionalFlow

__all__ = ["Forward", "Posteriors", "Proposal", "sample"]

_CONTEXT = 128


@dataclass(frozen=True, eq=False)
class Posteriors:
    """Samples of the exact posteriors of S spectra.

    Attributes
    ----------
    quantities : Tensor of shape (S, P, 10)
        Formation times in Gyr and [M/H], of equal weight.
    effective : Tensor of shape (S,)
        Effective number of the weighted samples that they are drawn from.
    """

    quantities: Tensor
    effective: Tensor


@dataclass(frozen=True, eq=False)
class Forward:
    """Quantities and noise-free spectra as functions of the five parameters."""

    data: Dataset
    library: Library

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients (N, R), float32, and quantities (N, 10) of parameters (N, 5)."""
        tuples, metallicity = to_tuples(z, self.data.ends)
        weights, times = weights_and_times(tuples, self.library)
        coefficients = normalised(self.data.view, weights, metallicity)
        return coefficients, torch.cat([times, metallicity[:, None]], 1)


class Proposal(nn.Module):
    """Flow over the five parameters, given what an answer's encoder knows of spectra."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer.eval().requires_grad_(requires_grad=False)
        n_known = answer.plan.width + len(NAMES)
        self.context = nn.Sequential(nn.Linear(n_known, 256), nn.SiLU(), nn.Linear(256, _CONTEXT), nn.SiLU())
        self.flow = ConditionalFlow(N_PARAMETERS, _CONTEXT, components=8, transforms=4, hidden=(64,), bins=8)

    def contexts(self, coefficients: Tensor) -> Tensor:
        """Contexts (N, 128) of spectra given as coefficients (N, R)."""
        with torch.no_grad():
            known = self.answer.encode(self.answer.features(coefficients))[1]
        return self.context(known)

    def fit(self, data: Dataset, *, epochs: int, batch: int = 512, seed: int = 0) -> None:
        """Train on the training part of a data set, with fresh noise in every batch."""
        generator = torch.Generator().manual_seed(seed + 17)
        spectra = data.coefficients[data.train]
        histories = data.histories
        z = from_tuples(histories.tuples, histories.metallicity, data.ends)[data.train].float()
        weights = [*self.context.parameters(), *self.flow.parameters()]
        optimizer = torch.optim.AdamW(weights, 2e-3, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * (len(z) // batch))
        for _ in range(epochs):
            for some in torch.randperm(len(z), generator=generator).split(batch):
                if len(some) < batch:
                    break
                context = self.contexts(self.answer.noisy(spectra[some], generator))
                loss = -self.flow.log_prob(z[some], context).mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(weights, 5.0)
                optimizer.step()
                schedule.step()


class _OfOne:
    """What a proposal says of one spectrum."""

    def __init__(self, proposal: Proposal, coefficients: Tensor) -> None:
        self._flow = proposal.flow
        self._context = proposal.contexts(coefficients[None])

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Parameters (n, 5)."""
        noise = torch.randn(n, self._flow.n_noise, generator=generator)
        return self._flow.sample(self._context, noise)[0].double()

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density (N,) at parameters (N, 5)."""
        return self._flow.log_prob(z.float(), self._context).double()


@torch.no_grad()
def sample(
    proposal: Proposal,
    forward: Forward,
    observed: Tensor,
    noise: float,
    *,
    n_samples: int,
    budget: int,
    wanted: float,
    generator: torch.Generator,
) -> Posteriors:
    """Exact posteriors of observed spectra.

    Parameters
    ----------
    proposal, forward
        Where parameters come from at first, and what spectra they give.
    observed : Tensor of shape (S, R)
        Coefficients of noisy spectra.
    noise : float
        Standard deviation of the noise a pixel.
    n_samples : int
        Samples of each spectrum's posterior.
    budget : int
        Largest number of spectra made for one.
    wanted : float
        Effective samples at which to stop.
    generator : torch.Generator
        Source of random numbers.
    """
    found, effective = [], []
    for spectrum in observed:

        def log_target(z: Tensor, spectrum: Tensor = spectrum) -> Tensor:
            apart = (forward(z)[0] - spectrum).double() / noise
            # a history that the forward model cannot make, of parameters far out in the prior, has no density
            return -0.5 * (apart.square().sum(1) + z.double().square().sum(1))

        weighted = sample_target(
            log_target, _OfOne(proposal, spectrum), budget=budget, wanted=wanted, generator=generator
        )
        found.append(quantities(weighted.resample(n_samples, generator), forward.data.ends))
        effective.append(weighted.effective)
    return Posteriors(torch.stack(found), torch.tensor(effective, dtype=torch.float64))
