"""A world whose posterior is Gaussian and known: spectra that are linear in the unbounded coordinates.

u ~ N(0, 1), d = 1 + a A u + sigma n on 61 pixels of about an Angstrom, with signal-to-noise ratios 1 / sigma from
the range of the noise model.  Masked pixels have no weight.  Then p(u | d) = N(C A^T W (d - 1) a, C) with
C^-1 = 1 + a^2 A^T W A.
"""

from dataclasses import dataclass, field

import torch

from sfhflow.grid import LogGrid
from sfhflow.noise import NoiseModel
from sfhflow.observation import Observation
from sfhflow.parameters import ParameterMap
from sfhflow.simulator import Simulation

N_PIXELS, AGE, SLOPE = 61, 13.0, 0.05
MAP = ParameterMap()
DESIGN = SLOPE * torch.randn(N_PIXELS, MAP.n_features, generator=torch.Generator().manual_seed(1)).double()


def galaxies(u):
    return MAP.to_physical(u, torch.full(u.shape[:-1], AGE, dtype=u.dtype))


class GaussianPrior:
    def sample(self, n, generator):
        u = torch.randn(n, MAP.n_features, generator=generator, dtype=torch.float64)
        return galaxies(u), torch.full((n,), AGE, dtype=torch.float64)


@dataclass
class GaussianWorld:
    noise: NoiseModel = field(default_factory=NoiseModel)
    prior: GaussianPrior = field(default_factory=GaussianPrior)
    grid: LogGrid = field(default_factory=lambda: LogGrid(5000.0, 5060.0, 2e-4))

    def sample(self, n, *, seed):
        generator = torch.Generator().manual_seed(seed)
        u = torch.randn(n, MAP.n_features, generator=generator, dtype=torch.float64)
        low, high = self.noise.snr_range
        sigma = 1 / (low * (high / low) ** torch.rand(n, 1, generator=generator, dtype=torch.float64))
        noiseless = 1 + u @ DESIGN.T
        flux = noiseless + sigma * torch.randn(n, N_PIXELS, generator=generator, dtype=torch.float64)
        observation = Observation(
            flux, (sigma**-2).expand_as(flux), torch.full((n, 3), torch.nan), torch.full((n,), AGE)
        )
        return Simulation(u, observation, noiseless, galaxies(u))


@dataclass
class GaussianPosterior:
    """The exact posterior, with its standard deviations times `widen`."""

    widen: float = 1.0

    def _mean_and_root(self, observation):
        weight = observation.ivar[:, :, None] * DESIGN
        precision = torch.eye(MAP.n_features, dtype=torch.float64) + DESIGN.T @ weight
        root = torch.linalg.cholesky(torch.linalg.inv(precision))
        data = (weight * (observation.flux - 1)[:, :, None]).sum(1)
        return (root @ (root.mT @ data[..., None]))[..., 0], self.widen * root

    def sample(self, observation, *, n_samples, seed):
        mean, root = self._mean_and_root(observation)
        generator = torch.Generator().manual_seed(seed)
        for centre, scale in zip(mean, root, strict=True):
            noise = torch.randn(n_samples, MAP.n_features, generator=generator, dtype=torch.float64)
            yield galaxies(centre + noise @ scale.T)

    def log_prob(self, u, observation):
        mean, root = self._mean_and_root(observation)
        return torch.distributions.MultivariateNormal(mean, scale_tril=root).log_prob(u)
