"""Low-rank form of a grid of spectra.

SSP spectra resemble each other: a grid F of shape (A, Z, L) is, to a part in ten thousand, a product

    F[a, z, l] = sum_r  C[a, z, r] B[r, l],        R << A Z,

found by the truncated singular value decomposition (Eckart & Young 1936) of the spectra, each divided by its
mean so that the faint old populations count as much as the bright young ones.  Mixing coefficients instead
of spectra, and multiplying by the basis last, makes galaxies cheap; it is also the form in which libraries
are stored.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["LowRank", "compress", "expand", "relative_error"]

_Array = NDArray[np.float64]

# Below this fraction of a spectrum's mean a flux counts as zero, and relative errors are taken of that level.
_FLOOR = 1e-6


class LowRank(NamedTuple):
    """Spectra as coefficients (A, Z, R) times a basis (R, L)."""

    coefficients: _Array
    basis: _Array


def compress(flux: _Array, *, tolerance: float = 1e-4, rank: int | None = None) -> LowRank:
    """Low-rank form of a grid of spectra.

    Parameters
    ----------
    flux : array of shape (A, Z, L)
        Spectra, positive.
    tolerance : float
        Largest relative error wanted at any pixel; the smallest rank that reaches it is found by bisection.
    rank : int, optional
        Take this rank instead of searching.

    Returns
    -------
    LowRank
        Coefficients (A, Z, R) in the unit of `flux`, and orthonormal basis (R, L).
    """
    spectra = np.asarray(flux, dtype=float).reshape(-1, flux.shape[-1])
    norm = spectra.mean(axis=1, keepdims=True)
    left, singular, basis = np.linalg.svd(spectra / norm, full_matrices=False)
    weighted = left * singular * norm

    def truncated(rank: int) -> LowRank:
        return LowRank(weighted[:, :rank].reshape(*flux.shape[:-1], rank), basis[:rank])

    if rank is not None:
        return truncated(rank)
    low, high = 1, len(singular)
    while low < high:
        middle = (low + high) // 2
        good = relative_error(expand(truncated(middle)), flux) <= tolerance
        low, high = (low, middle) if good else (middle + 1, high)
    return truncated(low)


def expand(lowrank: LowRank) -> _Array:
    """Spectra of shape (A, Z, L) from their low-rank form."""
    return lowrank.coefficients @ lowrank.basis


def relative_error(approximation: _Array, flux: _Array) -> float:
    """Largest |approximation - flux| / flux over all pixels of spectra of shape (..., L)."""
    floor = _FLOOR * flux.mean(axis=-1, keepdims=True)
    return float(np.max(np.abs(approximation - flux) / np.maximum(flux, floor)))
