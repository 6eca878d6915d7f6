r"""The noiseless spectrum of given parameters, at the resolution and velocity of one galaxy.

.. math:: m(u) = S_v * [\,\text{stars}(u)\; 10^{-0.4 A_V k(\lambda)}\,]

with the kernel :math:`S_v` of the velocity dispersion and of the resolution that the observer states.  This is
the forward model of `sfhflow.simulator` with everything random set to its centre.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sfhflow.exact.stars import centred
from sfhflow.instrument import broaden, kernel_variance
from sfhflow.observation import LSF_PIVOTS
from sfhflow.parameters import FRACTIONS, GalaxyParameters
from sfhflow.sfh.history import stretched_ages
from sfhflow.sfh.quantile import history_from_times
from sfhflow.simulator import Simulator

__all__ = ["Templates"]

_AT_ONCE = 512


class Templates:
    """Noiseless spectra of one galaxy.

    Parameters
    ----------
    simulator : Simulator
        Library, parameters and grid.
    age_of_universe : float
        Gyr.
    lsf_kms : Tensor of shape (3,)
        Instrumental sigma in km/s at `LSF_PIVOTS`; where not a number, the centre of the simulated range.
    shift_kms : float
        Velocity of the galaxy relative to its stated redshift.
    older, richer : float
        Zero points of log10 age and of [M/H], in dex.
    """

    def __init__(
        self,
        simulator: Simulator,
        age_of_universe: float,
        lsf_kms: Tensor,
        *,
        shift_kms: float = 0.0,
        older: float = 0.0,
        richer: float = 0.0,
    ) -> None:
        self.simulator = simulator
        self.age_of_universe = age_of_universe
        self.lsf_kms = lsf_kms
        self.shift_kms, self.older, self.richer = shift_kms, older, richer
        populations, grid = simulator.populations, simulator.grid
        self._wavelength = torch.as_tensor(populations.grid.wavelength, dtype=populations.dtype)
        first = round(math.log(grid.low / populations.grid.low) / grid.step)
        self._crop = slice(first, first + grid.n_pixels)
        self._dust = centred(simulator.dust)
        self._instrument = _between_pivots(self._wavelength, self._known(lsf_kms)).maximum(populations.library_kms)

    def moved(self, shift_kms: float) -> Templates:
        """The same galaxy at another velocity."""
        return self._changed(shift_kms=shift_kms)

    def blurred(self, factor: float) -> Templates:
        """The same galaxy seen with another instrumental sigma."""
        return self._changed(lsf_kms=factor * self._known(self.lsf_kms))

    def with_zero_points(self, *, older: float = 0.0, richer: float = 0.0) -> Templates:
        """The same galaxy seen with other zero points of log10 age and [M/H], in dex."""
        return self._changed(older=older, richer=richer)

    def _changed(self, lsf_kms: Tensor | None = None, **changes: float) -> Templates:
        now = {"shift_kms": self.shift_kms, "older": self.older, "richer": self.richer}
        lsf_kms = self.lsf_kms if lsf_kms is None else lsf_kms
        return Templates(self.simulator, self.age_of_universe, lsf_kms, **(now | changes))

    def __call__(self, u: Tensor) -> Tensor:
        """Spectra (N, P), float64 and of unit mean, for unbounded coordinates (N, D)."""
        return torch.cat([self._spectra(part) for part in u.double().split(_AT_ONCE)])

    def attenuation(self, u: Tensor) -> Tensor:
        """A_V in mag, shape (N,), of unbounded coordinates (N, D)."""
        return self.physical(u).a_v

    def physical(self, u: Tensor) -> GalaxyParameters:
        """Parameters of unbounded coordinates (N, D)."""
        age = torch.full((len(u),), self.age_of_universe, dtype=torch.float64)
        return self.simulator.prior.parameters.to_physical(u.double(), age)

    def _spectra(self, u: Tensor) -> Tensor:
        galaxy, populations = self.physical(u), self.simulator.populations
        age = torch.full((len(u),), self.age_of_universe, dtype=torch.float64)
        history = history_from_times(galaxy.times, torch.tensor(FRACTIONS, dtype=torch.float64))
        factor = torch.full_like(age, 10**self.older)
        history = stretched_ages(history, age, factor, oldest_gyr=float(populations.ages_gyr[-1]))
        # the range of slopes has no width, so this draws nothing
        dust = self._dust.sample(self._wavelength, galaxy.a_v.to(populations.dtype), torch.Generator())
        metallicity = populations.within(galaxy.metallicity + self.richer)
        rest = populations.dusty_spectra(history, metallicity, age, dust)
        flux = self.observed(rest, galaxy.sigma_kms)
        return (flux / flux.mean(-1, keepdim=True)).double()

    def observed(self, rest: Tensor, sigma_kms: Tensor) -> Tensor:
        """Spectra on the grid of the populations (N, .), moved and broadened by sigma (N,) or (1,): (N, P)."""
        library_kms = self.simulator.populations.library_kms.to(rest.dtype)
        variance = kernel_variance(sigma_kms.to(rest.dtype), self._instrument.to(rest.dtype), library_kms)
        shift = torch.full((len(rest),), self.shift_kms, dtype=rest.dtype)
        return broaden(rest, variance, self.simulator.grid.velocity_step_kms, shift_kms=shift)[:, self._crop]

    def _known(self, lsf_kms: Tensor) -> Tensor:
        low, high = self.simulator.instrument.sigma_range_kms
        return torch.where(lsf_kms.isnan(), math.sqrt(low * high), lsf_kms)


def _between_pivots(wavelength: Tensor, lsf_kms: Tensor) -> Tensor:
    """Power laws in wavelength through the sigmas at the pivots, continued beyond them."""
    x, pivots, y = wavelength.log(), torch.tensor(LSF_PIVOTS).log(), lsf_kms.log()
    cell = (torch.searchsorted(pivots, x) - 1).clamp(0, len(pivots) - 2)
    slope = y.diff() / pivots.diff()
    return (y[cell] + slope[cell] * (x - pivots[cell])).exp().to(wavelength.dtype)
