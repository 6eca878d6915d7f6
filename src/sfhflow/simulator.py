"""From a seed to a batch of simulated observations with their true parameters.

The chain is: prior -> stellar populations -> dust -> velocity dispersion, instrumental resolution and redshift
error -> template mismatch and flux-calibration error -> noise and masks.  Everything is drawn afresh for every
batch, and a batch is a function of its seed alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

from sfhflow.dust import DustModel
from sfhflow.galaxy import StellarPopulations
from sfhflow.grid import LogGrid
from sfhflow.instrument import (
    arm_step,
    broaden,
    calibration_error,
    calibration_loadings,
    kernel_variance,
    legendre,
    line_spread,
)
from sfhflow.lines import EmissionModel, emission_line_mask, line_profiles
from sfhflow.mismatch import TemplateMismatch
from sfhflow.noise import NoiseModel, add_noise
from sfhflow.observation import Observation, pivot_pixels
from sfhflow.parameters import FRACTIONS, GalaxyParameters
from sfhflow.prior import Prior
from sfhflow.sfh.history import stretched_ages
from sfhflow.sfh.quantile import history_from_times
from sfhflow.ssp.library import SSPLibrary

__all__ = ["InstrumentModel", "Simulation", "Simulator", "save_simulation"]

_FILE_BATCH = 512
# seeds between the first batches of files
_FILE_STRIDE = 1_000_000_000


@dataclass(frozen=True)
class InstrumentModel:
    """Ranges of the instrumental effects.

    Attributes
    ----------
    sigma_range_kms : (float, float)
        Instrumental sigma at 5200 Angstrom, log-uniform; the library's own resolution is a lower limit.
    slope_range : (float, float)
        Logarithmic slope of that sigma with wavelength, uniform.
    unknown_probability : float
        Probability that the resolution is not told to the network.
    resolution_error : float
        Rms of the relative error of the resolution that is told.
    max_shift_kms : float
        Redshift errors are uniform within this velocity.
    calibration_range : (float, float)
        Rms of the smooth flux-calibration error, log-uniform.
    calibration_orders : int
        Largest Legendre order of that error over the whole grid; low orders carry most of it.
    arm_step : float
        Rms of the step in ln flux where the arms of a spectrograph were joined, at a random wavelength.
    """

    sigma_range_kms: tuple[float, float] = (45.0, 200.0)
    slope_range: tuple[float, float] = (-1.0, 0.3)
    unknown_probability: float = 0.15
    resolution_error: float = 0.05
    max_shift_kms: float = 100.0
    calibration_range: tuple[float, float] = (0.005, 0.10)
    calibration_orders: int = 8
    arm_step: float = 0.01


class Simulation(NamedTuple):
    """A batch of simulated galaxies: unbounded parameters (N, D), observations and noiseless flux (N, P)."""

    u: Tensor
    observation: Observation
    noiseless: Tensor
    galaxy: GalaxyParameters


@dataclass
class Simulator:
    """Generator of `Simulation` batches.

    Attributes
    ----------
    library : SSPLibrary
        Templates.
    prior : Prior
        Distribution of galaxies.
    noise : NoiseModel
        Errors and masks.
    instrument : InstrumentModel
        Resolution, calibration and redshift errors.
    mismatch : TemplateMismatch
        Differences between templates and real stars.
    emission : EmissionModel
        Emission lines: masks, and what remains.
    dust : DustModel
        Attenuation laws.
    grid : LogGrid
        Rest-frame output grid.
    """

    library: SSPLibrary
    prior: Prior = field(default_factory=Prior)
    noise: NoiseModel = field(default_factory=NoiseModel)
    instrument: InstrumentModel = field(default_factory=InstrumentModel)
    mismatch: TemplateMismatch = field(default_factory=TemplateMismatch)
    emission: EmissionModel = field(default_factory=EmissionModel)
    dust: DustModel = field(default_factory=DustModel)
    grid: LogGrid = field(default_factory=LogGrid)

    def __post_init__(self) -> None:
        # room beyond the ends for broadening and shifts, as far as the library goes
        wavelength = self.library.wavelength
        inner, self._crop = self.grid.padded(wavelength[0] + 5.0, wavelength[-1] - 5.0)
        self.populations = StellarPopulations(self.library, inner)
        self._wavelength = torch.as_tensor(inner.wavelength, dtype=torch.float32)
        self._line_mask = torch.as_tensor(emission_line_mask(self.grid.wavelength))
        self._line_profiles = line_profiles(self.grid)
        self._calibration = calibration_loadings(self.instrument.calibration_orders, self.grid.n_pixels)
        self._error_shape = legendre(4, self.grid.n_pixels)
        self._mismatch_basis = self.mismatch.on_grid(self.grid)
        self._library_differences = self.mismatch.library_on_grid(self.grid)
        self._mismatch_profile = self.mismatch.profile_on_grid(self.grid)

    def sample(self, n: int, *, seed: int) -> Simulation:
        """Simulate `n` galaxies; the same seed gives the same batch."""
        generator = torch.Generator().manual_seed(seed)
        galaxy, age = self.prior.sample(n, generator)
        rest = self._stars_and_dust(galaxy, age, generator)
        flux, lsf_kms = self._through_instrument(rest, galaxy.sigma_kms.float(), generator)
        flux = flux * self.mismatch.sample(
            n, self._mismatch_basis, self._library_differences, self._mismatch_profile, generator
        )
        low, high = self.instrument.calibration_range
        amplitude = low * (high / low) ** torch.rand(n, generator=generator)
        flux = flux * calibration_error(amplitude, self._calibration, generator)
        flux = flux * arm_step(self.instrument.arm_step, n, self.grid.n_pixels, generator)
        flux = flux / flux.mean(-1, keepdim=True)
        emission, masked = self.emission.sample(n, self._line_profiles, generator)
        flux = flux + emission
        error = self.noise.sample_errors(flux, self._error_shape, generator)
        good = self.noise.sample_good(n, self.grid.n_pixels, generator) & ~(masked & self._line_mask)
        observed, ivar = add_noise(flux, error, good, generator, error_scatter=self.noise.error_scatter)
        u = self.prior.parameters.to_unbounded(galaxy, age)
        observation = Observation(observed, ivar, self._told(lsf_kms, generator), age.float())
        return Simulation(u.float(), observation, flux, galaxy)

    def _stars_and_dust(self, galaxy: GalaxyParameters, age: Tensor, generator: torch.Generator) -> Tensor:
        history = history_from_times(galaxy.times, torch.tensor(FRACTIONS, dtype=torch.float64))
        dust = self.dust.sample(self._wavelength, galaxy.a_v.float(), generator)
        older, richer = self.mismatch.zero_points(len(age), generator)
        oldest = float(self.populations.ages_gyr[-1])
        history = stretched_ages(history, age, 10**older, oldest_gyr=oldest)
        metallicity = self.populations.within(galaxy.metallicity + richer)
        return self.populations.dusty_spectra(history, metallicity, age, dust)

    def _through_instrument(
        self, flux: Tensor, sigma_kms: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Broadened and shifted flux on the output grid, and the instrumental sigma at the pivots."""
        n = len(flux)
        uniform = torch.rand(3, n, generator=generator)
        low, high = self.instrument.sigma_range_kms
        low_slope, high_slope = self.instrument.slope_range
        library_kms = self.populations.library_kms
        lsf = line_spread(
            self._wavelength,
            low * (high / low) ** uniform[0],
            low_slope + (high_slope - low_slope) * uniform[1],
            library_kms,
        )
        variance = kernel_variance(sigma_kms, lsf, library_kms)
        shift = self.instrument.max_shift_kms * (2 * uniform[2] - 1)
        broadened = broaden(flux, variance, self.grid.velocity_step_kms, shift_kms=shift)
        at_pivots = lsf[:, self._crop][:, torch.as_tensor(pivot_pixels(self.grid))]
        return broadened[:, self._crop], at_pivots

    def _told(self, lsf_kms: Tensor, generator: torch.Generator) -> Tensor:
        """The resolution as the observer believes it to be: slightly wrong, and sometimes unknown."""
        n = len(lsf_kms)
        wrong = lsf_kms * (self.instrument.resolution_error * torch.randn(n, 1, generator=generator)).exp()
        unknown = torch.rand(n, 1, generator=generator) < self.instrument.unknown_probability
        return torch.where(unknown, torch.nan, wrong)


def save_simulation(simulator: Simulator, path: str | Path, *, n: int, seed: int) -> None:
    """Write `n` simulated galaxies to a safetensors file.

    The file holds the observation (`flux`, `ivar`, `lsf_kms`, `age_of_universe`), the `wavelength` grid and
    the true parameters (`times` at `fractions`, `metallicity`, `a_v`, `sigma_kms`).  Batches of a fixed size
    are joined, so the first galaxies do not depend on `n`.  Their seeds are negative and far apart: files of
    different seeds share no galaxy with each other, nor with the batches of a training run.
    """
    first = -1 - seed * _FILE_STRIDE
    batches = [simulator.sample(_FILE_BATCH, seed=first - i) for i in range(-(-n // _FILE_BATCH))]
    columns = [{**b.observation._asdict(), **b.galaxy._asdict()} for b in batches]
    tensors = {key: torch.cat([c[key] for c in columns])[:n].contiguous() for key in columns[0]}
    tensors["wavelength"] = torch.tensor(simulator.grid.wavelength)
    tensors["fractions"] = torch.tensor(FRACTIONS, dtype=torch.float64)
    save_file(tensors, path, {"library": simulator.library.name, "seed": str(seed)})
