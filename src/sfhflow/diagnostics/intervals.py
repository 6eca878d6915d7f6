r"""Coverage: how often a credible interval holds the truth, against how often it promises to.

The central interval of level l holds the truth exactly when |2 u - 1| <= l for the fractional rank u, so the
coverage follows from the ranks alone and, unlike sample quantiles, has no bias for few samples.  If calibrated,
the number of hits among n galaxies is binomial(n, l), which gives the errors and bands.  Coverage below the
band means intervals that are too narrow (or biased), above it too wide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfhflow.diagnostics.samples import check_levels, check_ranks
from sfhflow.diagnostics.sbc import central_levels
from sfhflow.errors import InputError

__all__ = ["LocalCoverage", "coverage", "coverage_band", "coverage_error", "local_coverage"]


@dataclass(frozen=True, eq=False)
class LocalCoverage:
    """Coverage in bins of some property of the galaxies.

    Attributes
    ----------
    edges : array of shape (B + 1,)
        Edges of the bins.
    levels : array of shape (L,)
        Nominal levels.
    count : array of shape (B,)
        Galaxies in each bin.
    coverage : array of shape (B, L, D)
        Share of true values inside their central interval; NaN in empty bins.
    error : array of shape (B, L)
        Standard deviation of `coverage` expected if calibrated; NaN in empty bins.
    """

    edges: NDArray[np.float64]
    levels: NDArray[np.float64]
    count: NDArray[np.int64]
    coverage: NDArray[np.float64]
    error: NDArray[np.float64]


def coverage(ranks: ArrayLike, levels: ArrayLike) -> NDArray[np.float64]:
    """Share of true values inside their central credible interval.

    Parameters
    ----------
    ranks : array of shape (G, D)
        Fractional ranks (`sfhflow.diagnostics.ranks`).
    levels : array of shape (L,)
        Nominal levels, between 0 and 1.

    Returns
    -------
    array of shape (L, D)
        Equal to `levels` within `coverage_error` if calibrated.

    Raises
    ------
    InputError
        If a level or rank is out of range.
    """
    smallest = central_levels(ranks)
    return np.stack([(smallest <= level).mean(axis=0) for level in check_levels(levels)])


def coverage_error(levels: ArrayLike, n: int) -> NDArray[np.float64]:
    """Binomial standard deviation sqrt(l (1 - l) / n) of the coverage of n calibrated galaxies, shape (L,)."""
    levels = check_levels(levels)
    return np.sqrt(levels * (1 - levels) / _positive(n))


def coverage_band(
    levels: ArrayLike, n: int, *, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Band in which the coverage of n calibrated galaxies falls, level by level, from exact binomial quantiles.

    Parameters
    ----------
    levels : array of shape (L,)
        Nominal levels, between 0 and 1.
    n : int
        Number of galaxies.
    confidence : float
        Probability that the coverage at one level is inside the band (at least; hits are whole numbers).

    Returns
    -------
    low, high : arrays of shape (L,)
        The band at each level taken alone; a whole curve leaves it somewhere more often than that.

    Raises
    ------
    InputError
        If n is not positive or a probability is out of range.
    """
    levels, n = check_levels(levels), _positive(n)
    tail = (1.0 - float(check_levels(confidence)[0])) / 2.0
    log_choose = _log_choose(n)
    low, high = np.empty_like(levels), np.empty_like(levels)
    for i, level in enumerate(levels):
        hits = np.arange(n + 1)
        cdf = np.cumsum(np.exp(log_choose + hits * np.log(level) + (n - hits) * np.log1p(-level)))
        low[i], high[i] = np.searchsorted(cdf, [tail, 1.0 - tail]) / n
    return low, np.minimum(high, 1.0)


def local_coverage(ranks: ArrayLike, by: ArrayLike, edges: ArrayLike, levels: ArrayLike) -> LocalCoverage:
    """Coverage in bins of a property, such as S/N, redshift or the true age.

    Calibration on average does not exclude over-confidence here and diffidence there.  Bins in an observed
    property must be calibrated one by one; bins in a true value need not be, since a posterior is calibrated
    over its prior, not at each true value.

    Parameters
    ----------
    ranks : array of shape (G, D)
        Fractional ranks.
    by : array of shape (G,)
        The property; galaxies where it is NaN or outside the edges are left out.
    edges : array of shape (B + 1,)
        Rising edges; bins include their lower edge, the last one its upper edge too.
    levels : array of shape (L,)
        Nominal levels, between 0 and 1.

    Raises
    ------
    InputError
        If the shapes do not match or the edges do not rise.
    """
    ranks, levels = check_ranks(ranks), check_levels(levels)
    by, edges = np.asarray(by, dtype=float), np.asarray(edges, dtype=float)
    _check_binning(ranks, by, edges)
    index = np.searchsorted(edges, by, side="right") - 1
    index[by == edges[-1]] = len(edges) - 2
    count = np.array([np.count_nonzero(index == b) for b in range(len(edges) - 1)])
    share = np.full((len(count), len(levels), ranks.shape[1]), np.nan)
    error = np.full(share.shape[:2], np.nan)
    for b in np.flatnonzero(count):
        share[b] = coverage(ranks[index == b], levels)
        error[b] = coverage_error(levels, int(count[b]))
    return LocalCoverage(edges, levels, count, share, error)


def _check_binning(ranks: NDArray, by: NDArray, edges: NDArray) -> None:
    if by.shape != ranks.shape[:1]:
        raise InputError(f"by: found shape {by.shape}, expected {ranks.shape[:1]}; give one value per galaxy")
    if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) > 0):
        raise InputError(
            f"edges: found {np.array2string(edges, threshold=5)}, expected at least 2 rising numbers; sort them"
        )


def _positive(n: int) -> int:
    if n < 1:
        raise InputError(f"n: found {n}, expected at least 1 galaxy; give the number of galaxies")
    return n


def _log_choose(n: int) -> NDArray[np.float64]:
    """Logarithms of the binomial coefficients of n over 0 ... n, shape (n + 1,)."""
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    return log_factorial[-1] - log_factorial - log_factorial[::-1]
