r"""The covariance matrix of one galaxy: a banded part and few columns, so that it is inverted in milliseconds.

With :math:`K = N + U U^T` and any columns *X*, the products :math:`X^T K^{-1} X` are what remains of
:math:`X^T N^{-1} X` when the columns *U* are marginalised (Woodbury's identity, as a Schur complement):

.. math::
    X^T K^{-1} X = G_{XX} - G_{XU} (1 + G_{UU})^{-1} G_{UX}, \qquad
    \ln |K| = \ln |N| + \ln |1 + G_{UU}|, \qquad G = [U X]^T N^{-1} [U X] .
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sfhflow.exact.nuisances import Amplitudes, Nuisances
from sfhflow.extras import optional

__all__ = ["Covariance"]

Array = NDArray[np.float64]


class Covariance:
    """K of one galaxy as a function of the amplitudes of its nuisances.

    Parameters
    ----------
    nuisances : Nuisances
        Their shapes.
    pixels : array of int, shape (n,)
        Which pixels of the grid are observed.
    error : array of shape (n,)
        Stated standard errors there.
    reference : array of shape (P,)
        Spectrum about which the nuisances are linear, in the unit of the data, on the whole grid.
    derivatives : array of shape (., P)
        Further columns of U: changes of the reference of one standard deviation.
    """

    def __init__(
        self,
        nuisances: Nuisances,
        pixels: NDArray[np.int_],
        error: Array,
        reference: Array,
        derivatives: Array,
    ) -> None:
        self.error = error
        self.pixels = pixels
        r = reference[pixels]
        self._neighbours = (np.diff(pixels) == 1).astype(float)
        self._mismatch = [
            nuisances.mismatch[pixels[offset:], pixels[: len(pixels) - offset]] * r[offset:] * r[: len(r) - offset]
            for offset in range(nuisances.bandwidth + 1)
        ]
        self._calibration = nuisances.calibration[:, pixels] * r
        self._structured = nuisances.structured[:, pixels] * r
        smooth = np.concatenate([nuisances.step, nuisances.library])[:, pixels] * r
        self._fixed = np.concatenate([smooth, derivatives[:, pixels]])
        self._emission = nuisances.emission[:, pixels] * reference.mean()

    def banded(self, amplitudes: Amplitudes) -> Array:
        """N in the lower form of `scipy.linalg.cholesky_banded`, shape (b + 1, n)."""
        bands = np.zeros((len(self._mismatch), len(self.error)))
        for offset, band in enumerate(self._mismatch):
            bands[offset, : len(band)] = amplitudes.mismatch**2 * band
        shared = amplitudes.fraction * (1 - amplitudes.fraction)
        true = self.error * math.exp(amplitudes.log_error)
        bands[0] += (1 - 2 * shared) * true**2
        bands[1, :-1] += shared * true[1:] * true[:-1] * self._neighbours
        return bands

    def columns(self, amplitudes: Amplitudes) -> Array:
        """U, shape (n, .)."""
        parts = [
            self._fixed,
            amplitudes.calibration * self._calibration,
            amplitudes.mismatch * self._structured,
        ]
        if amplitudes.emission > 0:
            parts.append(amplitudes.emission * self._emission)
        return np.concatenate(parts).T

    def products(self, x: Array, amplitudes: Amplitudes) -> tuple[Array, float]:
        """Products X^T K^-1 X, shape (c, c), of columns X (n, c), and ln |K|."""
        linalg = optional("scipy.linalg", extra="exact")
        u = self.columns(amplitudes)
        factor = linalg.cholesky_banded(self.banded(amplitudes), lower=True, check_finite=False)
        both = np.concatenate([u, x], axis=1)
        gram = both.T @ linalg.cho_solve_banded((factor, True), both, check_finite=False)
        n = u.shape[1]
        root = np.linalg.cholesky(np.eye(n) + gram[:n, :n])
        half = np.linalg.solve(root, gram[:n, n:])
        log_det = 2 * (np.log(factor[0]).sum() + np.log(root.diagonal()).sum())
        return gram[n:, n:] - half.T @ half, float(log_det)

    def dense(self, amplitudes: Amplitudes) -> Array:
        """K as a full matrix (n, n)."""
        bands = self.banded(amplitudes)
        n = bands.shape[1]
        full = np.zeros((n, n))
        for offset, band in enumerate(bands):
            index = np.arange(n - offset)
            full[index + offset, index] = full[index, index + offset] = band[: n - offset]
        u = self.columns(amplitudes)
        return full + u @ u.T
