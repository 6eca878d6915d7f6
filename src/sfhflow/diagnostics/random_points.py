r"""TARP: expected coverage of the joint posterior, tested with random points.

Draw a reference point theta_r without looking at the truth.  The ball around theta_r that reaches to the true
theta is a credible region; its posterior mass f is the share of samples nearer to theta_r than the truth is.
If the posterior is right, f is uniform, so the expected coverage ECP(l) = P(f <= l) is l (Lemos et al. 2023,
arXiv:2302.03026, section 3).  Posteriors that are too narrow push f to 0 and 1 (the curve is above the diagonal
near 0 and below it near 1), too wide ones to the middle.  One reference a galaxy suffices.

Distances are Euclidean after each quantity is scaled to zero mean and unit variance of the true values.
References are the true values of other galaxies, which are draws from the prior: they are as independent of the
data as uniform points in a box are, and stay where the posterior mass is when there are many quantities.
As with all references that ignore the data, a posterior that always returns the prior passes; R2 and the
information gain tell that case apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfhflow.diagnostics.samples import (
    DEFAULT_LEVELS,
    check_finite,
    check_levels,
    check_pair,
    check_ranks,
    slices,
)
from sfhflow.diagnostics.sbc import bonferroni, count_below, spread_ranks, uniformity_p_value
from sfhflow.errors import InputError

__all__ = ["ExpectedCoverage", "expected_coverage", "region_masses", "tarp"]


@dataclass(frozen=True, eq=False)
class ExpectedCoverage:
    """Expected coverage of the joint posterior at nominal levels.

    Attributes
    ----------
    levels : array of shape (L,)
        Nominal levels.
    coverage : array of shape (L,)
        Share of galaxies whose true value lies in the random region of that level.
    low, high : arrays of shape (L,)
        95 % bootstrap band of `coverage` over galaxies, level by level.
    half_width : float
        Half width of the 95 % bootstrap band at all levels together: if calibrated, |coverage - levels| stays
        below it everywhere with that probability.
    p_value : float
        Of the Kolmogorov-Smirnov test that the region masses are uniform (Bonferroni over references).
    """

    levels: NDArray[np.float64]
    coverage: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    half_width: float
    p_value: float


def tarp(
    samples: ArrayLike,
    truth: ArrayLike,
    *,
    levels: ArrayLike = DEFAULT_LEVELS,
    n_references: int = 1,
    n_bootstrap: int = 200,
    seed: int = 0,
) -> ExpectedCoverage:
    """Test the joint posterior with random points (Lemos et al. 2023, arXiv:2302.03026, algorithm 2).

    Parameters
    ----------
    samples : array of shape (G, S, D)
        Posterior samples.
    truth : array of shape (G, D)
        True values, finite.
    levels : array of shape (L,)
        Nominal levels, between 0 and 1.
    n_references : int
        Reference points for each galaxy.
    n_bootstrap : int
        Bootstrap resamplings of the galaxies for the band.
    seed : int
        Seed of references, ties and bootstrap.

    Returns
    -------
    ExpectedCoverage
        The curve, its band and a p-value.

    Raises
    ------
    InputError
        If the shapes do not match, values are not finite or there are fewer than 3 galaxies.
    """
    samples, truth = check_pair(samples, truth)
    levels, truth = check_levels(levels), check_finite("truth", truth)
    if len(truth) < 3 or n_references < 1 or n_bootstrap < 1:
        raise InputError(
            f"tarp: found {len(truth)} galaxies, {n_references} references and {n_bootstrap} bootstraps, "
            "expected at least 3, 1 and 1; give more"
        )
    rng = np.random.default_rng(seed)
    scale = truth.std(axis=0)
    pairs = (_other_rows(truth, rng) for _ in range(n_references))
    masses = [region_masses(samples, truth, references, scale, rng) for references in pairs]
    return expected_coverage(np.stack(masses, axis=1), levels=levels, n_bootstrap=n_bootstrap, seed=rng)


def expected_coverage(
    masses: ArrayLike,
    *,
    levels: ArrayLike = DEFAULT_LEVELS,
    n_bootstrap: int = 200,
    seed: int | np.random.Generator = 0,
) -> ExpectedCoverage:
    """Curve, bands and p-value of the masses that `region_masses` gives.

    Parameters
    ----------
    masses : array of shape (G, R)
        Region masses of G galaxies with R reference points each.
    levels, n_bootstrap, seed
        As in `tarp`.
    """
    levels, masses, rng = check_levels(levels), check_ranks(masses), np.random.default_rng(seed)
    inside = (masses[:, :, None] <= levels).mean(axis=1)
    curve, means = inside.mean(axis=0), _bootstrap_means(inside, n_bootstrap, rng)
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    half_width = float(np.quantile(np.abs(means - curve).max(axis=1), 0.95))
    return ExpectedCoverage(levels, curve, low, high, half_width, p_value=bonferroni(uniformity_p_value(masses)))


def region_masses(
    samples: NDArray, truth: NDArray, references: NDArray, scale: NDArray, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Posterior mass of the ball around each galaxy's reference point that reaches to its truth, shape (G,).

    Parameters
    ----------
    samples : array of shape (G, S, D)
        Posterior samples.
    truth, references : arrays of shape (G, D)
        True values and reference points, these drawn without a look at the galaxy.
    scale : array of shape (D,)
        Unit of each quantity in distances; zeros count as one.
    rng : numpy.random.Generator
        Source of the place inside the cells of finitely many samples.
    """
    factor = 1.0 / np.where(scale > 0, scale, 1.0)
    from_truth = _squared_distance(truth[:, None, :], references, factor)[:, 0]
    below, equal = np.empty((2, len(truth)), dtype=np.int64)
    for rows in slices(len(truth), samples.shape[1]):
        distance = _squared_distance(samples[rows], references[rows], factor)
        below[rows], equal[rows] = count_below(distance, from_truth[rows])
    return spread_ranks(below, equal, samples.shape[1], rng)


def _other_rows(truth: NDArray, rng: np.random.Generator) -> NDArray:
    """Rows of `truth` in an order that leaves none in its place: each galaxy gets another one's true value."""
    order = rng.permutation(len(truth))
    references = np.empty_like(truth)
    references[order] = truth[np.roll(order, 1)]
    return references


def _squared_distance(samples: NDArray, references: NDArray, scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared scaled distance of samples (G, S, D) to references (G, D), shape (G, S)."""
    total = np.zeros(samples.shape[:2])
    # one quantity at a time, so that no array as large as the samples is made
    for i, factor in enumerate(scale):
        total += ((samples[:, :, i] - references[:, i, None]) * factor) ** 2
    return total


def _bootstrap_means(inside: NDArray, n_bootstrap: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Means over galaxies drawn with replacement, shape (n_bootstrap, L)."""
    n = len(inside)
    means = np.empty((n_bootstrap, inside.shape[1]))
    for i in range(n_bootstrap):
        weight = np.bincount(rng.integers(n, size=n), minlength=n)
        means[i] = weight @ inside / n
    return means
