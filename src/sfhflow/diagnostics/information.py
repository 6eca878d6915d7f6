r"""How much a spectrum taught us about each quantity, in bits.

The information gain is the Kullback-Leibler divergence of the marginal posterior from the prior.  It does not
change under monotone transforms, so it is measured in the prior's quantile u = F(theta): there the prior is
flat and the divergence is minus the entropy of the posterior's u.  With u_1 <= ... <= u_S in order and a window
from a = i - h to b = i + h around each, clamped at the ends (Vasicek 1976, JRSS B 38, 54),

    KL ln 2 = < psi(b - a) - ln(u_b - u_a) >_i - psi(S + 1),    h = sqrt(S) / 2.

The digamma terms are minus the mean log spacing of uniform order statistics, so there is no bias where the
density is flat over a window.  Windows shrink with the posterior: unlike bins they lose nothing of a narrow one.

Measured on Gaussian and uniform cases with 1000 samples: for 20 000 prior samples the mean is right to 0.01 bit
up to 3 bits and 0.05 bit up to 8 bits, for 3000 to 0.05 bit; one galaxy scatters by 0.04 bit at 1 bit, 0.1 at 3
and 0.2 at 6, mostly from the prior's few samples in its tails.  Repeated posterior samples add 0.03 bit for 500,
0.07 bit for 300 different ones in 1000.  Nothing above log2 of the number of prior samples can be seen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfhflow.diagnostics.samples import check_samples, slices
from sfhflow.errors import InputError
from sfhflow.information import negative_entropy

__all__ = ["information_gain"]

# Prior samples between two knots of its distribution function: fewer are noisy, more blur narrow posteriors.
_SAMPLES_PER_KNOT = 10
_TEMPORARY_ARRAYS = 6


def information_gain(samples: ArrayLike, prior_samples: ArrayLike, *, seed: int = 0) -> NDArray[np.float64]:
    """Information gained over the prior, galaxy by galaxy and quantity by quantity.

    Parameters
    ----------
    samples : array of shape (G, S, D)
        Posterior samples, at least 2 for each galaxy.
    prior_samples : array of shape (P, D)
        Draws from the prior, such as the true values of a large test set; at least 20.
    seed : int
        Seed that spreads values on an atom of the prior (a value of finite probability) over its quantiles.

    Returns
    -------
    array of shape (G, D)
        Bits.  Values of posteriors like the prior scatter about zero and are not cut there, so that averages
        over galaxies (the mutual information of quantity and spectrum) stay unbiased.

    Raises
    ------
    InputError
        If the shapes do not match, values are NaN or there are too few samples.
    """
    samples = check_samples(samples)
    n_galaxies, n_samples, n_quantities = samples.shape
    prior = _check_prior(prior_samples, n_quantities)
    if n_samples < 2:
        raise InputError("samples: found 1 for each galaxy, expected at least 2; draw more")
    rng = np.random.default_rng(seed)
    gain = np.empty((n_galaxies, n_quantities))
    for i in range(n_quantities):
        knots = np.quantile(prior[:, i], np.linspace(0.0, 1.0, len(prior) // _SAMPLES_PER_KNOT + 1))
        for rows in slices(n_galaxies, _TEMPORARY_ARRAYS * n_samples):
            quantiles = _prior_quantiles(samples[rows, :, i], knots, rng)
            gain[rows, i] = negative_entropy(quantiles, resolution=1.0 / len(prior))
    return gain


def _check_prior(prior_samples: ArrayLike, n_quantities: int) -> NDArray[np.float64]:
    prior = np.asarray(prior_samples, dtype=float)
    if prior.ndim != 2 or prior.shape[1] != n_quantities or np.isnan(prior).any():
        raise InputError(
            f"prior_samples: found shape {prior.shape}, expected (draws, {n_quantities}) without NaN; give "
            "draws of the same quantities as the posterior samples"
        )
    if len(prior) < 2 * _SAMPLES_PER_KNOT:
        raise InputError(
            f"prior_samples: found {len(prior)}, expected at least {2 * _SAMPLES_PER_KNOT}; draw more"
        )
    return prior


def _prior_quantiles(
    samples: NDArray, knots: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Prior distribution function, linear between its evenly spaced quantiles, of samples (G, S)."""
    quantiles = np.interp(samples, knots, np.linspace(0.0, 1.0, len(knots)))
    for atom in np.unique(knots[1:][np.diff(knots) == 0]):
        first, last = np.searchsorted(knots, atom), np.searchsorted(knots, atom, side="right") - 1
        there = samples == atom
        quantiles[there] = rng.uniform(first, last, np.count_nonzero(there)) / (len(knots) - 1)
    return quantiles
