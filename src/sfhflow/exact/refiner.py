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
from sfhflow.exact.importance import LogDensity, WeightedSamples, sample_target, temper
from sfhflow.exact.latent import AmortizedProposal, LatentProposal
from sfhflow.exact.likelihood import Likelihood
from sfhflow.exact.nested import LogisticBase, nested_sampling
from sfhflow.exact.nuisances import Nuisances
from sfhflow.model import Model
from sfhflow.observation import Observation, observe
from sfhflow.posterior import Posterior, Refinement
from sfhflow.simulator import Simulator

__all__ = ["Refiner"]

LEAST_EFFECTIVE = 200.0
"""Effective samples without which a refined answer is not to be trusted."""

_REFERENCE_SAMPLES = 1000
# stands for infinity, which JSON has not
_LARGEST_K = 10.0
# with how many effective samples the region of a failed refinement is described, and by how much it is widened
_REGION_EFFECTIVE, _REGION_INFLATION = 300.0, 2.0


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
        target, latent = self.target(observation, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        samples = sample_target(target, latent, budget=self.budget, wanted=self.wanted, generator=generator)
        method = "importance sampling"
        if samples.effective < LEAST_EFFECTIVE and self.fallback:
            softened = replace(samples, log_weights=temper(samples.log_weights, _REGION_EFFECTIVE))
            region = LogisticBase.around(softened.resample(len(samples), generator), inflation=_REGION_INFLATION)
            try:
                reference = nested_sampling(target, region, seed=seed, n_effective=int(self.wanted))
            except InputError:  # nautilus is not installed: the verdict will tell
                pass
            else:
                method, spent = "nested sampling", samples.n_evaluations + reference.n_evaluations
                samples = replace(samples, u=reference.u, log_weights=reference.log_weights, n_evaluations=spent)
        return replace(samples, u=latent.to_unbounded(samples.u)), method

    def target(self, observation: Observation, *, seed: int = 0) -> tuple[LogDensity, LatentProposal]:
        """Log of prior times likelihood in the coordinates of the flow, and the model's density of them."""
        likelihood = self.likelihood(observation, seed=seed)
        latent = LatentProposal(self.model, observation)
        return latent.pull_back(lambda u: self.log_posterior(u, likelihood)), latent

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
                pareto_k=min(samples.pareto_k, _LARGEST_K),
                log_evidence=samples.log_evidence,
                log_evidence_error=samples.log_evidence_error,
                n_evaluations=samples.n_evaluations,
            ),
        )
