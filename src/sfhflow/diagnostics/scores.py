r"""How good a calibrated answer is: how much it explains, whether it is shifted, how narrow it is.

With the posterior mean m of each galaxy, R2 = 1 - sum (m - theta)^2 / sum (theta - <theta>)^2 is the share of
the true values' variance that is explained, and the bias <m - theta> vanishes if calibrated.  The mean is used
because no other point estimate has a higher expected R2 and only for it the bias is exactly zero.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfhflow.diagnostics.samples import check_finite, check_samples, slices
from sfhflow.errors import InputError

__all__ = ["bias", "posterior_mean", "r2", "sharpness"]

_INTERVAL_68 = (0.16, 0.84)


def posterior_mean(samples: ArrayLike) -> NDArray[np.float64]:
    """Mean of the posterior samples (G, S, D) of each galaxy in double precision, shape (G, D)."""
    return check_samples(samples).mean(axis=1, dtype=np.float64)


def r2(prediction: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """Coefficient of determination of each quantity.

    Parameters
    ----------
    prediction, truth : arrays of shape (G, D)
        Point estimates and true values.

    Returns
    -------
    array of shape (D,)
        1 is perfect, 0 no better than the mean of the true values; NaN where the true values are all equal.

    Raises
    ------
    InputError
        If the shapes differ or values are not finite.
    """
    prediction, truth = _matched(prediction, truth)
    residual = ((prediction - truth) ** 2).sum(axis=0)
    total = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    return 1.0 - residual / np.where(total > 0, total, np.nan)


def bias(prediction: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """Mean of prediction - truth over galaxies, (G, D) to (D,), in the unit of each quantity.

    Raises
    ------
    InputError
        If the shapes differ or values are not finite.
    """
    prediction, truth = _matched(prediction, truth)
    return (prediction - truth).mean(axis=0)


def sharpness(samples: ArrayLike) -> NDArray[np.float64]:
    """Median over galaxies of the 68 % width p84 - p16 of the posterior, (G, S, D) to (D,).

    Of two calibrated posteriors the one with the smaller width knows more.
    """
    samples = check_samples(samples)
    width = np.empty((samples.shape[0], samples.shape[2]))
    for rows in slices(len(samples), samples[0].size):
        low, high = np.quantile(samples[rows], _INTERVAL_68, axis=1)
        width[rows] = high - low
    return np.median(width, axis=0)


def _matched(prediction: ArrayLike, truth: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    predicted, true = check_finite("prediction", prediction), check_finite("truth", truth)
    if predicted.shape != true.shape or true.ndim != 2 or 0 in true.shape:
        raise InputError(
            f"prediction: found shape {predicted.shape} beside a truth of shape {true.shape}, expected both "
            "(galaxies, quantities); give one estimate per true value"
        )
    return predicted, true
