"""The observed spectrum, the fit, and what is left over.

Fluxes are drawn divided by their median, and model spectra are scaled to the data (see `sfhflow.curves`).
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from sfhflow import curves
from sfhflow.curves import Predictive, normalised, pixel_runs, scaled
from sfhflow.lines import emission_line_mask
from sfhflow.plots.style import BLACK, GREY, ORANGE, RED, SKY, axes_or_new, finish, legend
from sfhflow.posterior import Posterior

__all__ = ["Predictive", "residuals", "spectrum"]

Array = NDArray[np.float64]

_XLABEL = "rest-frame wavelength in air [Å]"
_RESIDUAL_LIMIT = 5.0


def spectrum(posterior: Posterior, ax: Axes | None = None, *, predictive: Predictive | None = None) -> Axes:
    """Draw the observed spectrum with its errors, what was left out, and the fit.

    Parameters
    ----------
    posterior : Posterior
        Its spectrum is drawn against rest-frame air wavelengths, divided by its median, with a band of one
        standard deviation.
    ax : Axes, optional
        Where to draw.
    predictive : Predictive, optional
        Model spectra; the axis is then limited to their wavelengths, the ones that were fitted.
    """
    ax = axes_or_new(ax)
    data = normalised(posterior)
    wavelength, flux, error, good = data
    ax.fill_between(wavelength, flux - error, flux + error, color=GREY, alpha=0.5, lw=0, zorder=1.9)
    ax.plot(wavelength, flux, color=BLACK, lw=0.5, label="data")
    if predictive is not None:
        grid, low, median, high = scaled(predictive, data)
        ax.fill_between(grid, low, high, color=RED, alpha=0.35, lw=0, zorder=2.1)
        ax.plot(grid, median, color=RED, lw=0.7, label="fit")
    if posterior.lines_masked:
        _shade(ax, wavelength, emission_line_mask(wavelength), color=SKY, label="emission-line windows")
    _shade(ax, wavelength, ~good, color=ORANGE, label="masked")
    _limit_wavelength(ax, wavelength[good], predictive)
    _limit_flux(ax, wavelength, flux)
    legend(ax, loc="lower right", ncols=4)
    return finish(ax, _XLABEL, "flux / median")


def residuals(posterior: Posterior, predictive: Predictive, ax: Axes | None = None) -> Axes:
    """Draw (data - median fit) / error of every pixel that was fitted.

    Parameters
    ----------
    posterior : Posterior
        Its spectrum is the data.
    predictive : Predictive
        Model spectra, interpolated to the wavelengths of the data.
    ax : Axes, optional
        Where to draw.
    """
    ax = axes_or_new(ax, height=1.2)
    data = normalised(posterior)
    chi = curves.residuals(data, scaled(predictive, data), mask_lines=posterior.lines_masked)
    ax.plot(data.wavelength, chi, color=BLACK, lw=0.4)
    ax.axhspan(-1, 1, color=RED, alpha=0.25, lw=0, zorder=2.1)
    _limit_wavelength(ax, data.wavelength[data.good], predictive)
    ax.set(ylim=(-_RESIDUAL_LIMIT, _RESIDUAL_LIMIT), yticks=[-3, 0, 3])
    return finish(ax, _XLABEL, r"$\Delta / \sigma$")


def _limit_wavelength(ax: Axes, wavelength: Array, predictive: Predictive | None) -> None:
    """Show the good pixels, or what was fitted of them."""
    low, high = wavelength[0], wavelength[-1]
    if predictive is not None:
        low, high = max(low, predictive[0][0]), min(high, predictive[0][-1])
    ax.set_xlim(low, high)


def _limit_flux(ax: Axes, wavelength: Array, flux: Array) -> None:
    """Limits from the bulk of the fitted pixels, so that a strong line or a cosmic ray cannot squash the rest."""
    left, right = ax.get_xlim()
    fitted = np.isfinite(flux) & ~emission_line_mask(wavelength)
    shown = flux[fitted & (wavelength >= left) & (wavelength <= right)]
    if len(shown):
        low, high = np.percentile(shown, [1.0, 98.0])
        margin = 0.35 * (high - low) or 0.1
        ax.set_ylim(low - margin, high + margin)


def _shade(ax: Axes, wavelength: Array, pixels: NDArray[np.bool_], *, color: str, label: str) -> None:
    """Shade runs of pixels over the whole height."""
    runs = [(start, end - start) for start, end in pixel_runs(wavelength, pixels)]
    if runs:
        whole = ax.get_xaxis_transform()
        ax.broken_barh(runs, (0, 1), transform=whole, color=color, alpha=0.3, lw=0, zorder=0.5, label=label)
