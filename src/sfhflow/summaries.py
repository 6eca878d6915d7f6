"""Quantiles of posterior samples, of one galaxy or of many at once.

Quantiles interpolate linearly between ordered samples.  A quantity can be undefined in some samples (a galaxy that
still forms stars has no time since quenching); those count as lower than all numbers, nothing is interpolated
between a number and them, and a quantile that falls among them is NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sfhflow.answers import PosteriorBatch
from sfhflow.derived import all_columns
from sfhflow.posterior import QUANTILES, Posterior

__all__ = ["quantiles", "summarise"]

_LEVELS = tuple(QUANTILES.values())


def summarise(
    posterior: Posterior | PosteriorBatch, *, dtype: DTypeLike = np.float64
) -> tuple[NDArray[np.floating], dict[str, str]]:
    """Quantiles `QUANTILES` of every inferred and derived quantity, and the units of these by name.

    Parameters
    ----------
    posterior : Posterior or PosteriorBatch
        Samples of one galaxy, or of N.
    dtype : dtype
        Precision; sorting single-precision numbers is several times faster.

    Returns
    -------
    array of shape (Q, 5), or (N, Q, 5) for a batch
        Undefined quantiles are NaN.
    dict
        Names of the Q quantities in order, and their units.
    """
    columns = all_columns(posterior)
    samples = np.stack([values for values, _ in columns.values()], axis=-2, dtype=dtype, casting="same_kind")
    return quantiles(samples), {name: unit for name, (_, unit) in columns.items()}


def quantiles(samples: NDArray[np.floating]) -> NDArray[np.floating]:
    """Quantiles `QUANTILES` along the last axis of (..., n), shape (..., 5)."""
    undefined = ~np.isfinite(samples)
    some_undefined = bool(undefined.any())
    ordered = np.sort(np.where(undefined, -np.inf, samples) if some_undefined else samples, axis=-1)
    n = samples.shape[-1]
    place = np.array(_LEVELS) * (n - 1)
    low = np.minimum(place.astype(int), max(n - 2, 0))
    with np.errstate(invalid="ignore"):
        below, above = ordered[..., low], ordered[..., np.minimum(low + 1, n - 1)]
        values = below + (above - below) * (place - low).astype(samples.dtype)
    if some_undefined:
        steps = ordered[..., np.minimum((np.array(_LEVELS) * n).astype(int), n - 1)]
        values = np.where(undefined.any(-1)[..., None], steps, values)
    return np.where(np.isfinite(values), values, np.nan).astype(samples.dtype)
