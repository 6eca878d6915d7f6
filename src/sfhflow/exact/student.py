r"""A mixture of multivariate Student distributions: Gaussians with tails that importance sampling can trust.

With :math:`\chi^2 = |L^{-1}(x - \mu)|^2` in *D* dimensions and :math:`\nu` degrees of freedom, a component has the
density

.. math:: \frac{\Gamma(\frac{\nu + D}{2})}{\Gamma(\frac{\nu}{2})\,(\nu\pi)^{D/2}\,|L|}
          \left(1 + \frac{\chi^2}{\nu}\right)^{-(\nu + D)/2} ,

and is sampled as :math:`\mu + L z \sqrt{\nu / s}` with normal *z* and :math:`s \sim \chi^2_\nu`.

`fit_student_mixture` finds centres and covariances by expectation maximisation, of Gaussians, with weighted
points.  Few points of large weight would make slim components, so each covariance is drawn towards one that all
share, as by an inverse-Wishart prior that is worth a few points in each dimension.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sfhflow.gaussian_mixture import GaussianMixture

__all__ = ["StudentMixture", "fit_student_mixture"]

_COMPONENTS, _STEPS = 8, 15
_DEGREES_OF_FREEDOM = 10
# effective points that the shared covariance is worth, a dimension, and those that the centre of before is worth
_SHARED_WORTH, _CENTRE_WORTH = 4.0, 2.0
# most points that a fit takes
_POINTS = 3000


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


def fit_student_mixture(x: Tensor, log_weights: Tensor, generator: torch.Generator) -> StudentMixture:
    """Mixture that approximates the density of weighted points.

    Parameters
    ----------
    x : Tensor of shape (N, D)
        Points.
    log_weights : Tensor of shape (N,)
        Logarithms of their weights, but for a constant.
    generator : torch.Generator
        Chooses the first centres.
    """
    weights = torch.softmax(log_weights, 0)
    n_effective = 1 / float(weights.square().sum())
    if len(x) > _POINTS:
        x = x[torch.multinomial(weights, _POINTS, replacement=True, generator=generator)]
        weights = torch.full((_POINTS,), 1 / _POINTS, dtype=x.dtype)
    n_features = x.shape[1]
    mean = weights @ x
    covariance = ((x - mean) * weights[:, None]).T @ (x - mean)
    covariance += 1e-8 * covariance.trace() / n_features * torch.eye(n_features, dtype=x.dtype)
    shared = covariance * _COMPONENTS ** (-2 / n_features)
    centres = x[torch.multinomial(weights, _COMPONENTS, replacement=True, generator=generator)]
    mixture = GaussianMixture(
        torch.full((_COMPONENTS,), 1 / _COMPONENTS, dtype=x.dtype),
        centres,
        torch.linalg.cholesky(shared).expand(_COMPONENTS, -1, -1),
    )
    for _ in range(_STEPS):
        mixture = _maximise(x, weights, mixture, shared, n_effective)
    return StudentMixture(mixture, _DEGREES_OF_FREEDOM)


def _maximise(
    x: Tensor, weights: Tensor, mixture: GaussianMixture, shared: Tensor, n_effective: float
) -> GaussianMixture:
    """One iteration: memberships, then centres and covariances that are most likely given them and the prior."""
    member = torch.softmax(mixture.log_joint(x), dim=-1) * weights[:, None]
    share = member.sum(0).clamp_min(1e-12)
    first = (member.T @ x) / share[:, None]
    n, worth = n_effective * share, _SHARED_WORTH * x.shape[1]
    products = (member.T[:, :, None] * x).mT @ x / share[:, None, None]
    scatter = products - first[:, :, None] * first[:, None]
    covariance = (n[:, None, None] * scatter + worth * shared) / (n + worth)[:, None, None]
    centres = (n[:, None] * first + _CENTRE_WORTH * mixture.means) / (n + _CENTRE_WORTH)[:, None]
    # every component keeps some weight, so that none is lost
    share = share + 0.5 / n_effective
    return GaussianMixture(share / share.sum(), centres, torch.linalg.cholesky(covariance))
