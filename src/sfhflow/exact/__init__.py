"""The true likelihood of a spectrum, and what it gives: importance weights, evidence, a reference sampler.

    refiner = sfhflow.refiner(model)
    refined = posterior.refine(refiner)
    refined.refinement.effective, refined.refinement.log_evidence

`templates` makes noiseless spectra, `nuisances` and `covariance` describe everything else that the simulator
draws, `likelihood` marginalises it, `importance` and `nested` sample any density, `latent` makes its shape simple,
and `refiner` wires them together.
"""

from sfhflow.exact.importance import WeightedSamples, sample_target
from sfhflow.exact.latent import AmortizedProposal, LatentProposal
from sfhflow.exact.likelihood import Likelihood
from sfhflow.exact.nested import LogisticBase, nested_sampling
from sfhflow.exact.nuisances import Amplitudes, Nuisances
from sfhflow.exact.refiner import Refiner

__all__ = [
    "AmortizedProposal",
    "Amplitudes",
    "LatentProposal",
    "Likelihood",
    "LogisticBase",
    "Nuisances",
    "Refiner",
    "WeightedSamples",
    "nested_sampling",
    "sample_target",
]
