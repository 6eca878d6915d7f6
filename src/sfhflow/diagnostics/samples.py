"""Posterior samples of many galaxies beside their true values: what is accepted, and how it is cut up.

Samples have shape (G, S, D): galaxies, samples a galaxy, quantities; true values have shape (G, D).  A test of
5000 galaxies with 1000 samples of 12 quantities fills 240 MB in single precision, so nothing here copies or
converts it as a whole; the diagnostics walk over it in slices of galaxies whose temporary arrays stay small.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfhflow.errors import InputError

__all__ = [
    "DEFAULT_LEVELS",
    "check_finite",
    "check_levels",
    "check_pair",
    "check_ranks",
    "check_samples",
    "slices",
]

DEFAULT_LEVELS = tuple(np.arange(1, 20) / 20)
"""Credible levels 0.05, 0.10 ... 0.95."""

_TEMPORARY_BYTES = 64_000_000


def slices(n_rows: int, values_per_row: int) -> Iterator[slice]:
    """Yield consecutive slices of rows that hold at most 64 MB of double precision numbers each."""
    step = max(1, _TEMPORARY_BYTES // (8 * max(1, values_per_row)))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def check_samples(samples: ArrayLike) -> NDArray:
    """Return the samples as an array of shape (G, S, D), in the precision in which they came.

    Raises
    ------
    InputError
        If they have another number of axes, are empty or hold NaN.
    """
    array = _real_array("samples", samples)
    if array.ndim != 3 or 0 in array.shape:
        raise InputError(
            f"samples: found shape {array.shape}, expected (galaxies, samples, quantities), none of them 0; "
            "add the missing axis"
        )
    for rows in slices(len(array), array[0].size):
        bad = np.argwhere(np.isnan(array[rows]))
        if len(bad):
            raise InputError(
                f"samples: found NaN for galaxy {rows.start + bad[0, 0]}, quantity {bad[0, 2]}, expected "
                "numbers; leave out galaxies without an answer"
            )
    return array


def check_pair(samples: ArrayLike, truth: ArrayLike) -> tuple[NDArray, NDArray]:
    """Return samples (G, S, D) and true values (G, D) that belong together.

    Raises
    ------
    InputError
        If the shapes do not match or either holds NaN.
    """
    array, true = check_samples(samples), _real_array("truth", truth)
    expected = (array.shape[0], array.shape[2])
    if true.shape != expected:
        raise InputError(
            f"truth: found shape {true.shape}, expected {expected} (galaxies, quantities) to match samples of "
            f"shape {array.shape}; give one true value per galaxy and quantity"
        )
    if np.isnan(true).any():
        raise InputError("truth: found NaN, expected numbers; leave out galaxies without a true value")
    return array, true


def check_ranks(ranks: ArrayLike) -> NDArray[np.float64]:
    """Return fractional ranks as an array of shape (G, D).

    Raises
    ------
    InputError
        If they are not a filled 2-D array or leave the range from 0 to 1.
    """
    array = _real_array("ranks", ranks).astype(np.float64, copy=False)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(
            f"ranks: found shape {array.shape}, expected (galaxies, quantities), none of them 0; "
            "add the missing axis"
        )
    if not np.all((array >= 0) & (array <= 1)):
        raise InputError(
            "ranks: found values outside 0 to 1, expected fractional ranks; turn integer ranks r of S samples "
            "into (r + uniform(0, 1)) / (S + 1)"
        )
    return array


def check_levels(levels: ArrayLike) -> NDArray[np.float64]:
    """Return nominal credible levels as an array of shape (L,), each strictly between 0 and 1.

    Raises
    ------
    InputError
        If any level is outside.
    """
    array = np.atleast_1d(_real_array("levels", levels)).astype(np.float64, copy=False)
    if array.ndim != 1 or array.size == 0 or not np.all((array > 0) & (array < 1)):
        raise InputError(
            f"levels: found {np.array2string(array, threshold=5)}, expected probabilities between 0 and 1; "
            "give 0.68 for 68 %"
        )
    return array


def check_finite(what: str, values: ArrayLike) -> NDArray[np.float64]:
    """Return the values as a finite double precision array.

    Raises
    ------
    InputError
        If any value is NaN or infinite.
    """
    array = _real_array(what, values).astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        raise InputError(f"{what}: found infinite or NaN values, expected finite numbers; leave those out")
    return array


def _real_array(what: str, values: ArrayLike) -> NDArray:
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}: found no regular array ({error}), expected numbers; convert it") from error
    if array.dtype.kind not in "iuf":
        raise InputError(f"{what}: found {array.dtype} values, expected real numbers; convert them")
    return array
