r"""Weights of single stellar populations from a spectrum, as a linear-Gaussian model sees them.

Once [M/H] is known, a galaxy's spectrum is linear in the mass *w* of each age, :math:`f = A(Z) w`, and if *w* were
normal with the mean and covariance of the training set, :math:`N(\mu, C)`, and *f* had white noise of standard
deviation :math:`\sigma`, then

.. math:: \hat w = \left(C^{-1} + A^T A / \sigma^2\right)^{-1} \left(C^{-1} \mu + A^T f / \sigma^2\right) .

[M/H] is what fits best among `_PER_STEP` values in each step of the library, and is then improved together with
*w* by Gauss-Newton steps, in which :math:`A(Z + \delta) w = A(Z) w + \delta\, A'(Z) \hat w`.  The spectra of the
library are linear in [M/H] between its metallicities, so that every product of matrices is quadratic there, and
they are made once.  About one inversion in a hundred goes wrong; a network that sees it has to know.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.thesis.dataset import AGE_OF_UNIVERSE, PERCENT, Dataset

__all__ = ["Inversion"]

# so few that their matrices fit the cache of a processor
_ROWS = 64
# galaxies whose weights give the mean and covariance
_KNOWN = 20_000
# values of [M/H] tried in each step of the library, Gauss-Newton steps, and rms of such a step in dex
_PER_STEP, _STEPS, _STEP_DEX = 4, 4, 0.1
# fractions formed beyond which an inversion has failed
_FORMED = -0.5, 1.5
# of the mean variance of the weights: ages that no galaxy has have some as well
_RIDGE = 1e-9


class Inverted(NamedTuple):
    """What an inversion finds.

    Attributes
    ----------
    formed : Tensor of shape (N, A)
        Fraction of the mass that had formed at each age of the library, from the oldest to the youngest.
    times : Tensor of shape (N, 9)
        Where they reach 10 ... 90 %, in Gyr of cosmic time.
    metallicity : Tensor of shape (N,)
        [M/H] in dex.
    """

    formed: Tensor
    times: Tensor
    metallicity: Tensor


class Inversion:
    """Inverts spectra of a data set's library in its window.

    Parameters
    ----------
    data : Dataset
        Its training spectra give the mean and covariance of the weights.
    noise : float
        Standard deviation of the noise, in units of the spectra's medians.
    """

    def __init__(self, data: Dataset, noise: float) -> None:
        self.times = AGE_OF_UNIVERSE - data.view.ages_gyr.flip(0)
        rank = data.coefficients.shape[1]
        rows = slice(0, min(_KNOWN, data.train.stop))
        self.nodes = data.view.metallicities
        self._populations = data.view.coefficients[:, :, :rank].transpose(0, 1) / noise  # (Z, A, R)
        self._noise = noise
        weights = data.histories.weights[rows].double()
        plain = data.view.combine(weights, data.histories.metallicity[rows])[:, :rank]
        spectra = data.coefficients[rows].double()
        known = weights * ((spectra * plain).sum(1) / plain.square().sum(1))[:, None]
        covariance = torch.cov(known.T)
        covariance += _RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype)
        self._precision = torch.linalg.inv(covariance)
        self._pull = self._precision @ known.mean(0)
        # products of the populations of neighbouring metallicities, (Z - 1, A, A)
        low, high = self._populations[:-1], self._populations[1:]
        self._low, self._high, self._cross = low @ low.mT, high @ high.mT, low @ high.mT

    def __call__(self, coefficients: Tensor) -> Inverted:
        """Histories and [M/H] of spectra given as coefficients (N, R)."""
        parts = [self.invert(some.double()) for some in coefficients.split(_ROWS)]
        weights, metallicity = (torch.cat(some) for some in zip(*parts, strict=True))
        mass = weights.flip(1) / weights.sum(1, keepdim=True)
        # the mass of an age lies on both sides of it
        formed = mass.cumsum(1) - 0.5 * mass
        formed = formed.nan_to_num(0).clamp(*_FORMED)
        return Inverted(formed, _reached(formed, self.times), metallicity)

    def invert(self, spectra: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (N, A) of spectra as they are normalised, and [M/H] (N,), of coefficients (N, R)."""
        spectra = spectra / self._noise
        onto = torch.einsum("nr,zar->nza", spectra, self._populations)
        place = self._best_place(onto)
        weights = self._solve(*self._products(onto, place)[:2])
        for _ in range(_STEPS):
            weights, place = self._improve(onto, weights, place)
        return self._solve(*self._products(onto, place)[:2]), self._metallicity(place)

    def _best_place(self, onto: Tensor) -> Tensor:
        """Of a few places in each step of the library, the one with the largest gain of the fit."""
        values = torch.arange(0, len(self.nodes) - 1 + 1e-9, 1 / _PER_STEP, dtype=onto.dtype)
        gain = torch.stack([self._gain(onto, value) for value in values], 1)
        return values[gain.argmax(1)]

    def _gain(self, onto: Tensor, value: Tensor) -> Tensor:
        """Log evidence (N,) at one place, but for what is the same at all."""
        matrix, right, _, _ = self._products(onto, value[None].expand(len(onto)), one=True)
        factor = torch.linalg.cholesky(matrix)
        reduced = torch.linalg.solve_triangular(factor, right.mT, upper=False)
        return 0.5 * reduced.square().sum(0) - factor.diagonal().log().sum()

    def _products(self, onto: Tensor, place: Tensor, *, one: bool = False) -> tuple[Tensor, ...]:
        """Normal matrix (N, A, A) and right side (N, A) at places (N,), and those of the change with the place."""
        step = place.floor().long().clamp(max=len(self.nodes) - 2)
        part = place - step
        some = slice(0, 1) if one else slice(None)
        t, s = part[some, None, None], step[some]
        low, high, cross = self._low[s], self._high[s], self._cross[s]
        gram = (1 - t) ** 2 * low + t**2 * high + t * (1 - t) * (cross + cross.mT)
        rows = torch.arange(len(onto))
        onto_low, onto_high = onto[rows, step], onto[rows, step + 1]
        right = torch.lerp(onto_low, onto_high, part[:, None])
        matrix = gram + self._precision
        return (matrix[0] if one else matrix), right + self._pull, onto_high - onto_low, part

    def _solve(self, matrix: Tensor, right: Tensor) -> Tensor:
        return torch.cholesky_solve(right[..., None], torch.linalg.cholesky(matrix))[..., 0]

    def _improve(self, onto: Tensor, weights: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """One Gauss-Newton step for weights (N, A) and places (N,)."""
        matrix, right, onto_change, part = self._products(onto, place)
        step = place.floor().long().clamp(max=len(self.nodes) - 2)
        t = part[:, None, None]
        low, high, cross = self._low[step], self._high[step], self._cross[step]
        # products with g = (S_high - S_low) w, the change of the spectrum with the place
        of_change = (cross.mT - low) * (1 - t) + (high - cross) * t
        column = (of_change.mT @ weights[..., None])[..., 0]
        size = high + low - cross - cross.mT
        corner = torch.einsum("na,nab,nb->n", weights, size, weights)
        width = self.nodes.diff()[step]
        corner = corner + (width / _STEP_DEX) ** 2
        top = torch.cat([matrix, column[..., None]], 2)
        bottom = torch.cat([column, corner[:, None]], 1)[:, None]
        both = torch.cat([right, (weights * onto_change).sum(1, keepdim=True)], 1)
        found = torch.linalg.solve(torch.cat([top, bottom], 1), both)
        moved = self._metallicity(place) + found[:, -1] * width
        return found[:, :-1], self._place(moved)

    def _metallicity(self, place: Tensor) -> Tensor:
        step = place.floor().long().clamp(max=len(self.nodes) - 2)
        return torch.lerp(self.nodes[step], self.nodes[step + 1], place - step)

    def _place(self, metallicity: Tensor) -> Tensor:
        inside = metallicity.clamp(float(self.nodes[0]), float(self.nodes[-1]))
        step = (torch.searchsorted(self.nodes, inside, right=True) - 1).clamp(0, len(self.nodes) - 2)
        return step + (inside - self.nodes[step]) / self.nodes.diff()[step]


def _reached(formed: Tensor, times: Tensor) -> Tensor:
    """Times (N, 9) at which a fraction formed (N, A) first reaches 10 ... 90 %, linear between `times` (A,)."""
    steady = formed.clamp(0, 1).cummax(1).values.contiguous()
    wanted = torch.tensor(PERCENT, dtype=formed.dtype).div(100).expand(len(formed), -1).contiguous()
    after = torch.searchsorted(steady, wanted).clamp(1, formed.shape[1] - 1)
    low, high = steady.gather(1, after - 1), steady.gather(1, after)
    part = ((wanted - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    return torch.lerp(times[after - 1], times[after], part)
