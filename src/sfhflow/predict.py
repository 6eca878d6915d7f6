r"""Posterior prediction: the spectra that a galaxy's posterior samples imply, beside the one that was observed.

Each sample is sent through the forward model again: stars, dust, velocity dispersion, resolution.  What the
model marginalises rather than infers is fitted to the data: a smooth calibration curve exp(sum_k c_k P_k), by
weighted linear least squares on the logarithm of data / prediction.  This needs the SSP library that the model
was trained on; the inference itself does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfhflow.dust import calzetti
from sfhflow.errors import LibraryError
from sfhflow.galaxy import StellarPopulations
from sfhflow.instrument import broaden, kernel_variance, legendre
from sfhflow.model import Model
from sfhflow.observation import LSF_PIVOTS, observe_one
from sfhflow.parameters import FRACTIONS
from sfhflow.posterior import Posterior
from sfhflow.sfh.quantile import history_from_times
from sfhflow.ssp import open_library

__all__ = ["Predictive", "predict", "predictor"]

# Instrumental sigma that is assumed where the spectrum does not tell its resolution: that of SDSS.
_TYPICAL_SIGMA_KMS = 70.0


class Predictive(NamedTuple):
    """Predicted spectra on the rest-frame grid, in units of the mean observed flux.

    Attributes
    ----------
    wavelength : array of shape (P,)
        Air, Angstrom.
    low, median, high : arrays of shape (P,)
        16, 50 and 84 % quantiles of the predictions.
    """

    wavelength: NDArray[np.float64]
    low: NDArray[np.float64]
    median: NDArray[np.float64]
    high: NDArray[np.float64]


def predict(
    posterior: Posterior,
    populations: StellarPopulations,
    *,
    library_fwhm: float,
    n_samples: int = 100,
    orders: int = 8,
) -> Predictive:
    """Predict the observed spectrum from posterior samples.

    Parameters
    ----------
    posterior : Posterior
        Samples of one galaxy, with the spectrum they were inferred from.
    populations : StellarPopulations
        SSP library on the model's grid.
    library_fwhm : float
        The library's resolution in Angstrom.
    n_samples : int
        Samples to predict from, taken evenly from all.
    orders : int
        Legendre orders of the calibration curve.
    """
    grid = populations.grid
    flux, ivar, lsf_kms = observe_one(posterior.spectrum, grid, library_fwhm, mask_lines=posterior.lines_masked)
    stars = _stellar_spectra(posterior, populations, n_samples)
    predicted = _broadened(stars, posterior, populations, torch.as_tensor(lsf_kms))
    calibrated = _calibrated(predicted.double().numpy(), flux, ivar, orders)
    low, median, high = np.quantile(calibrated, [0.16, 0.5, 0.84], axis=0)
    return Predictive(grid.wavelength, low, median, high)


def predictor(model: Model) -> Callable[[Posterior], Predictive | None]:
    """Return a function that predicts spectra from posteriors of `model`.

    It returns None for all of them if the SSP library that the model was trained on is not at hand.
    """
    try:
        library = open_library(model.card["config"]["library"])
    except (KeyError, LibraryError):
        return lambda posterior: None
    populations = StellarPopulations(library, model.grid, tolerance=1e-3)
    return lambda posterior: predict(posterior, populations, library_fwhm=model.library_fwhm)


def _chosen(posterior: Posterior, n_samples: int) -> NDArray[np.int_]:
    return np.linspace(0, len(posterior) - 1, min(n_samples, len(posterior))).astype(int)


def _stellar_spectra(posterior: Posterior, populations: StellarPopulations, n_samples: int) -> Tensor:
    rows = _chosen(posterior, n_samples)
    times, metallicity, a_v = (
        torch.as_tensor(values[rows]) for values in (posterior.times, posterior.metallicity, posterior.a_v)
    )
    history = history_from_times(times, torch.tensor(FRACTIONS, dtype=torch.float64))
    age = torch.full((len(rows),), posterior.age_of_universe, dtype=torch.float64)
    stars = populations.spectra(history, metallicity, age)
    wavelength = torch.as_tensor(populations.grid.wavelength, dtype=stars.dtype)
    return stars * calzetti(wavelength, a_v.to(stars.dtype))


def _broadened(flux: Tensor, posterior: Posterior, populations: StellarPopulations, lsf_kms: Tensor) -> Tensor:
    sigma = torch.as_tensor(posterior.sigma_kms[_chosen(posterior, len(flux))], dtype=flux.dtype)
    library_kms = populations.library_kms
    if lsf_kms.isnan().any():
        lsf_kms = torch.full((len(LSF_PIVOTS),), _TYPICAL_SIGMA_KMS)
    on_grid = np.interp(populations.grid.wavelength, LSF_PIVOTS, lsf_kms.numpy())
    instrument = torch.as_tensor(on_grid, dtype=flux.dtype).maximum(library_kms)
    variance = kernel_variance(sigma, instrument, library_kms)
    return broaden(flux, variance, populations.grid.velocity_step_kms)


def _calibrated(
    predicted: NDArray[np.float64], flux: NDArray[np.float64], ivar: NDArray[np.float64], orders: int
) -> NDArray[np.float64]:
    """Predictions (S, P) times the smooth curve that brings each closest to the data.

    Beyond the first and the last pixel with data, where nothing holds a polynomial, the curve is constant.
    """
    use = (ivar > 0) & (flux > 0)
    curves = _polynomials(use, orders)
    # errors of the logarithm, with a floor of a per cent so that no few pixels decide
    weight = 1 / np.hypot(1 / (flux[use] * np.sqrt(ivar[use])), 0.01)
    log_ratio = np.log(flux[use] / predicted[:, use])
    coefficients = np.linalg.lstsq((curves[:, use] * weight).T, (log_ratio * weight).T, rcond=None)[0]
    return predicted * np.exp(coefficients.T @ curves)


def _polynomials(use: NDArray[np.bool_], orders: int) -> NDArray[np.float64]:
    """Legendre polynomials (orders + 1, P) over the range of the used pixels, constant beyond."""
    first, last = np.flatnonzero(use)[[0, -1]]
    length = int(last - first) + 1
    inside = np.vstack([np.ones(length), legendre(orders, length, dtype=torch.float64).numpy()])
    return inside[:, np.clip(np.arange(len(use)) - first, 0, length - 1)]
