"""The prior: what galaxies are simulated.

Star formation histories come from a mixture of families (`sfhflow.sfh.mixture`) and are reduced to formation
times, which, with a constant star formation rate between them, *are* the model: the likelihood of a spectrum
given the parameters is exact.  Redshift sets the age of the Universe; metallicity, dust and velocity
dispersion are independent of the history.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from sfhflow.cosmology import age_of_universe
from sfhflow.parameters import FRACTIONS, GalaxyParameters, ParameterMap
from sfhflow.sfh import SFHFamily, default_mixture, sample_times

__all__ = ["Prior"]


@dataclass(frozen=True)
class Prior:
    """Distribution of galaxies.

    Attributes
    ----------
    sfh : SFHFamily
        Family (or mixture of families) of star formation histories.
    max_redshift : float
        Redshifts are uniform in [0, max_redshift].
    dust_concentration : float
        A_V / max(A_V) ~ Beta(1, dust_concentration): most galaxies have little dust, all values occur.
    parameters : ParameterMap
        Bounds: [M/H] is uniform and the velocity dispersion log-uniform between theirs.
    """

    sfh: SFHFamily = field(default_factory=default_mixture)
    max_redshift: float = 0.4
    dust_concentration: float = 3.0
    parameters: ParameterMap = field(default_factory=ParameterMap)

    def sample(self, n: int, generator: torch.Generator) -> tuple[GalaxyParameters, Tensor]:
        """Draw `n` galaxies and the age of the Universe (Gyr, shape (n,)) at their redshifts (float64)."""
        uniform = torch.rand(4, n, generator=generator, dtype=torch.float64)
        age = age_of_universe(self.max_redshift * uniform[0])
        times = sample_times(self.sfh, age, torch.tensor(FRACTIONS, dtype=torch.float64), generator)
        bounds = self.parameters
        metallicity = bounds.metallicity.low + (bounds.metallicity.high - bounds.metallicity.low) * uniform[1]
        # inverse of the cumulative distribution of Beta(1, b)
        a_v = bounds.a_v.high * (1 - (1 - uniform[2]) ** (1 / self.dust_concentration))
        ratio = bounds.sigma_kms.high / bounds.sigma_kms.low
        sigma_kms = bounds.sigma_kms.low * ratio ** uniform[3]
        return GalaxyParameters(times, metallicity, a_v, sigma_kms), age
