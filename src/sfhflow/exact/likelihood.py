r"""The likelihood of one galaxy's spectrum, with everything that is not a parameter marginalised.

.. math::
    p(d\,|\,u) = \sum_h \pi(h) \int \frac{\mathrm{d}A}{A} \int \mathrm{d}\delta\; \pi(\delta)\;
    N\{d;\ A\,[m(u) + \delta\, m'(u)],\ K_h\}

*A* is the amplitude (a density of one in its logarithm), :math:`\delta` the slope of the attenuation law with
:math:`m' = \partial m/\partial\delta`, *h* the amplitudes of the other nuisances, whose covariance :math:`K_h`
(`sfhflow.exact.nuisances`) is linear about the reference (`sfhflow.exact.reference`).  Since A m is all that
data can measure, the result does not depend on how m is scaled.  The integral over A is that of the Gaussian
times the value of 1 / A at its maximum, which is exact but for the square of the relative error of A.

A spectrum m(u) enters through a few dozen numbers, its projection *a* on principal components: a node *h* is then
a few small matrices.  The projections come from products made beforehand (`sfhflow.exact.projected`), and no
spectrum is made: `python -m benchmarks.exactness` prints what one costs together with the prior.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfhflow.exact.basis import principal_components
from sfhflow.exact.covariance import Covariance
from sfhflow.exact.hyper import Axis, Node, explore
from sfhflow.exact.nuisances import Amplitudes, Nuisances
from sfhflow.exact.projected import ProjectedTemplates
from sfhflow.exact.reference import Data, Reference, find_reference, observed, slope_change
from sfhflow.exact.templates import Templates
from sfhflow.observation import Observation

__all__ = ["Likelihood"]

Array = NDArray[np.float64]

_REFERENCE_SPECTRA = 200
# nodes of the nuisances' amplitudes: scored at most, and summed over if this many nats or fewer below the best
_MOST_SCORED, _DEPTH = 160, 3.0
_MOST_KEPT, _KEPT_DEPTH = 10, 4.0


class _Products(NamedTuple):
    """Products with K^-1 of the basis B (k columns), the basis' change with slope S (k) and the data d."""

    log_det: float
    bb: Array
    bs: Array
    ss: Array
    bd: Array
    sd: Array
    dd: float


class Likelihood:
    """ln p(d | u) of one galaxy, for many u at once.

    Parameters
    ----------
    observation : Observation
        One galaxy (a batch of one).
    nuisances : Nuisances
        Of the simulator.
    u : Tensor of shape (S, D)
        Approximate posterior samples: the mean of their spectra is the reference.
    seed : int
        Of the prior's spectra that the principal components are made of.

    Attributes
    ----------
    data : Data
        The observed pixels.
    reference : Reference
        Where the nuisances are linear, with the templates at the best velocity.
    covariance : Covariance
        Of the nuisances.
    nodes : list of (Amplitudes, float)
        Amplitudes that are summed over and the logarithms of their prior weights, the most likely first.

    Raises
    ------
    InputError
        If the flux of the spectrum is not positive.
    """

    def __init__(self, observation: Observation, nuisances: Nuisances, u: Tensor, *, seed: int = 0) -> None:
        self.data = observed(observation)
        u = u[:: max(1, len(u) // _REFERENCE_SPECTRA)]
        age = float(observation.age_of_universe[0])
        templates = Templates(nuisances.simulator, age, observation.lsf_kms[0])
        lines_masked = nuisances.lines_masked(observation.ivar[0].numpy())
        axes = nuisances.axes(lines_masked=lines_masked)
        middle = (*(len(axis) // 2 for axis in axes[:-1]), 0)
        self.reference = find_reference(templates, u, self.data, nuisances, nuisances.amplitudes(middle, axes))
        self.templates = self.reference.templates
        self.covariance = self.reference.covariance(nuisances, self.data)
        self._slope, self._slope_rms = slope_change(self.templates)
        mean_av = float(self.templates.attenuation(u).mean())
        self.nodes = _matter(self.covariance, self.data, self.reference, mean_av * self._slope_rms, axes, middle)
        self._basis = principal_components(self.reference, self.data, u, seed=seed)
        self._products = [
            _products(self.covariance, self.data, self._basis.spectra, self._slope, amplitudes)
            for amplitudes, _ in self.nodes
        ]
        self._projected = ProjectedTemplates(self.templates, nuisances.stars, self._basis.projector)

    def __call__(self, u: Tensor) -> Tensor:
        """Log likelihood ln p(d | u), shape (N,), of unbounded coordinates (N, D)."""
        a = self._projected(u).numpy()
        slope = self._slope_rms * self.templates.attenuation(u).numpy()
        parts = zip(self.nodes, self._products, strict=True)
        each = np.stack([weight + _marginal(p, a, slope, len(self.data.flux)) for (_, weight), p in parts])
        return torch.from_numpy(each).logsumexp(0)


def _products(
    covariance: Covariance, data: Data, spectra: Array, slope: Array, amplitudes: Amplitudes
) -> _Products:
    """Products of spectra (k, P) and their change with the slope of the attenuation law."""
    k = len(spectra)
    rows = np.concatenate([spectra[:, data.pixels], (spectra * slope)[:, data.pixels], data.flux[None]])
    gram, log_det = covariance.products(rows.T, amplitudes)
    parts = gram[:k, :k], gram[:k, k:-1], gram[k:-1, k:-1], gram[:k, -1], gram[k:-1, -1]
    return _Products(log_det, *parts, float(gram[-1, -1]))


def _marginal(p: _Products, a: Array, slope: Array, n_data: int) -> Array:
    """Log likelihood (N,) at one node of spectra a B, for projections (N, k) and slope terms of rms (N,)."""
    mm = np.einsum("nk,nk->n", a @ p.bb, a)
    md = a @ p.bd
    # the term grows with the amplitude, which is known well enough from the spectrum without it
    slope = slope * md / mm
    ms = slope * np.einsum("nk,nk->n", a @ p.bs, a)
    ss = 1 + slope**2 * np.einsum("nk,nk->n", a @ p.ss, a)
    sd = slope * (a @ p.sd)
    mm, md, dd = mm - ms**2 / ss, md - ms * sd / ss, p.dd - sd**2 / ss
    with np.errstate(invalid="ignore", divide="ignore"):
        occam = np.where(md > 0, 0.5 * np.log(mm) - np.log(md), -np.inf)
    return occam - 0.5 * (dd - md**2 / mm + p.log_det + np.log(ss) + (n_data - 1) * math.log(2 * math.pi))


def _matter(
    covariance: Covariance, data: Data, reference: Reference, slope: float, axes: tuple[Axis, ...], start: Node
) -> list[tuple[Amplitudes, float]]:
    """Amplitudes that matter for the reference spectrum, with the logarithms of their prior weights."""
    curve, _ = slope_change(reference.templates)

    def prior(node: Node) -> float:
        return sum(float(axis.log_weights[i]) for axis, i in zip(axes, node, strict=True))

    def amplitudes(node: Node) -> Amplitudes:
        return Amplitudes(*(float(axis.values[i]) for axis, i in zip(axes, node, strict=True)))

    def score(node: Node) -> float:
        products = _products(covariance, data, reference.spectrum[None], curve, amplitudes(node))
        return prior(node) + float(_marginal(products, np.ones((1, 1)), np.array([slope]), len(data.flux))[0])

    scores = explore(score, axes, start=start, depth=_DEPTH, max_nodes=_MOST_SCORED)
    best = sorted(scores, key=scores.__getitem__, reverse=True)[:_MOST_KEPT]
    return [(amplitudes(node), prior(node)) for node in best if scores[node] > scores[best[0]] - _KEPT_DEPTH]
