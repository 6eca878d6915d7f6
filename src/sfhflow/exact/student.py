r"""A mixture of multivariate Student distributions: Gaussians with tails that importance sampling can trust.

With :math:`\chi^2 = |L^{-1}(x - \mu)|^2` in *D* dimensions and :math:`\nu` degrees of freedom, a component has the
density

.. math:: \frac{\Gamma(\frac{\nu + D}{2})}{\Gamma(\frac{\nu}{2})\,(\nu\pi)^{D/2}\,|L|}
          \left(1 + \frac{\chi^2}{\nu}\right)^{-(\nu + D)/2} ,

and is sampled as :math:`\mu + L z \sqrt{\nu / s}` with normal *z* and :math:`s \sim \chi^2_\nu`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sfhflow.gaussian_mixture import GaussianMixture

__all__ = ["StudentMixture"]


class StudentMixture(NamedTuple):
    """Student distributions with the weights, centres and scale matrices of a mixture of Gaussians.

    Attributes
    ----------
    gaussians : GaussianMixture
        What it tends to for many degrees of freedom.
    dof : int
        Degrees of freedom of every component.
    """

    gaussians: GaussianMixture
    dof: int

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density (N,) at points (N, D)."""
        weights, means, cholesky = self.gaussians
        dof, n_features = self.dof, x.shape[-1]
        centred = (x.to(means) - means[:, None]).mT
        chi2 = torch.linalg.solve_triangular(cholesky, centred, upper=False).square().sum(-2)
        log_det = cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = (
            math.lgamma((dof + n_features) / 2) - math.lgamma(dof / 2) - n_features / 2 * math.log(dof * math.pi)
        )
        each = (weights.log() - log_det)[:, None] - (dof + n_features) / 2 * torch.log1p(chi2 / dof)
        return constant + each.logsumexp(0)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw points of shape (n, D)."""
        weights, means, cholesky = self.gaussians
        chosen = torch.multinomial(weights, n, replacement=True, generator=generator)
        normal = torch.randn(n, means.shape[1], dtype=means.dtype, generator=generator)
        chi2 = torch.randn(n, self.dof, dtype=means.dtype, generator=generator).square().sum(-1)
        heavy = normal * (self.dof / chi2).sqrt()[:, None]
        return means[chosen] + (cholesky[chosen] @ heavy[..., None])[..., 0]
