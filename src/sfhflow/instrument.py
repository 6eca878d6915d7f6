r"""What the telescope and the moving stars do to a spectrum: broadening, velocity shift, flux calibration.

On a grid of equal steps in ln(lambda), a Gaussian line-of-sight velocity distribution is a product in Fourier
space (Cappellari 2017, MNRAS 466, 798, sec. 2.2; analytic transform, so narrow kernels are not undersampled):

.. math:: \hat f(k) \to \hat f(k) \exp(-\tfrac12 k^2 \sigma^2 - i k v), \qquad \sigma, v \text{ in pixels}.

The instrumental line-spread function varies with wavelength.  Since the transfer function is smooth in
:math:`\sigma^2`, spectra broadened by three constant variances (the range of the local variance) are
interpolated quadratically in the variance, pixel by pixel.

The template library has a resolution of its own, which cannot be undone: the kernel that is applied has
variance :math:`\sigma_\star^2 + \sigma_{inst}^2(\lambda) - \sigma_{lib}^2(\lambda)`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sfhflow.errors import InputError
from sfhflow.grid import C_KMS, FWHM_PER_SIGMA

__all__ = [
    "arm_step",
    "broaden",
    "calibration_error",
    "calibration_loadings",
    "fwhm_to_sigma_kms",
    "kernel_variance",
    "legendre",
    "line_spread",
]


# Pixels beyond each end; a dispersion of 400 km/s is 6 pixels of 69 km/s.
_MIN_PADDING = 40


def fwhm_to_sigma_kms(fwhm: Tensor | float, wavelength: Tensor) -> Tensor:
    """Convert a FWHM in Angstrom at `wavelength` (Angstrom) to a Gaussian sigma in km/s."""
    return C_KMS * fwhm / (FWHM_PER_SIGMA * wavelength)


def line_spread(wavelength: Tensor, sigma_kms: Tensor, slope: Tensor, library_kms: Tensor) -> Tensor:
    """Instrumental sigma in km/s, a power law in wavelength that is never sharper than the library.

    Parameters
    ----------
    wavelength : Tensor of shape (P,)
        Angstrom.
    sigma_kms, slope : Tensors of shape (N,)
        Value at 5200 Angstrom and logarithmic slope: 0 is constant resolving power, -1 constant FWHM in
        Angstrom.
    library_kms : Tensor of shape (P,)
        The library's own sigma.

    Returns
    -------
    Tensor of shape (N, P)
    """
    shape = (wavelength / 5200.0).log()
    return torch.maximum(sigma_kms[:, None] * (slope[:, None] * shape).exp(), library_kms)


def kernel_variance(sigma_kms: Tensor, instrument_kms: Tensor, library_kms: Tensor) -> Tensor:
    """Variance in (km/s)^2 of the kernel that brings library spectra to the wanted broadening.

    Parameters
    ----------
    sigma_kms : Tensor of shape (N,)
        Stellar velocity dispersion.
    instrument_kms : Tensor of shape (N, P) or (P,)
        Instrumental sigma at each wavelength.
    library_kms : Tensor of shape (P,)
        The library's own sigma at each wavelength.

    Returns
    -------
    Tensor of shape (N, P)

    Raises
    ------
    InputError
        If a sharper spectrum than the library's own is asked for.
    """
    variance = sigma_kms[:, None] ** 2 + instrument_kms**2 - library_kms**2
    if (variance < -1e-3 * library_kms**2).any():
        raise InputError(
            "the wanted line-spread function is sharper than the SSP library's own "
            f"(down to {variance.min().item():.3g} (km/s)^2 in variance), expected >= 0; "
            "degrade the data to the library's resolution or use a sharper library"
        )
    return variance.clamp_min(0.0)


def broaden(flux: Tensor, variance: Tensor, step_kms: float, *, shift_kms: Tensor | None = None) -> Tensor:
    """Convolve spectra with a Gaussian whose variance may change with wavelength, and shift them.

    Parameters
    ----------
    flux : Tensor of shape (N, P)
        Spectra on a grid of equal steps in ln(lambda).
    variance : Tensor of shape (N, P) or (N, 1)
        Local kernel variance in (km/s)^2.
    step_kms : float
        Pixel width in km/s.
    shift_kms : Tensor of shape (N,), optional
        Velocity shift, positive to the red.

    Returns
    -------
    Tensor of shape (N, P)
        Beyond the ends the spectrum is continued by its end values.
    """
    n_pixels = flux.shape[-1]
    padding = _padding(n_pixels)
    padded = torch.nn.functional.pad(flux, (padding // 2, padding - padding // 2), mode="replicate")
    spectrum = torch.fft.rfft(padded)
    length = n_pixels + padding
    k = torch.fft.rfftfreq(length, dtype=flux.dtype, device=flux.device) * (2 * torch.pi / step_kms)
    if shift_kms is not None:
        spectrum = spectrum * torch.polar(torch.ones_like(k), -k * shift_kms[:, None])
    low, high = variance.amin(-1, keepdim=True), variance.amax(-1, keepdim=True)
    spectrum = spectrum * torch.exp(-0.5 * low * k**2)
    nodes = [torch.fft.irfft(spectrum, n=length)]
    if not torch.equal(low, high):
        half_way = torch.exp(-0.25 * (high - low) * k**2)
        nodes.append(torch.fft.irfft(spectrum * half_way, n=length))
        nodes.append(torch.fft.irfft(spectrum * half_way**2, n=length))
    nodes = [node[..., padding // 2 : padding // 2 + n_pixels] for node in nodes]
    if len(nodes) == 1:
        return nodes[0]
    # Newton's form of the parabola through the three nodes, x = 0, 1, 2
    x = 2 * (variance - low) / (high - low).clamp_min(1e-12)
    first, second = nodes[1] - nodes[0], nodes[2] - 2 * nodes[1] + nodes[0]
    return nodes[0] + x * (first + 0.5 * (x - 1) * second)


def _padding(n_pixels: int) -> int:
    """Pixels to add so that the ends do not touch around the circle and the length suits the FFT."""
    wanted = n_pixels + 2 * _MIN_PADDING
    lengths = (2**i * 3**j for i in range(4, 24) for j in range(4))
    return min(length for length in lengths if length >= wanted) - n_pixels


def legendre(n_orders: int, n_pixels: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Legendre polynomials of order 1 ... n_orders over the pixels mapped to [-1, 1], shape (n_orders, P)."""
    x = torch.linspace(-1.0, 1.0, n_pixels, dtype=dtype)
    rows = [torch.ones_like(x), x]
    for order in range(2, n_orders + 1):
        rows.append(((2 * order - 1) * x * rows[-1] - (order - 1) * rows[-2]) / order)
    return torch.stack(rows[1 : n_orders + 1])


def arm_step(rms: float, n: int, n_pixels: int, generator: torch.Generator) -> Tensor:
    """Draw factors (n, P) that differ on the two sides of a random pixel, where two arms were joined.

    The logarithm of the ratio is normal with standard deviation `rms`.
    """
    edge = torch.rand(n, 1, generator=generator) * n_pixels
    size = rms * torch.randn(n, 1, generator=generator)
    return torch.where(torch.arange(n_pixels) < edge, -0.5 * size, 0.5 * size).exp()


def calibration_loadings(n_orders: int, n_pixels: int) -> Tensor:
    r"""Legendre polynomials (n_orders, P) in proportion to the rms of their coefficients.

    Order k has a share 1 / k of the variance: a flux calibration errs most where it is smoothest.  The mean
    square over the pixels of the sum of the rows, each times a standard-normal number, is one.
    """
    order = torch.arange(1, n_orders + 1, dtype=torch.float32)
    share = (1 / order) / (1 / order).sum()
    # P_k has mean square 1 / (2k + 1) over [-1, 1]
    return legendre(n_orders, n_pixels) * (share * (2 * order + 1)).sqrt()[:, None]


def calibration_error(amplitude: Tensor, loadings: Tensor, generator: torch.Generator) -> Tensor:
    """Draw smooth multiplicative flux-calibration errors exp(a sum_k c_k L_k) with standard-normal c_k.

    Parameters
    ----------
    amplitude : Tensor of shape (N,)
        Rms a of the logarithmic error over the grid.
    loadings : Tensor of shape (K, P)
        L_k, see `calibration_loadings`.
    generator : torch.Generator
        Source of the random coefficients.

    Returns
    -------
    Tensor of shape (N, P)
    """
    coefficients = torch.randn(len(amplitude), len(loadings), generator=generator, dtype=loadings.dtype)
    return (amplitude[:, None] * coefficients @ loadings).exp()
