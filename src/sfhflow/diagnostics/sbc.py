r"""Simulation-based calibration: where the true value falls among the posterior samples.

If theta is drawn from the prior, x from p(x | theta) and theta_1 ... theta_S from the true posterior p(theta | x),
then theta and the samples are exchangeable, so the number r of samples below theta is uniform on 0 ... S
(Talts et al. 2018, arXiv:1804.06788, theorem 1).  Here the rank is spread evenly over its cell,

    u = (r + v) / (S + 1),    v ~ U(0, 1),

which makes u exactly uniform on (0, 1) for any S, so that continuous tests hold without correction.  Ranks
piled up at both ends mean posteriors that are too narrow, in the middle too wide, at one end a bias.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfhflow.diagnostics.samples import check_pair, check_ranks, slices
from sfhflow.errors import InputError

__all__ = [
    "bonferroni",
    "central_levels",
    "count_below",
    "ranks",
    "spread_ranks",
    "uniformity_p_value",
]


def ranks(samples: ArrayLike, truth: ArrayLike, *, seed: int = 0) -> NDArray[np.float64]:
    """Fractional rank of each true value among its posterior samples.

    Applied to log-probabilities, `ranks(log_prob_samples[..., None], log_prob_truth[:, None])`, it gives one
    minus the level of the smallest highest-density region that holds the truth, a test of the joint posterior.

    Parameters
    ----------
    samples : array of shape (G, S, D)
        S posterior samples of D quantities for G galaxies.
    truth : array of shape (G, D)
        True values.
    seed : int
        Seed of the place inside the cell; equal values (ties) are ordered at random by the same draw.

    Returns
    -------
    array of shape (G, D)
        Values in [0, 1), uniform if the posteriors are calibrated.  Without ties, `floor((S + 1) * rank)` is
        the integer rank.

    Raises
    ------
    InputError
        If the shapes do not match or values are NaN.
    """
    samples, truth = check_pair(samples, truth)
    n_samples, (n_galaxies, n_quantities) = samples.shape[1], truth.shape
    below = np.empty((n_galaxies, n_quantities), dtype=np.int64)
    equal = np.empty_like(below)
    for rows in slices(n_galaxies, n_samples * n_quantities):
        below[rows], equal[rows] = count_below(samples[rows], truth[rows])
    return spread_ranks(below, equal, n_samples, np.random.default_rng(seed))


def count_below(samples: NDArray, truth: NDArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of samples (G, S, ...) below and equal to the truth (G, ...), each of shape (G, ...)."""
    true = truth[:, None]
    return np.count_nonzero(samples < true, axis=1), np.count_nonzero(samples == true, axis=1)


def spread_ranks(
    below: NDArray[np.int64], equal: NDArray[np.int64], n_samples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Fractional ranks, drawn evenly from the cells that are left to them by ties and by the finite S."""
    return (below + (equal + 1) * rng.random(below.shape)) / (n_samples + 1)


def central_levels(ranks: ArrayLike) -> NDArray[np.float64]:
    """Level of the smallest central interval that holds the truth: |2 u - 1|, shape (G, D).

    Uniform on (0, 1) if and only if central intervals cover rightly at every level, so a uniformity test of
    these numbers is a test of the width, more sensitive to it than one of the ranks themselves.

    Parameters
    ----------
    ranks : array of shape (G, D)
        Fractional ranks.
    """
    return np.abs(2.0 * check_ranks(ranks) - 1.0)


def uniformity_p_value(ranks: ArrayLike) -> NDArray[np.float64]:
    """Probability of ranks at least as far from uniform if the posteriors are calibrated.

    Kolmogorov-Smirnov test against U(0, 1), by Kolmogorov's limiting distribution of
    x = sqrt(G) D with x + 1 / (6 sqrt(G)) + (x - 1) / (4 G) in place of x (Vrbik 2018, Pioneer Journal of
    Theoretical and Applied Statistics 15, 15), right to 0.003 from 10 galaxies on.  Fractional ranks are
    exactly uniform under calibration whatever the number of samples: no correction for discreteness is needed.

    Parameters
    ----------
    ranks : array of shape (G, D)
        Fractional ranks, or anything else that should be uniform, such as `central_levels`.

    Returns
    -------
    array of shape (D,)
        One p-value per quantity; combine them with `bonferroni`.
    """
    ordered = np.sort(check_ranks(ranks), axis=0)
    n = len(ordered)
    step = np.arange(n + 1)[:, None] / n
    x = math.sqrt(n) * np.maximum(step[1:] - ordered, ordered - step[:-1]).max(axis=0)
    scaled = x + 1 / (6 * math.sqrt(n)) + (x - 1) / (4 * n)
    return np.array([_kolmogorov_survival(float(value)) for value in scaled])


def bonferroni(p_values: ArrayLike) -> float:
    """Smallest of several p-values, corrected for their number: min(1, n min p), valid for dependent tests.

    Raises
    ------
    InputError
        If there is none.
    """
    array = np.asarray(p_values, dtype=float)
    if array.size == 0:
        raise InputError("p_values: found none, expected at least one; give the results of the tests")
    return float(min(1.0, array.size * array.min()))


def _kolmogorov_survival(x: float) -> float:
    """P(K > x) of Kolmogorov's distribution, by the one of its two theta series that converges at once."""
    if x <= 0.1:
        return 1.0
    k = np.arange(1, 21)
    if x < 1.0:
        return float(1.0 - math.sqrt(2 * math.pi) / x * np.exp(-(((2 * k - 1) * math.pi / x) ** 2) / 8).sum())
    return float(2 * ((-1.0) ** (k - 1) * np.exp(-2 * (k * x) ** 2)).sum())
