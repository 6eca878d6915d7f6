r"""How much a spectrum taught us about a quantity, in bits, given quantiles of its prior.

The estimator is that of `sfhflow.diagnostics.information`, explained there: with the distribution function
*F* of the prior, linear between stored quantiles, *S* posterior samples in order and :math:`u_i = F(\theta_i)`,

.. math:: KL \ln 2 = \langle \psi(b - a) - \ln(u_b - u_a) \rangle_i - \psi(S + 1), \quad b, a = i \pm \sqrt{S} / 2,

clamped at the ends.  A Gaussian posterior two thirds as wide as its prior has gained log2(3/2) = 0.58 bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["PRIOR_DOMINATED", "PriorQuantiles", "gain_in_bits", "negative_entropy", "prior_quantiles"]

PriorQuantiles = Mapping[str, Sequence[float]]
"""Evenly spaced quantiles of the prior, from the least to the largest value, by quantity; times are in units of
the age of the Universe."""

PRIOR_DOMINATED = math.log2(1.5)
"""Information gain in bits below which a quantity is dominated by its prior."""

_N_KNOTS = 201
_FINEST = 1e-4


def prior_quantiles(values: NDArray[np.float64]) -> list[float]:
    """Quantiles to store of a sample (N,) of the prior, to six digits."""
    quantiles = np.quantile(values, np.linspace(0.0, 1.0, _N_KNOTS))
    return [float(f"{value:.6g}") for value in quantiles]


def gain_in_bits(samples: NDArray[np.float64], knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """Information gain in bits of quantities, shape (Q,).

    Parameters
    ----------
    samples : array of shape (Q, S)
        Posterior samples.
    knots : array of shape (Q, K)
        Evenly spaced quantiles of the prior.
    """
    levels = np.linspace(0.0, 1.0, knots.shape[1])
    quantiles = [np.interp(row, prior, levels) for row, prior in zip(samples, knots, strict=True)]
    return negative_entropy(np.array(quantiles), resolution=_FINEST)


def negative_entropy(quantiles: NDArray[np.float64], *, resolution: float) -> NDArray[np.float64]:
    """Minus the differential entropy in bits of each row of samples (G, S) on [0, 1], shape (G,).

    Spacings are at least those of a posterior that is as narrow as the given resolution, which keeps equal
    values and samples outside the prior finite.
    """
    n_samples = quantiles.shape[1]
    half = max(1, round(math.sqrt(n_samples) / 2))
    low = np.maximum(np.arange(n_samples) - half, 0)
    high = np.minimum(np.arange(n_samples) + half, n_samples - 1)
    ordered = np.sort(quantiles, axis=1)
    spacing = np.maximum(ordered[:, high] - ordered[:, low], (high - low) / n_samples * resolution)
    # psi(n) = -gamma + the sum of 1 / j up to n - 1; Euler's gamma drops out of the difference
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, n_samples + 1))])
    nats = (harmonic[high - low - 1] - np.log(spacing)).mean(axis=1) - harmonic[n_samples]
    return nats / math.log(2.0)
