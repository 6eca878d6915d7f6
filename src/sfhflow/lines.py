"""Nebular emission lines (and interstellar Na D): where they are, and what to do about them.

The stellar population models hold no gas.  The windows of the strong lines are left out of every fit; the weak
lines (high Balmer lines, helium) sit on features too valuable to lose, and are simulated instead, with their
ratios to H beta: case B at 10^4 K for hydrogen (Osterbrock & Ferland 2006, table 4.4), typical H II regions
for the rest.  Wavelengths are in air (Angstrom), from the NIST Atomic Spectra Database.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfhflow.grid import C_KMS, LogGrid

__all__ = ["EMISSION_LINES", "WEAK_LINES", "EmissionModel", "emission_line_mask"]

EMISSION_LINES: dict[str, float] = {
    "[OII]3726": 3726.03,
    "[OII]3729": 3728.82,
    "[NeIII]3869": 3868.76,
    "Hdelta": 4101.73,
    "Hgamma": 4340.46,
    "[OIII]4363": 4363.21,
    "HeII4686": 4685.70,
    "Hbeta": 4861.32,
    "[OIII]4959": 4958.91,
    "[OIII]5007": 5006.84,
    "[NI]5200": 5199.00,
    "HeI5876": 5875.62,
    "NaD2": 5889.95,
    "NaD1": 5895.92,
    "[OI]6300": 6300.30,
    "[OI]6364": 6363.78,
    "[NII]6548": 6548.05,
    "Halpha": 6562.80,
    "[NII]6583": 6583.45,
    "[SII]6716": 6716.44,
    "[SII]6731": 6730.82,
}

WEAK_LINES: dict[str, tuple[float, float]] = {
    "H11": (3770.63, 0.040),
    "H10": (3797.90, 0.053),
    "H9": (3835.39, 0.073),
    "HeI3889": (3888.65, 0.09),
    "H8": (3889.05, 0.105),
    "[NeIII]3967": (3967.47, 0.06),
    "Hepsilon": (3970.07, 0.159),
    "HeI4026": (4026.21, 0.018),
    "HeI4471": (4471.50, 0.04),
    "HeI5016": (5015.68, 0.023),
    "HeI6678": (6678.15, 0.03),
    "HeI7065": (7065.19, 0.02),
    "[ArIII]7136": (7135.79, 0.06),
    "[OII]7320": (7319.99, 0.03),
    "[OII]7330": (7330.73, 0.03),
}
"""Wavelength (Angstrom, air) and flux relative to H beta of the lines that are simulated, not masked."""

_WIDTHS_KMS = (90.0, 150.0, 250.0)


def emission_line_mask(wavelength: NDArray[np.float64], half_width_kms: float = 500.0) -> NDArray[np.bool_]:
    """Pixels within `half_width_kms` of an emission line.

    Parameters
    ----------
    wavelength : array of shape (n,)
        Rest-frame air wavelengths in Angstrom.
    half_width_kms : float
        Half width of each window in km/s.

    Returns
    -------
    array of bool, shape (n,)
        True where a line would be.
    """
    centres = np.array(list(EMISSION_LINES.values()))
    log_ratio = np.log(wavelength)[:, None] - np.log(centres)
    return np.any(np.abs(log_ratio) < half_width_kms / C_KMS, axis=1)


@dataclass(frozen=True)
class EmissionModel:
    """Distribution of the emission that is left in simulated spectra.

    Attributes
    ----------
    mask_probability : float
        Probability that the strong lines are masked; spectra without the mask have no emission.
    probability : float
        Probability that a masked spectrum has emission.
    width_range : (float, float)
        Equivalent width of H beta in Angstrom, log-uniform.
    scatter : float
        Rms of the natural logarithm of each line ratio around its typical value.
    """

    mask_probability: float = 0.85
    probability: float = 0.6
    width_range: tuple[float, float] = (0.05, 20.0)
    scatter: float = 0.3

    def sample(self, n: int, profiles: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw emission (n, P) for spectra of unit mean flux, and which spectra (n, 1) have their lines masked.

        `profiles` are those of `line_profiles`.
        """
        uniform = torch.rand(3, n, 1, generator=generator)
        masked = uniform[0] < self.mask_probability
        low, high = self.width_range
        width = low * (high / low) ** uniform[1] * (masked & (uniform[2] < self.probability))
        ratios = torch.tensor([ratio for _, ratio in WEAK_LINES.values()])
        scatter = (self.scatter * torch.randn(n, len(ratios), generator=generator)).exp()
        broadening = torch.rand(n, len(_WIDTHS_KMS), generator=generator)
        broadening = broadening / broadening.sum(-1, keepdim=True)
        strengths = broadening[:, :, None] * (width * ratios * scatter)[:, None, :]
        return strengths.flatten(1) @ profiles, masked


def line_profiles(grid: LogGrid) -> Tensor:
    """Gaussian profiles of unit area (per Angstrom) of the weak lines in three widths, shape (3 L, P)."""
    centres = np.array([centre for centre, _ in WEAK_LINES.values()])
    sigma = np.array(_WIDTHS_KMS)[:, None] / C_KMS * centres
    z = (grid.wavelength - centres[:, None]) / sigma[..., None]
    profiles = np.exp(-0.5 * z**2) / (np.sqrt(2 * np.pi) * sigma[..., None])
    return torch.tensor(profiles.reshape(-1, grid.n_pixels), dtype=torch.float32)
