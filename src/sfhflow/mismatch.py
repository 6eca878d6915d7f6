r"""Template mismatch: how real stars differ from the stellar population models.

No library reproduces galaxies to better than about a per cent: stellar parameters, abundance patterns and
flux calibration of the library stars are uncertain.  The simulated spectra are therefore multiplied by

.. math:: \exp\{ a\,[\,\textstyle\sum_k g_k V_k(\lambda) + p(\lambda)\, n(\lambda)\,]
          + b \textstyle\sum_k h_k D_k(\lambda) \}

with a random amplitude *a*, a fixed one *b*, Gaussian :math:`g_k, h_k` and three kinds of structure: components
:math:`V_k` of the changes that shifts in effective temperature and gravity of the library's stars make at
fixed isochrone (`benchmarks/build_mismatch.py`), with a third of the variance; correlated noise *n* whose
width and amplitude *p* with wavelength follow the differences between two libraries made of the same stars; and
the principal components :math:`D_k` of those differences themselves (`benchmarks/build_library_differences.py`),
which shift ages and metallicities as a whole.  An answer for a galaxy should not be surer than two good libraries
agree.

Libraries also differ in what they call an age and a metallicity.  With zero points

.. math:: \log t \to \log t + \delta_t, \qquad [M/H] \to [M/H] + \delta_Z

of Gaussian :math:`\delta`, all stars of a galaxy have the spectra of other ages and another metallicity than its
parameters say.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import torch
from safetensors.torch import load_file
from torch import Tensor

from sfhflow.grid import LogGrid

__all__ = ["TemplateMismatch"]

# Relative amplitude with wavelength (Angstrom): the square root of that of the difference between fastar and
# MIUSCAT SSPs of the same age and metallicity, high-passed at about 100 Angstrom, which
# `benchmarks/build_mismatch.py` prints.  The root, because part of the difference in the blue is one of age.
_PROFILE_WAVELENGTH = (3600.0, 3750.0, 3950.0, 4150.0, 4400.0, 5000.0, 6000.0, 6600.0, 7000.0, 7400.0)
_PROFILE = (1.3, 1.6, 1.5, 1.05, 0.95, 0.8, 0.7, 0.8, 1.05, 1.15)
_STRUCTURED_SHARE = 1 / 3


@dataclass(frozen=True)
class TemplateMismatch:
    """Distribution of the differences between templates and galaxies.

    Attributes
    ----------
    amplitude_range : (float, float)
        Rms of the logarithmic difference, log-uniform.
    library_amplitude : float
        The *b* above: 1 for differences as large as between FASTAR and MIUSCAT, 0 for none.
    node_pixels : int
        Spacing in pixels of the nodes between which the correlated noise is linear.
    age_zero_point, metallicity_zero_point : float
        Rms of the zero points of log10 age and of [M/H], in dex.
    """

    amplitude_range: tuple[float, float] = (0.002, 0.015)
    library_amplitude: float = 2.0
    node_pixels: int = 4
    age_zero_point: float = 0.0
    metallicity_zero_point: float = 0.0

    def on_grid(self, grid: LogGrid) -> Tensor:
        """Components V_k on a grid, shape (K, P); their sum of squares has unit mean over the pixels."""
        basis = _stored("mismatch", grid)
        return basis / (basis**2).sum(0).mean().sqrt()

    def library_on_grid(self, grid: LogGrid) -> Tensor:
        """Components D_k on a grid times b, shape (K, P)."""
        return self.library_amplitude * _stored("library_differences", grid)

    def sample(
        self, n: int, basis: Tensor, library: Tensor, profile: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Draw factors (n, P), given `on_grid`, `library_on_grid` and `profile_on_grid`."""
        low, high = self.amplitude_range
        amplitude = low * (high / low) ** torch.rand(n, 1, generator=generator)
        structured = torch.randn(n, len(basis), generator=generator) @ basis
        n_pixels = basis.shape[1]
        nodes = torch.randn(n, 1, n_pixels // self.node_pixels + 1, generator=generator)
        noise = torch.nn.functional.interpolate(nodes, n_pixels, mode="linear", align_corners=True)[:, 0]
        # linear interpolation leaves 2/3 of the nodes' variance
        noise = noise * profile * (1.5 * (1 - _STRUCTURED_SHARE)) ** 0.5
        between = torch.randn(n, len(library), generator=generator) @ library
        return (amplitude * (structured * _STRUCTURED_SHARE**0.5 + noise) + between).exp()

    def zero_points(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw shifts of log10 age and of [M/H] in dex, each (n,), float64; where there are none, draw nothing."""
        rms = torch.tensor([self.age_zero_point, self.metallicity_zero_point], dtype=torch.float64)
        if not rms.any():
            return torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
        age, metallicity = rms[:, None] * torch.randn(2, n, dtype=torch.float64, generator=generator)
        return age, metallicity

    def loadings(self, grid: LogGrid) -> tuple[Tensor, Tensor]:
        """What `sample` multiplies by standard-normal numbers and the amplitude, for an exact covariance.

        Returns
        -------
        structured : Tensor of shape (K, P)
        noise : Tensor of shape (M, P)
            One row for each node of the correlated noise; it differs from zero near its node only.
        """
        n_nodes = grid.n_pixels // self.node_pixels + 1
        hats = torch.nn.functional.interpolate(
            torch.eye(n_nodes)[None], grid.n_pixels, mode="linear", align_corners=True
        )[0]
        scale = (1.5 * (1 - _STRUCTURED_SHARE)) ** 0.5
        return _STRUCTURED_SHARE**0.5 * self.on_grid(grid), scale * hats * self.profile_on_grid(grid)

    def profile_on_grid(self, grid: LogGrid) -> Tensor:
        """Amplitude of the correlated noise with wavelength, shape (P,), of unit mean square."""
        nodes = torch.tensor(_PROFILE_WAVELENGTH), torch.tensor(_PROFILE)[None]
        profile = _interpolate(*nodes, _wavelength(grid))[0]
        return profile / (profile**2).mean().sqrt()


def _stored(name: str, grid: LogGrid) -> Tensor:
    """Components (K, P) on a grid, from a file of the package."""
    stored = load_file(str(resources.files("sfhflow") / "data" / f"{name}.safetensors"))
    return _interpolate(stored["wavelength"], stored["components"], _wavelength(grid))


def _wavelength(grid: LogGrid) -> Tensor:
    return torch.as_tensor(grid.wavelength, dtype=torch.float32)


def _interpolate(x: Tensor, y: Tensor, x_new: Tensor) -> Tensor:
    """Linear interpolation of rows y (K, M) from x (M,) to x_new (P,), constant beyond the ends."""
    right = torch.searchsorted(x, x_new).clamp(1, len(x) - 1)
    t = ((x_new - x[right - 1]) / (x[right] - x[right - 1])).clamp(0, 1)
    return y[:, right - 1] * (1 - t) + y[:, right] * t
