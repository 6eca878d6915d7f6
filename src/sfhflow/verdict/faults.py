"""Simulated faults: what a critic is taught to tell from galaxies, and what benchmarks break spectra with.

A fault changes the noiseless flux *f* of simulated galaxies (N, P), of unit mean; noise, errors and masks stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import resources

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from sfhflow.grid import LogGrid
from sfhflow.instrument import broaden, calibration_error, calibration_loadings
from sfhflow.lines import EmissionModel, line_profiles
from sfhflow.observation import Observation
from sfhflow.verdict.emission import strong_profiles

__all__ = ["FAULTS", "Faults", "with_flux"]

FAULTS = ("wrong_redshift", "wrong_medium", "non_stellar", "flux_calibration", "not_a_galaxy", "strong_emission")
"""Faults that the critic knows; each is the name of a reason."""

# vacuum wavelengths are longer than those in air by a velocity that varies by only 3 km/s over the optical
_AIR_KMS = 83.5
_REFERENCE_ANGSTROM = 5500.0


@dataclass(frozen=True)
class Faults:
    """Faults of spectra on a grid, drawn at random from `generator`.

    Attributes
    ----------
    grid : LogGrid
        Of the spectra.
    generator : torch.Generator
        Source of randomness.
    held_out_stars : bool
        Use the half of the stars that the critic is not taught.
    """

    grid: LogGrid
    generator: torch.Generator
    held_out_stars: bool = False

    def draw(self, kind: str, flux: Tensor, good: Tensor | None = None) -> Tensor:
        """Faulty flux of a kind, a name of `FAULTS`, with a broad distribution of strengths.

        Steps are placed between the `good` pixels.
        """
        if kind == "flux_calibration":
            return self.flux_calibration(flux, good)
        makers: dict[str, Callable[[Tensor], Tensor]] = {
            "wrong_redshift": self.wrong_redshift,
            "wrong_medium": self.wrong_medium,
            "non_stellar": self.non_stellar,
            "not_a_galaxy": self.not_a_galaxy,
            "strong_emission": self.strong_emission,
        }
        return makers[kind](flux)

    def wrong_redshift(self, flux: Tensor) -> Tensor:
        """Shift by 250 to 20,000 km/s, log-uniform, either way."""
        return self.shifted(flux, 250.0 * 80.0 ** self._uniform(len(flux)) * self._signs(len(flux)))

    def wrong_medium(self, flux: Tensor) -> Tensor:
        """Shift by the difference of air and vacuum wavelengths, either way."""
        return self.shifted(flux, _AIR_KMS * self._signs(len(flux)))

    def shifted(self, flux: Tensor, velocity_kms: Tensor) -> Tensor:
        """Shift by velocities (N,); what comes in at an end is its last value."""
        n_pixels = flux.shape[-1]
        place = torch.arange(n_pixels) - velocity_kms[:, None] / self.grid.velocity_step_kms
        low = place.floor().long().clamp(0, n_pixels - 2)
        part = (place - low).clamp(0, 1)
        return flux.gather(1, low) * (1 - part) + flux.gather(1, low + 1) * part

    def non_stellar(self, flux: Tensor) -> Tensor:
        """Power law of slope -2.5 to 0.5 with 25 to 85 % of the light."""
        share = 0.25 + 0.6 * self._uniform(len(flux))
        return self.diluted(flux, share, -2.5 + 3.0 * self._uniform(len(flux)))

    def diluted(self, flux: Tensor, share: Tensor, slope: Tensor) -> Tensor:
        """Power law of slopes (N,) with shares (N,) of the light."""
        return (1 - share[:, None]) * flux + share[:, None] * self._power_law(slope)

    def flux_calibration(self, flux: Tensor, good: Tensor | None = None) -> Tensor:
        """Step of 10 to 50 % either way, or every third time a warp of 20 to 60 % rms."""
        n = len(flux)
        stepped = self.stepped(flux, self._signs(n) * 0.1 * 5.0 ** self._uniform(n), good)
        warp = calibration_error(
            0.2 * 3.0 ** self._uniform(n), calibration_loadings(4, flux.shape[-1]), self.generator
        )
        return torch.where(self._uniform(n)[:, None] < 1 / 3, _unit_mean(flux * warp), stepped)

    def stepped(self, flux: Tensor, size: Tensor, good: Tensor | None = None) -> Tensor:
        """Factor 1 + size (N,) redward of a random place in the middle 80 % of the `good` pixels, or of all."""
        seen = torch.ones_like(flux) if good is None else good.float()
        share = seen.cumsum(-1) / seen.sum(-1, keepdim=True).clamp_min(1)
        edge = (share < 0.1 + 0.8 * self._uniform(len(flux))[:, None]).sum(-1, keepdim=True)
        return _unit_mean(torch.where(torch.arange(flux.shape[-1]) < edge, flux, flux * (1 + size[:, None])))

    def not_a_galaxy(self, flux: Tensor) -> Tensor:
        """A star (half the time), a quasar or a smooth continuum of any shape (a quarter each)."""
        which = self._uniform(len(flux))[:, None]
        other = torch.where(which < 0.75, self.quasars(len(flux)), self.featureless(len(flux)))
        return torch.where(which < 0.5, self.stars(len(flux)), other)

    def strong_emission(self, flux: Tensor) -> Tensor:
        """Lines beside the masks, H beta having an equivalent width of 30 to 400 Angstrom."""
        gas = EmissionModel(mask_probability=1.0, probability=1.0, width_range=(30.0, 400.0))
        return _unit_mean(flux + gas.sample(len(flux), line_profiles(self.grid), self.generator)[0])

    def stars(self, n: int) -> Tensor:
        """Single stars with velocities within 150 km/s, at resolutions (sigma) of 75 to 170 km/s, reddened."""
        spectra = self._templates[int(self.held_out_stars) :: 2]
        chosen = spectra[torch.randint(len(spectra), (n,), generator=self.generator)]
        variance = 150.0**2 * self._uniform(n)[:, None]
        velocity = 300.0 * self._uniform(n) - 150.0
        chosen = broaden(chosen, variance, self.grid.velocity_step_kms, shift_kms=velocity)
        return self._miscalibrated(chosen * self._power_law(1.5 * self._uniform(n)))

    def quasars(self, n: int) -> Tensor:
        """Power law with broad (1000 to 4000 km/s) lines at the places of the strong ones."""
        profiles = strong_profiles(self.grid)
        # the narrow and middling widths of `strong_profiles`, smoothed to broad ones
        narrow = profiles[: len(profiles) // 3]
        strength = torch.rand(n, len(narrow), generator=self.generator) ** 3 * 10.0
        width = 1000.0 * 4.0 ** self._uniform(n)
        lines = broaden(strength @ narrow, (width**2)[:, None], self.grid.velocity_step_kms)
        return self._miscalibrated(self._power_law(-2.5 + 2.5 * self._uniform(n)) + lines)

    def featureless(self, n: int) -> Tensor:
        """A power law with a warp of 2 to 30 % rms: sky, a blazar, a lamp."""
        warp = calibration_error(
            0.02 * 15.0 ** self._uniform(n), calibration_loadings(8, self.grid.n_pixels), self.generator
        )
        return _unit_mean(self._power_law(-3.0 + 5.0 * self._uniform(n)) * warp)

    def _power_law(self, slope: Tensor) -> Tensor:
        log = torch.tensor(np.log(self.grid.wavelength / _REFERENCE_ANGSTROM), dtype=torch.float32)
        return _unit_mean((slope[:, None] * log).exp())

    def _miscalibrated(self, flux: Tensor) -> Tensor:
        amplitude = 0.003 * 20.0 ** self._uniform(len(flux))
        return _unit_mean(
            flux * calibration_error(amplitude, calibration_loadings(8, flux.shape[-1]), self.generator)
        )

    def _uniform(self, n: int) -> Tensor:
        return torch.rand(n, generator=self.generator)

    def _signs(self, n: int) -> Tensor:
        return torch.where(self._uniform(n) < 0.5, -1.0, 1.0)

    @cached_property
    def _templates(self) -> Tensor:
        stored = load_file(str(resources.files("sfhflow") / "data" / "stars.safetensors"))
        wavelength = stored["wavelength"].double().numpy()
        rows = [np.interp(self.grid.wavelength, wavelength, row) for row in stored["flux"].double().numpy()]
        return _unit_mean(torch.tensor(np.array(rows), dtype=torch.float32))


def with_flux(observation: Observation, noiseless: Tensor, faulty: Tensor) -> Observation:
    """Put faulty flux (N, P) in the place of the noiseless one and keep the noise."""
    flux = torch.where(observation.ivar > 0, observation.flux + faulty - noiseless, 0.0)
    return observation._replace(flux=flux)


def _unit_mean(flux: Tensor) -> Tensor:
    return flux / flux.mean(-1, keepdim=True)
