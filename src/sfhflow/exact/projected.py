r"""Products of a galaxy's noiseless spectra with fixed vectors, without the spectra.

A spectrum before motion and instrument is c B (`sfhflow.exact.stars`), and the kernel :math:`S_\sigma` of the
velocity dispersion is smooth in :math:`\ln\sigma`, so that for vectors V

.. math:: V^T m = \frac{\sum_{i} \ell_i(\ln\sigma)\; c\, [B S_{\sigma_i} V]}
                       {\sum_{i} \ell_i(\ln\sigma)\; c\, [B S_{\sigma_i} 1] / P}

with Lagrange polynomials through Chebyshev nodes :math:`\sigma_i`.  The brackets are computed once for a galaxy;
a product then costs tens of microseconds.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfhflow.exact.stars import ChebyshevNodes, DustyStars
from sfhflow.exact.templates import Templates

__all__ = ["ProjectedTemplates"]

_SIGMA_NODES = 14
# samples at once: their outer products then fit the cache of a processor
_AT_ONCE = 512


class ProjectedTemplates:
    """Products of vectors with the spectra that `Templates` makes.

    Parameters
    ----------
    templates : Templates
        Of one galaxy.
    stars : DustyStars
        Of the same simulator.
    vectors : array of shape (k, P)
        On the grid of the templates.
    """

    def __init__(self, templates: Templates, stars: DustyStars, vectors: NDArray[np.float64]) -> None:
        self._templates, self._stars = templates, stars
        bounds = templates.simulator.prior.parameters.sigma_kms
        self._nodes = ChebyshevNodes(math.log(bounds.low), math.log(bounds.high), _SIGMA_NODES)
        mean = np.full((1, vectors.shape[1]), 1 / vectors.shape[1])
        onto = torch.from_numpy(np.concatenate([vectors, mean]).T)
        self._products = torch.cat(
            [templates.observed(stars.basis, s.exp()[None]) @ onto for s in self._nodes.nodes]
        )

    def __call__(self, u: Tensor) -> Tensor:
        """Products (N, k), float64, of spectra of unit mean, for unbounded coordinates (N, D)."""
        return torch.cat([self._project(part) for part in u.double().split(_AT_ONCE)])

    def _project(self, u: Tensor) -> Tensor:
        galaxy = self._templates.physical(u)
        stars = self._stars.coefficients(galaxy, self._templates.age_of_universe)
        motion = self._nodes.weights(galaxy.sigma_kms.log())
        products = (motion[:, :, None] * stars[:, None]).flatten(1) @ self._products
        return products[:, :-1] / products[:, -1:]
