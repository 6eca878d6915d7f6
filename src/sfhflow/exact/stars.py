r"""Populations of stars behind dust in low-rank form: what spectra are before motion and instrument act on them.

A spectrum is linear in the coefficients *c* of its stars (`sfhflow.galaxy`), and what is left of the attenuation
beyond a factor that all wavelengths share is smooth in :math:`A_V`:

.. math:: \sum_r c_r B_r(\lambda)\, 10^{-0.4 A_V (k(\lambda) - 1)}
          = \sum_r \sum_j c_r\, \ell_j(A_V)\, B_r(\lambda)\, 10^{-0.4 A_j (k(\lambda) - 1)}

with Lagrange polynomials :math:`\ell_j` through Chebyshev nodes :math:`A_j`.  The products of stars and nodes are
compressed once more, to the principal components of all SSPs at all nodes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfhflow.dust import DustModel
from sfhflow.parameters import FRACTIONS, GalaxyParameters
from sfhflow.sfh.quantile import history_from_times
from sfhflow.simulator import Simulator
from sfhflow.ssp.weights import metallicity_weights

__all__ = ["ChebyshevNodes", "DustyStars", "centred"]

_DUST_NODES = 9
# relative rms error that compression may leave in the spectra of dusty SSPs
_LEFT_OUT = 1e-6


class ChebyshevNodes:
    """Polynomial interpolation between Chebyshev nodes, which converges geometrically for smooth functions.

    Parameters
    ----------
    low, high : float
        Ends of the interval.
    n : int
        Nodes; one if the interval has no width.
    """

    def __init__(self, low: float, high: float, n: int) -> None:
        n = n if high > low else 1
        angles = torch.pi * (2 * torch.arange(n, dtype=torch.float64) + 1) / (2 * n)
        self.nodes = 0.5 * (low + high) + 0.5 * (high - low) * angles.cos()
        self._low, self._high = low, high
        self._to_lagrange = 2 / n * (torch.arange(n)[:, None] * angles).cos()
        self._to_lagrange[0] *= 0.5

    def weights(self, x: Tensor) -> Tensor:
        """Values (N, n) of the Lagrange polynomials of all nodes at x (N,)."""
        n = len(self.nodes)
        if n == 1:
            return torch.ones(len(x), 1, dtype=torch.float64)
        t = (2 * x - self._low - self._high) / (self._high - self._low)
        polynomials = [torch.ones_like(t), t]
        for _ in range(n - 2):
            polynomials.append(2 * t * polynomials[-1] - polynomials[-2])
        return torch.stack(polynomials, dim=-1) @ self._to_lagrange


def centred(dust: DustModel) -> DustModel:
    """The attenuation law in the middle of the range of slopes."""
    middle = sum(dust.slope_range) / 2
    return replace(dust, slope_range=(middle, middle))


class DustyStars:
    """Spectra of stars behind dust, but for a factor, as coefficients (N, K) times a basis (K, P).

    Parameters
    ----------
    simulator : Simulator
        Library, attenuation law (the middle of its range) and bounds of the parameters.

    Attributes
    ----------
    basis : Tensor of shape (K, P)
        Spectra on the grid of the populations.
    """

    def __init__(self, simulator: Simulator) -> None:
        populations = simulator.populations
        self._populations = populations
        bounds = simulator.prior.parameters.a_v
        self._dust_nodes = ChebyshevNodes(bounds.low, bounds.high, _DUST_NODES)
        self._coefficients = populations.coefficients.double()
        basis = populations.basis.double().numpy()
        curves = self._attenuations(centred(simulator.dust))
        self._two_components = len(curves) == 2
        # rows: population (old, young), node of the attenuation, component of the library
        dusty = np.concatenate([(curve[:, None] * basis).reshape(-1, basis.shape[1]) for curve in curves])
        mix, self.basis = _compressed(dusty, self._examples(len(curves), basis))
        self._mix = torch.from_numpy(mix)

    def coefficients(self, galaxy: GalaxyParameters, age_of_universe: float) -> Tensor:
        """Coefficients (N, K) of galaxies at one age of the Universe in Gyr."""
        age = torch.full_like(galaxy.a_v, age_of_universe)
        history = history_from_times(galaxy.times, torch.tensor(FRACTIONS, dtype=torch.float64))
        stars = [self._stars(*self._populations.weights(history, galaxy.metallicity, age))]
        if self._two_components:
            young_mass = self._populations.young_mass(history, age)[:, None]
            by_metallicity = metallicity_weights(galaxy.metallicity, self._populations.metallicities)
            youngest = torch.zeros(1, self._coefficients.shape[0], dtype=torch.float64)
            youngest[0, 0] = 1.0
            young = young_mass * self._stars(youngest.expand(len(age), -1), by_metallicity)
            stars = [stars[0] - young, young]
        nodes = self._dust_nodes.weights(galaxy.a_v)
        return torch.cat([(nodes[:, :, None] * c[:, None]).flatten(1) for c in stars], dim=1) @ self._mix

    def _stars(self, by_age: Tensor, by_metallicity: Tensor) -> Tensor:
        """Coefficients (N, R) of stars in the library's basis."""
        n_ages, n_met, rank = self._coefficients.shape
        per_metallicity = by_age @ self._coefficients.reshape(n_ages, n_met * rank)
        return (by_metallicity[:, None] @ per_metallicity.view(-1, n_met, rank))[:, 0]

    def _attenuations(self, dust: DustModel) -> list[NDArray[np.float64]]:
        """Transmission at the nodes (n, P), of old stars and, if it differs, of young ones."""
        wavelength = torch.as_tensor(self._populations.grid.wavelength, dtype=torch.float64)
        nodes = self._dust_nodes.nodes
        # the range of slopes has no width, so this draws nothing
        drawn = dust.sample(wavelength, nodes, torch.Generator())
        shared = 10 ** (0.4 * nodes[:, None])
        same = drawn.young is drawn.old
        return [(curve * shared).numpy() for curve in (drawn[:1] if same else drawn)]

    def _examples(self, n_curves: int, basis: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rows that make every SSP, of unit mean, at every node of the attenuation of every curve."""
        ssp = self._coefficients.reshape(-1, len(basis)).numpy()
        ssp = ssp / (ssp @ basis).mean(-1, keepdims=True)
        n_nodes = len(self._dust_nodes.nodes) * n_curves
        return np.kron(np.eye(n_nodes), ssp)


def _compressed(rows: NDArray[np.float64], examples: NDArray[np.float64]) -> tuple[NDArray[np.float64], Tensor]:
    """Factors (F, K) and (K, P) of rows (F, P), with as few K as all `examples` @ rows allow."""
    left, singular, right = np.linalg.svd(rows, full_matrices=False)
    inside = left * singular
    products = examples @ inside
    values, vectors = np.linalg.eigh(products.T @ products)
    values, vectors = values[::-1].clip(min=0), vectors[:, ::-1]
    left_out = 1 - np.cumsum(values) / values.sum()
    k = int(np.sum(left_out > _LEFT_OUT**2)) + 1
    return inside @ vectors[:, :k], torch.from_numpy(np.ascontiguousarray(vectors[:, :k].T @ right))
