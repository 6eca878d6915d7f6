r"""The parameters of a galaxy and their unbounded coordinates.

A galaxy is described by its formation times :math:`t_0 < t_{10} < \dots < t_{90} < t_{95} < t_{99} < t_{100}`
(cosmic time when 0, 10 ... 100 % of the stellar mass had formed), the metallicity [M/H], the dust attenuation
:math:`A_V` and the stellar velocity dispersion.  Networks work in unbounded coordinates *u*:

* the formation times, as fractions of the age of the Universe, are nested log-ratios (`sfhflow.log_ratios`): every
  *u* is a strictly rising set of times inside it;
* every other parameter with bounds :math:`(a, b)` is a logit of :math:`(x - a)/(b - a)` (of the logarithms for
  the velocity dispersion).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sfhflow.log_ratios import nested_to_times, times_to_nested
from sfhflow.sfh.quantile import FRACTIONS

__all__ = ["FRACTIONS", "Bounded", "GalaxyParameters", "ParameterMap"]

# logits beyond this are a rounding error away from the bounds in float32
_EDGE = 1e-5


class GalaxyParameters(NamedTuple):
    """Physical parameters of a batch of galaxies.

    Attributes
    ----------
    times : Tensor of shape (..., 13)
        Cosmic times in Gyr when the mass fractions `FRACTIONS` had formed.
    metallicity : Tensor of shape (...,)
        [M/H] in dex.
    a_v : Tensor of shape (...,)
        Attenuation at 5500 Angstrom in mag.
    sigma_kms : Tensor of shape (...,)
        Stellar velocity dispersion in km/s.
    """

    times: Tensor
    metallicity: Tensor
    a_v: Tensor
    sigma_kms: Tensor


@dataclass(frozen=True)
class Bounded:
    """A scalar with bounds, mapped to the real line by a logit."""

    low: float
    high: float
    log: bool = False

    def to_unbounded(self, x: Tensor) -> Tensor:
        """Logit of the position between the bounds."""
        low, high, x = self._scaled(x)
        return torch.logit((x - low) / (high - low), eps=_EDGE)

    def to_physical(self, u: Tensor) -> Tensor:
        """Inverse of `to_unbounded`."""
        low, high, _ = self._scaled(u)
        x = low + (high - low) * torch.sigmoid(u)
        return x.exp() if self.log else x

    def _scaled(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        low, high = x.new_tensor(self.low), x.new_tensor(self.high)
        return (low.log(), high.log(), x.log()) if self.log else (low, high, x)


@dataclass(frozen=True)
class ParameterMap:
    """Bijection between `GalaxyParameters` and unbounded coordinates of shape (..., 16).

    The order of the coordinates is: 13 nested log-ratios, [M/H], A_V, velocity dispersion.
    """

    metallicity: Bounded = Bounded(-2.27, 0.40)
    a_v: Bounded = Bounded(0.0, 3.0)
    sigma_kms: Bounded = Bounded(30.0, 400.0, log=True)

    @property
    def n_features(self) -> int:
        """Number of unbounded coordinates."""
        return len(FRACTIONS) + 3

    def to_unbounded(self, galaxy: GalaxyParameters, age_of_universe: Tensor) -> Tensor:
        """Map physical parameters to unbounded coordinates.

        Parameters
        ----------
        galaxy : GalaxyParameters
            Batch shape (...,).
        age_of_universe : Tensor of shape (...,)
            Gyr.

        Returns
        -------
        Tensor of shape (..., n_features)
        """
        ratios = times_to_nested(galaxy.times / age_of_universe[..., None])
        scalars = [
            self.metallicity.to_unbounded(galaxy.metallicity),
            self.a_v.to_unbounded(galaxy.a_v),
            self.sigma_kms.to_unbounded(galaxy.sigma_kms),
        ]
        return torch.cat([ratios, torch.stack(scalars, dim=-1)], dim=-1)

    def to_physical(self, u: Tensor, age_of_universe: Tensor) -> GalaxyParameters:
        """Map unbounded coordinates (..., n_features) to physical parameters; inverse of `to_unbounded`.

        The results lie in memory with the values of one parameter side by side, which makes what follows fast.
        """
        u = u.mT.contiguous().mT if u.ndim > 1 else u
        times = nested_to_times(u[..., :-3]) * age_of_universe[..., None]
        return GalaxyParameters(
            times,
            self.metallicity.to_physical(u[..., -3]),
            self.a_v.to_physical(u[..., -2]),
            self.sigma_kms.to_physical(u[..., -1]),
        )
