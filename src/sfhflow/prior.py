r"""The prior: what galaxies are simulated.

Formation times, with a constant star formation rate between them, *are* the model: the likelihood of a spectrum
given the parameters is exact.  Their distribution is, by default, a mixture of Gaussians in the isometric
log-ratios *r* of the gaps between them (`sfhflow.log_ratios`), fitted to draws from many families of star
formation histories (`sfhflow.sfh.mixture`, `benchmarks/build_prior.py`): smooth to bursty, ever-forming to long
dead.  It has a density, which importance sampling needs,

.. math:: p(u) = \left|\frac{\partial r}{\partial u}\right| \sum_k w_k N(r; \mu_k, \Sigma_k)\;
          p(u_{[M/H]})\, p(u_{A_V})\, p(u_\sigma),

and redshift sets only the unit of time, the age of the Universe.  Metallicity, dust and velocity dispersion are
independent of the history: with :math:`s(u) = 1 / (1 + e^{-u})`, a quantity that is uniform between its bounds has
:math:`p(u) = s(u)\, s(-u)`, one that is Beta(1, b) has :math:`p(u) = b\, s(u)\, s(-u)^b`.

Any family can take the place of the mixture.  Parametric families have two or three parameters, so their formation
times lie on thin sheets in the space of all; no galaxy is that smooth, and a density that is infinite on sheets
cannot be learned, so every gap between the times of a family is multiplied by exp(s n), n ~ N(0, 1), and the gaps
rescaled to fill the age of the Universe: the star formation rate scatters about the family's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from sfhflow.cosmology import age_of_universe
from sfhflow.errors import InputError
from sfhflow.gaussian_mixture import GaussianMixture, read_gaussian_mixture
from sfhflow.log_ratios import isometric_to_times, log_volume_ratio, nested_to_isometric, times_to_isometric
from sfhflow.parameters import FRACTIONS, GalaxyParameters, ParameterMap
from sfhflow.sfh import SFHFamily, sample_times

__all__ = ["Prior", "shipped_histories"]


def shipped_histories() -> GaussianMixture:
    """Distribution of the isometric log-ratios of the gaps between formation times that comes with the package."""
    return read_gaussian_mixture(Path(str(resources.files("sfhflow") / "data" / "histories.safetensors")))


@dataclass(frozen=True)
class Prior:
    """Distribution of galaxies.

    Attributes
    ----------
    sfh : GaussianMixture or SFHFamily
        Distribution of the isometric log-ratios of the gaps, or a family (or mixture of families) of histories.
    max_redshift : float
        Redshifts are uniform in [0, max_redshift].
    dust_concentration : float
        A_V / max(A_V) ~ Beta(1, dust_concentration): most galaxies have little dust, all values occur.
    gap_scatter : float
        Rms s of the natural logarithm of the gaps about those of a family.
    parameters : ParameterMap
        Bounds: [M/H] is uniform and the velocity dispersion log-uniform between theirs.
    """

    sfh: GaussianMixture | SFHFamily = field(default_factory=shipped_histories)
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
        if isinstance(self.sfh, GaussianMixture):
            ratios = self.sfh.sample(len(age), generator)
            return isometric_to_times(ratios) * age[:, None]
        times = sample_times(self.sfh, age, torch.tensor(FRACTIONS, dtype=torch.float64), generator)
        if self.gap_scatter == 0:
            return times
        # log-ratios are orthonormal in the logarithms of the gaps
        ratios = times_to_isometric(times / age[:, None])
        noise = torch.randn(ratios.shape, generator=generator, dtype=ratios.dtype)
        return isometric_to_times(ratios + self.gap_scatter * noise) * age[:, None]

    def log_prob(self, u: Tensor) -> Tensor:
        """Log density (...,) of unbounded coordinates (..., n_features); the same at every redshift.

        Raises
        ------
        InputError
            If the histories come from a family, of which draws can be made but no density is known.
        """
        if not isinstance(self.sfh, GaussianMixture):
            raise InputError(
                f"the prior's histories come from {type(self.sfh).__name__}, which has no density, expected a "
                'mixture of Gaussians; use a model trained with sfh = "mixture"'
            )
        uniform = u[..., [-3, -1]]
        dust, b = u[..., -2], self.dust_concentration
        scalars = (logsigmoid(uniform) + logsigmoid(-uniform)).sum(-1)
        scalars = scalars + math.log(b) + logsigmoid(dust) + b * logsigmoid(-dust)
        histories = self.sfh.log_prob(nested_to_isometric(u[..., :-3].double()))
        return histories + log_volume_ratio(len(FRACTIONS)) + scalars
