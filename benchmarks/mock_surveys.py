"""The same galaxies as SDSS, BOSS, DESI and MaNGA would see them, down to the same noise.

A galaxy has one noiseless spectrum and, on a grid finer than any detector, one realisation of unit white noise.
Each survey smooths the spectrum to its resolution, samples it at its own pixels, sums the white noise over the
same pixels (so that surveys share it where they overlap), and scales it to its own error with wavelength, at the
same median signal-to-noise ratio per Angstrom between 4000 and 6800 Angstrom in the rest frame.

Ranges and resolving powers: SDSS, York et al. 2000 (AJ 120, 1579); BOSS, Smee et al. 2013 (AJ 146, 32); DESI,
DESI Collaboration 2022 (AJ 164, 207); MaNGA, Yan et al. 2016 (AJ 151, 8).  Errors with wavelength are typical
shapes: less light at both ends, sky lines in the red, and steps between the arms of DESI.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from sfhflow.cosmology import age_of_universe
from sfhflow.galaxy import StellarPopulations
from sfhflow.grid import C_KMS, FWHM_PER_SIGMA, LogGrid, vacuum_to_air
from sfhflow.instrument import broaden, kernel_variance
from sfhflow.parameters import FRACTIONS, GalaxyParameters
from sfhflow.sfh.quantile import history_from_times
from sfhflow.simulator import Simulator
from sfhflow.spectrum import Spectrum

# a sharper galaxy could not be made from the library: sigma^2 + instrument^2 - library^2 must not be negative
SIGMA_RANGE_KMS = (90.0, 350.0)
REFERENCE = (4000.0, 6800.0)
_FINE_STEP = 1e-4 * np.log(10.0) / 8
_FINE_START = np.log(3500.0)
_N_FINE = int((np.log(10500.0) - _FINE_START) / _FINE_STEP)


@dataclass(frozen=True)
class Survey:
    """An instrument; resolving power and relative error are linear between their nodes in wavelength."""

    name: str
    low: float
    high: float
    resolution: tuple[tuple[float, ...], tuple[float, ...]]
    relative_error: tuple[tuple[float, ...], tuple[float, ...]]
    linear_step: float | None = None

    @cached_property
    def wavelength(self) -> np.ndarray:
        """Pixel centres in vacuum, Angstrom."""
        if self.linear_step:
            return np.arange(self.low, self.high, self.linear_step)
        return np.exp(np.arange(np.log(self.low), np.log(self.high), 1e-4 * np.log(10.0)))

    @cached_property
    def error_shape(self) -> np.ndarray:
        """Error in units of the typical one, per Angstrom, with sky lines."""
        shape = np.interp(self.wavelength, *self.relative_error)
        shape = np.where(abs(self.wavelength - 5578.5) < 6, 4 * shape, shape)
        lines = (self.wavelength > 7200) & (np.sin(self.wavelength / 6.0) > 0.8)
        return np.where(lines, 2 * shape, shape)

    @cached_property
    def resolving_power(self) -> np.ndarray:
        """Wavelength over FWHM at each pixel."""
        return np.interp(self.wavelength, *self.resolution)


SURVEYS = (
    Survey("SDSS", 3800, 9200, ((3800, 9200), (1850, 2200)), ((3800, 4300, 7000, 9200), (2.5, 1.2, 1.0, 1.8))),
    Survey(
        "BOSS",
        3600,
        10400,
        ((3700, 6300, 6301, 9000), (1560, 2270, 1900, 2650)),
        ((3600, 4000, 5000, 8000, 10400), (3.0, 1.4, 1.0, 1.0, 2.5)),
    ),
    Survey(
        "DESI",
        3600,
        9824,
        ((3600, 5900, 5901, 7600, 7601, 9824), (2000, 3400, 3200, 4300, 4000, 5000)),
        ((3600, 4200, 5780, 5781, 7500, 7501, 9824), (3.0, 1.2, 1.1, 0.9, 1.1, 0.9, 1.5)),
        linear_step=0.8,
    ),
    Survey(
        "MaNGA",
        3622,
        10354,
        ((3622, 4000, 9000, 10354), (1350, 1400, 2600, 2700)),
        ((3622, 4000, 5000, 8000, 10354), (2.2, 1.2, 1.0, 1.0, 2.0)),
    ),
)


class Galaxies:
    """Galaxies of a simulator's prior with their noiseless spectra and noise, ready to be observed.

    Parameters
    ----------
    simulator : Simulator
        Gives the library, the prior, the dust and the grid.
    n : int
        Number of galaxies.
    seed : int
        Seed of everything random.
    """

    def __init__(self, simulator: Simulator, n: int, *, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        rng = np.random.default_rng(seed)
        drawn, drawn_age = simulator.prior.sample(n, generator)
        low, high = SIGMA_RANGE_KMS
        sigma = low * (high / low) ** torch.rand(n, generator=generator, dtype=torch.float64)
        self.redshift = 0.01 + (simulator.prior.max_redshift - 0.01) * rng.random(n)
        age = torch.as_tensor(age_of_universe(self.redshift))
        times = drawn.times * (age / drawn_age)[:, None]
        self.truth = GalaxyParameters(times, drawn.metallicity, drawn.a_v, sigma)
        ends = simulator.library.wavelength[0] + 5.0, simulator.library.wavelength[-1] - 5.0
        self.grid, _ = LogGrid(ends[0], ends[1], simulator.grid.step / 2).padded(*ends)
        self.populations = StellarPopulations(simulator.library, self.grid)
        dust = simulator.dust.sample(
            torch.as_tensor(self.grid.wavelength, dtype=torch.float32), self.truth.a_v.float(), generator
        )
        history = history_from_times(self.truth.times, torch.tensor(FRACTIONS, dtype=torch.float64))
        rest = self.populations.dusty_spectra(history, self.truth.metallicity, age, dust)
        self.rest = rest / rest.mean(-1, keepdim=True)
        self._noise_seed = int(rng.integers(2**31))

    def __len__(self) -> int:
        return len(self.redshift)

    def observe(
        self, survey: Survey, snr: np.ndarray | float, *, again: int = 0, window: tuple[float, float] | None = None
    ) -> list[Spectrum]:
        """Spectra of all galaxies.

        Parameters
        ----------
        survey : Survey
            Instrument.
        snr : float or array of shape (n,)
            Median signal-to-noise ratio per Angstrom.
        again : int
            Another number is another realisation of the noise.
        window : (float, float), optional
            Observed wavelengths outside are masked.
        """
        snrs = np.broadcast_to(snr, (len(self),))
        smooth = self._smoothed(survey)
        return [self._one(survey, i, smooth[i], float(snrs[i]), again, window) for i in range(len(self))]

    def _smoothed(self, survey: Survey) -> np.ndarray:
        observed = self.grid.wavelength * (1 + self.redshift[:, None])
        lsf = C_KMS / (FWHM_PER_SIGMA * np.interp(observed, survey.wavelength, survey.resolving_power))
        variance = kernel_variance(
            self.truth.sigma_kms.float(), torch.as_tensor(lsf, dtype=torch.float32), self.populations.library_kms
        )
        return broaden(self.rest, variance, self.grid.velocity_step_kms).double().numpy()

    def _one(
        self,
        survey: Survey,
        i: int,
        smooth: np.ndarray,
        snr: float,
        again: int,
        window: tuple[float, float] | None,
    ) -> Spectrum:
        wavelength = survey.wavelength
        rest = vacuum_to_air(wavelength / (1 + self.redshift[i]))
        flux = np.interp(np.log(rest), np.log(self.grid.wavelength), smooth)
        width = np.gradient(wavelength) / (1 + self.redshift[i])
        error = survey.error_shape / np.sqrt(width)
        inside = (rest > REFERENCE[0]) & (rest < REFERENCE[1])
        error *= np.median((flux * np.sqrt(1 / width) / error)[inside]) / snr
        noise = pixel_noise(wavelength, np.random.default_rng([self._noise_seed, i, again]))
        ends = window or (survey.low, survey.high)
        hidden = (rest < self.grid.low + 30) | (rest > self.grid.high - 30)
        return Spectrum(
            wavelength=wavelength,
            flux=flux + error * noise,
            ivar=error**-2.0,
            redshift=float(self.redshift[i]),
            mask=hidden | (wavelength < ends[0]) | (wavelength > ends[1]),
            resolution=survey.resolving_power,
            medium="vacuum",
            name=f"{survey.name}_{i}",
        )


def pixel_noise(wavelength: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Unit noise of pixels: sums of one fine white noise over each, divided by the root of their lengths."""
    cumulative = np.concatenate([[0.0], np.cumsum(rng.normal(size=_N_FINE))])
    log = np.log(wavelength)
    middle = 0.5 * (log[1:] + log[:-1])
    edges = np.concatenate([[2 * log[0] - middle[0]], middle, [2 * log[-1] - middle[-1]]])
    place = (edges - _FINE_START) / _FINE_STEP
    # whole cells, so that pixels share none and are independent
    cells = np.round(place).astype(int)
    return np.diff(cumulative[cells]) / np.sqrt(np.diff(cells))
