"""Refinement of a model's answers with the true likelihood.

A `Refiner` draws from the amortized posterior, weights the samples by prior times likelihood
(`sfhflow.exact.importance`), and gives a posterior of resampled ones, with the effective sample size and the
evidence.  Where the budget ends before enough samples are effective, nested sampling takes over, in the region
that the weighted samples mark out.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sfhflow.errors import InputError
from sfhflow.exact.importance import WeightedSamples, sample_target, temper
from sfhflow.exact.likelihood import Likelihood
from sfhflow.exact.nested import LogisticBase, nested_sampling
from sfhflow.exact.nuisances import Nuisances
from sfhflow.model import Model
from sfhflow.observation import Observation, observe
from sfhflow.posterior import Posterior, Refinement
from sfhflow.simulator import Simulator

__all__ = ["AmortizedProposal", "Refiner"]

LEAST_EFFECTIVE = 200.0
"""Effective samples without which a refined answer is not to be trusted."""

_REFERENCE_SAMPLES = 1000
# with how many effective samples the region of a failed refinement is described, and by how much it is widened
_REGION_EFFECTIVE, _REGION_INFLATION = 300.0, 2.0


class AmortizedProposal:
    """A model's density of the parameters given one observation (a batch of one)."""

    def __init__(self, model: Model, observation: Observation) -> None:
        self._flow = model.network.flow
        with torch.inference_mode():
            self._context = model.network.encoder(observation)

    @torch.inference_mode()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Unbounded coordinates (n, D)."""
        noise = torch.randn(n, self._flow.n_noise, generator=generator)
        return self._flow.sample(self._context, noise)[0].double()

    @torch.inference_mode()
    def log_prob(self, u: Tensor) -> Tensor:
        """Log density (N,) at coordinates (N, D)."""
        return self._flow.log_prob(u.float(), self._context.expand(len(u), -1)).double()


class Refiner:
    """Prior times likelihood of the simulator that a model was trained on, or of another.

    Parameters
    ----------
    model : Model
        The model whose answers are refined.
    simulator : Simulator
        Prior, library and nuisances.  Evidences of the same spectrum with several of them may be compared.
    budget : int
        Largest number of likelihoods for a galaxy.
    wanted : float
        Effective sample size at which to stop.
    fallback : bool
        Sample by nested sampling where the budget ends with fewer than `LEAST_EFFECTIVE` effective samples, if
        nautilus is installed (minutes for a galaxy).

    Raises
    ------
    InputError
        If the simulator's grid is not the model's, or, when it is used, if its prior has no density.
    """

    def __init__(
        self,
        model: Model,
        simulator: Simulator,
        *,
        budget: int = 20_000,
        wanted: float = 2000.0,
        fallback: bool = True,
    ) -> None:
        if simulator.grid != model.grid:
            raise InputError(
                f"the simulator's grid is {simulator.grid}, expected that of the model, {model.grid}; "
                "build it from the model's configuration"
            )
        self.model = model
        self.simulator = simulator
        self.nuisances = Nuisances(simulator)
        self.budget = budget
        self.wanted = wanted
        self.fallback = fallback

    def likelihood(self, observation: Observation, *, seed: int = 0) -> Likelihood:
        """True likelihood of one observation (a batch of one), about the model's own answer."""
        generator = torch.Generator().manual_seed(seed)
        u = AmortizedProposal(self.model, observation).sample(_REFERENCE_SAMPLES, generator)
        return Likelihood(observation, self.nuisances, u, seed=seed)

    def log_posterior(self, u: Tensor, likelihood: Likelihood) -> Tensor:
        """Log of prior times likelihood, shape (N,), at unbounded coordinates (N, D)."""
        return self.simulator.prior.log_prob(u) + likelihood(u)

    def sample(self, observation: Observation, *, seed: int = 0) -> tuple[WeightedSamples, str]:
        """Weighted samples for one observation (a batch of one), and the method that made them."""
        likelihood = self.likelihood(observation, seed=seed)
        generator = torch.Generator().manual_seed(seed)

        def log_target(u: Tensor) -> Tensor:
            return self.log_posterior(u, likelihood)

        proposal = AmortizedProposal(self.model, observation)
        samples = sample_target(log_target, proposal, budget=self.budget, wanted=self.wanted, generator=generator)
        if samples.effective >= LEAST_EFFECTIVE or not self.fallback:
            return samples, "importance sampling"
        softened = replace(samples, log_weights=temper(samples.log_weights, _REGION_EFFECTIVE))
        region = LogisticBase.around(softened.resample(len(samples), generator), inflation=_REGION_INFLATION)
        try:
            reference = nested_sampling(log_target, region, seed=seed, n_effective=int(self.wanted))
        except InputError:  # nautilus is not installed: the verdict will tell
            return samples, "importance sampling"
        spent = samples.n_evaluations + reference.n_evaluations
        reference = replace(reference, n_evaluations=spent, first_efficiency=samples.first_efficiency)
        return reference, "nested sampling"

    def refine(self, posterior: Posterior, *, n_samples: int | None = None) -> Posterior:
        """Posterior of `n_samples` (by default as many as before) samples of prior times likelihood.

        The verdict names `unrefined` if fewer than `LEAST_EFFECTIVE` samples are effective.

        Raises
        ------
        InputError
            If the posterior is another model's.
        """
        if posterior.model != self.model.name:
            raise InputError(
                f"{posterior.spectrum.name}: the answer is of model {posterior.model}, expected one of "
                f"{self.model.name}; refine it with its own model"
            )
        observation = observe(
            [posterior.spectrum], self.model.grid, self.model.library_fwhm, mask_lines=posterior.lines_masked
        )
        samples, method = self.sample(observation, seed=posterior.seed)
        generator = torch.Generator().manual_seed(posterior.seed)
        u = samples.resample(n_samples or len(posterior), generator)
        age = torch.full((len(u),), posterior.age_of_universe, dtype=torch.float64)
        times, metallicity, a_v, sigma = (x.numpy() for x in self.model.parameters.to_physical(u, age))
        return replace(
            posterior,
            times=times,
            metallicity=metallicity,
            a_v=a_v,
            sigma_kms=sigma,
            verdict=posterior.verdict.with_score("unrefined", LEAST_EFFECTIVE / samples.effective),
            refinement=Refinement(
                method=method,
                effective=samples.effective,
                efficiency=samples.efficiency,
                amortized_efficiency=samples.first_efficiency,
                log_evidence=samples.log_evidence,
                log_evidence_error=samples.log_evidence_error,
                n_evaluations=samples.n_evaluations,
            ),
        )
