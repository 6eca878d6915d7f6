r"""Errors, masks and gaps of simulated observations.

An observed pixel is :math:`d_i = f_i + e_i n_i` with :math:`n_i \sim N(0, 1)` and a known error vector
:math:`e_i`.  Real error vectors differ from galaxy to galaxy, so they are drawn: an overall signal-to-noise
ratio, a smooth dependence on wavelength (throughput, colour, sky) and spikes where sky lines are subtracted.
Missing data are infinite errors (zero inverse variance): a limited wavelength window, emission-line windows,
random gaps and single bad pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["NoiseModel", "add_noise", "shifted_noise"]


@dataclass(frozen=True)
class NoiseModel:
    """Ranges from which error vectors and masks are drawn.

    Attributes
    ----------
    snr_range : (float, float)
        Signal-to-noise ratio per pixel of the rest-frame grid, log-uniform.
    shape_amplitude : float
        Standard deviation of each Legendre coefficient of the logarithm of the error with wavelength (four
        orders give an rms of 0.89 of it).
    spike_probability, spike_factor : float
        Largest fraction of sky-line pixels, and the largest relative growth of their errors.
    error_scatter : float
        Rms of the natural logarithm of true over stated errors: surveys misjudge theirs.
    full_probability : float
        Probability that the whole wavelength range is observed; otherwise a random window is.
    min_window : float
        Smallest observed window as a fraction of the pixels.
    max_gaps, max_gap_pixels : int
        Largest number and length of random gaps.
    bad_pixel_probability : float
        Largest fraction of single bad pixels.
    sparse_probability, sparse_fraction : float
        Probability of a spectrum that has lost many single pixels, and the largest fraction of them.
    """

    snr_range: tuple[float, float] = (1.0, 400.0)
    shape_amplitude: float = 0.4
    spike_probability: float = 0.02
    spike_factor: float = 5.0
    error_scatter: float = 0.12
    full_probability: float = 0.4
    min_window: float = 0.2
    max_gaps: int = 3
    max_gap_pixels: int = 400
    bad_pixel_probability: float = 0.03
    sparse_probability: float = 0.15
    sparse_fraction: float = 0.6

    def sample_errors(self, flux: Tensor, polynomials: Tensor, generator: torch.Generator) -> Tensor:
        """Draw error vectors for noiseless spectra `flux` of shape (N, P); same shape and unit."""
        n, n_pixels = flux.shape
        low, high = (torch.tensor(v).log() for v in self.snr_range)
        snr = torch.exp(low + (high - low) * _uniform(n, 1, generator))
        wiggle = torch.randn(n, len(polynomials), generator=generator) @ polynomials
        error = flux.mean(-1, keepdim=True) / snr * (self.shape_amplitude * wiggle).exp()
        spikes = _uniform(n, n_pixels, generator) < self.spike_probability * _uniform(n, 1, generator)
        return torch.where(spikes, error * (1 + self.spike_factor * _uniform(n, 1, generator)), error)

    def sample_good(self, n: int, n_pixels: int, generator: torch.Generator) -> Tensor:
        """Draw which pixels are observed, bool of shape (n, n_pixels)."""
        pixel = torch.arange(n_pixels)
        good = self._window(n, n_pixels, generator)
        for _ in range(self.max_gaps):
            start = _uniform(n, 1, generator) * n_pixels
            length = self.max_gap_pixels * _uniform(n, 1, generator) * (_uniform(n, 1, generator) < 0.4)
            good &= ~((pixel >= start) & (pixel < start + length))
        sparse = _uniform(n, 1, generator) < self.sparse_probability
        largest = torch.where(sparse, self.sparse_fraction, self.bad_pixel_probability)
        bad = largest * _uniform(n, 1, generator)
        return good & (_uniform(n, n_pixels, generator) >= bad)

    def _window(self, n: int, n_pixels: int, generator: torch.Generator) -> Tensor:
        pixel = torch.arange(n_pixels)
        width = self.min_window + (1 - self.min_window) * _uniform(n, 1, generator)
        start = (1 - width) * _uniform(n, 1, generator)
        full = _uniform(n, 1, generator) < self.full_probability
        inside = (pixel >= start * n_pixels) & (pixel < (start + width) * n_pixels)
        return inside | full


def add_noise(
    flux: Tensor, error: Tensor, good: Tensor, generator: torch.Generator, *, error_scatter: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Observed flux and inverse variance; both zero where not `good`.

    Parameters
    ----------
    flux, error : Tensors of shape (N, P)
        Noiseless flux and standard deviations.
    good : Tensor of bool, shape (N, P)
        Which pixels are observed.
    generator : torch.Generator
        Source of the noise.
    error_scatter : float
        Rms of the natural logarithm of true over stated errors, one number a galaxy.

    Returns
    -------
    flux, ivar : Tensors of shape (N, P)
    """
    n = len(flux)
    wrong = (error_scatter * torch.randn(n, 1, generator=generator)).exp()
    noisy = flux + error * wrong * shifted_noise(n, flux.shape[1], generator)
    return torch.where(good, noisy, 0.0), torch.where(good, error**-2, 0.0)


def shifted_noise(n: int, n_pixels: int, generator: torch.Generator) -> Tensor:
    """White noise of unit variance resampled by a random fraction f of a pixel, (n, n_pixels).

    Real spectra reach the grid by a linear shift, (1 - f) e_i + f e_{i+1}, while their inverse variances keep
    the information (`sfhflow.grid.rebin`): single pixels look less noisy than stated, by (1 - f)^2 + f^2 in
    variance, and neighbours are correlated, but averages over many pixels have the stated error.
    """
    fraction = _uniform(n, 1, generator)
    white = torch.randn(n, n_pixels + 1, generator=generator)
    return (1 - fraction) * white[:, :-1] + fraction * white[:, 1:]


def _uniform(n: int, m: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, m, generator=generator)
