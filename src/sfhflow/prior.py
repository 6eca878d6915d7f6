"""The prior: what galaxies are simulated.

Star formation histories come from a mixture of families (`sfhflow.sfh.mixture`) and are reduced to formation
times, which, with a constant star formation rate between them, *are* the model: the likelihood of a spectrum
given the parameters is exact. Parametric families have two or three parameters, so their formation times lie
on thin sheets in the space of all; no galaxy is that smooth, and a density that is infinite on sheets cannot
be learned, so every gap between formation times is multiplied by exp(s n), n ~ N(0, 1), and the gaps rescaled
to fill the age of the Universe: the star formation rate scatters about the family's. Redshift sets the age of
the Universe; metallicity, dust and velocity dispersion are independent of the history.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from sfhflow.cosmology import age_of_universe
from sfhflow.parameters import (
    FRACTIONS,
    GalaxyParameters,
    ParameterMap,
    log_ratios_to_times,
    times_to_log_ratios,
)
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
    gap_scatter : float
        Rms s of the natural logarithm of the gaps about those of the family.
    parameters : ParameterMap
        Bounds: [M/H] is uniform and the velocity dispersion log-uniform between theirs.
    """

    sfh: SFHFamily = field(default_factory=default_mixture)
    max_redshift: float = 0.4
    dust_concentration: float = 3.0
    gap_scatter: float = 0.3
    parameters: ParameterMap = field(default_factory=ParameterMap)

    def sample(self, n: int, generator: torch.Generator) -> tuple[GalaxyParameters, Tensor]:
        """Draw `n` galaxies and the age of the Universe (Gyr, shape (n,)) at their redshifts (float64)."""
        uniform = torch.rand(4, n, generator=generator, dtype=torch.float64)
        age = age_of_universe(self.max_redshift * uniform[0])
        times = self.sample_times(age, generator)
        bounds = self.parameters
        metallicity = bounds.metallicity.low + (bounds.metallicity.high - bounds.metallicity.low) * uniform[1]
        # inverse of the cumulative distribution of Beta(1, b)
        a_v = bounds.a_v.high * (1 - (1 - uniform[2]) ** (1 / self.dust_concentration))
        ratio = bounds.sigma_kms.high / bounds.sigma_kms.low
        sigma_kms = bounds.sigma_kms.low * ratio ** uniform[3]
        return GalaxyParameters(times, metallicity, a_v, sigma_kms), age

    def sample_times(self, age: Tensor, generator: torch.Generator) -> Tensor:
        """Draw formation times (N, 13) in Gyr at ages of the Universe (N,) in Gyr."""
        times = sample_times(self.sfh, age, torch.tensor(FRACTIONS, dtype=torch.float64), generator)
        if self.gap_scatter == 0:
            return times
        # log-ratios are orthonormal in the logarithms of the gaps
        ratios = times_to_log_ratios(times / age[:, None])
        noise = torch.randn(ratios.shape, generator=generator, dtype=ratios.dtype)
        return log_ratios_to_times(ratios + self.gap_scatter * noise) * age[:, None]
