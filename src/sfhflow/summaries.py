"""Quantiles of posterior samples, of one galaxy or of many at once.

Quantiles interpolate linearly between ordered samples.  A quantity can be undefined in some samples (a galaxy that
still forms stars has no time since quenching); those count as lower than all numbers, or as higher if they are
infinite (it quenches later than now).  Nothing is interpolated between a number and them, and a quantile that
falls among them is NaN.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sfhflow.answers import PosteriorBatch
from sfhflow.derived import all_columns, quiescent_probability
from sfhflow.posterior import QUANTILES, Posterior

__all__ = ["Summary", "quantiles", "summarise"]

_LEVELS = tuple(QUANTILES.values())


class Summary(NamedTuple):
    """What is told of the samples of one galaxy, or of N.

    Attributes
    ----------
    quantiles : array of shape (Q, 5), or (N, Q, 5)
        `QUANTILES` of Q quantities; NaN where undefined.
    units : dict
        Names of the quantities in order, and their units.
    p_quiescent : array of shape (), or (N,)
        Probability that the galaxy is quiescent.
    """

    quantiles: NDArray[np.floating]
    units: dict[str, str]
    p_quiescent: NDArray[np.float64]


def summarise(posterior: Posterior | PosteriorBatch, *, dtype: DTypeLike = np.float64) -> Summary:
    """Summarise every inferred and derived quantity.

    Parameters
    ----------
    posterior : Posterior or PosteriorBatch
        Samples of one galaxy, or of N.
    dtype : dtype
        Precision; sorting single-precision numbers is several times faster.
    """
    columns = all_columns(posterior)
    samples = np.stack([values for values, _ in columns.values()], axis=-2, dtype=dtype, casting="same_kind")
    units = {name: unit for name, (_, unit) in columns.items()}
    return Summary(quantiles(samples), units, quiescent_probability(columns["t_quench"][0]))


def quantiles(samples: NDArray[np.floating]) -> NDArray[np.floating]:
    """Quantiles `QUANTILES` along the last axis of (..., n), shape (..., 5)."""
    undefined = ~np.isfinite(samples)
    some_undefined = bool(undefined.any())
    ordered = np.sort(np.where(np.isnan(samples), -np.inf, samples) if some_undefined else samples, axis=-1)
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
