r"""Spectra with errors and gaps as coefficients of principal components, and how well each is known.

Noiseless galaxy spectra lie close to a low-dimensional linear space: :math:`f = s(\mu + \sum_k c_k \phi_k)`
with a mean :math:`\mu` and principal components :math:`\phi_k` scaled so that the :math:`c_k` have unit
variance over the prior.  Given data *d* with inverse variances *W* (zero where masked), the coefficients have
the Gaussian posterior (e.g. Connolly & Szalay 1999, AJ 117, 2052, with a prior added)

.. math:: C = (\Phi W \Phi^T + P)^{-1}, \qquad \hat a = a_0 + C\, \Phi W (d - \Phi^T a_0),

which is all the data say about them, whatever the noise level, the mask or the wavelength coverage: the
estimate, and how well each coefficient is known.  Masked pixels enter nowhere.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sfhflow.observation import Observation

__all__ = ["Projection", "Projector", "principal_components", "typical_flux"]

# Batches from this size on have their sums over pixels taken as one product of matrices.
_MANY = 12
# Prior standard deviation of the amplitude s around one: spectra are scaled to unit mean over what is observed.
_AMPLITUDE_SIGMA = 1.0


class Projection(NamedTuple):
    """Weighted projection of spectra on the principal components.

    Attributes
    ----------
    coefficients : Tensor of shape (N, K)
        Posterior mean of the coefficients in units of their prior standard deviation.
    sigma : Tensor of shape (N, K)
        Their posterior standard deviation, in (0, 1].
    amplitude : Tensor of shape (N,)
        Scale of the spectrum.
    chi2 : Tensor of shape (N,)
        Chi squared of the projection per degree of freedom.
    """

    coefficients: Tensor
    sigma: Tensor
    amplitude: Tensor
    chi2: Tensor


def principal_components(spectra: Tensor, n_components: int) -> tuple[Tensor, Tensor]:
    """Mean (P,) and principal components (K, P) scaled to unit variance of their coefficients.

    Parameters
    ----------
    spectra : Tensor of shape (N, P)
        Noiseless spectra scaled to unit mean.
    n_components : int
        K.
    """
    x = spectra.double()
    mean = x.mean(0)
    centred = x - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(x))
    top = values.flip(0)[:n_components].clamp_min(0.0)
    return mean.float(), (vectors.flip(1)[:, :n_components] * top.sqrt()).T.contiguous().float()


class Projector(nn.Module):
    """Likelihood-weighted projection on principal components; it has no trained weights.

    Parameters
    ----------
    n_pixels : int
        P, pixels of the rest-frame grid.
    n_components : int
        K, principal components.
    error_floor : float
        Fraction of the mean flux added in quadrature to the errors: differences between templates and galaxies
        that the components cannot follow.

    Attributes
    ----------
    mean, components : Tensors of shape (P,) and (K, P)
        Set by `set_components`.
    sum_dtype : torch.dtype
        Precision of the sums over pixels.  Single precision is fastest for the large batches of training, but
        where a short window makes components nearly degenerate its rounding errors, which depend on the batch,
        are a few per cent of a prior standard deviation; double precision makes a spectrum's projection its own.
    """

    mean: Tensor
    components: Tensor

    def __init__(self, n_pixels: int, *, n_components: int = 80, error_floor: float = 0.006) -> None:
        super().__init__()
        self.error_floor = error_floor
        self.sum_dtype = torch.float32
        self.register_buffer("mean", torch.ones(n_pixels))
        self.register_buffer("components", torch.zeros(n_components, n_pixels))
        self._products: Tensor | None = None
        self.register_load_state_dict_post_hook(_forget_products)

    def set_components(self, mean: Tensor, components: Tensor) -> None:
        """Set the mean (P,) and the components (K, P), see `principal_components`."""
        self.mean.copy_(mean)
        self.components.copy_(components)
        self._products = None

    @torch.no_grad()
    def project(self, observation: Observation) -> Projection:
        """Fit the principal components to the spectra; no trained weights are involved."""
        good = observation.ivar > 0
        n_good = good.sum(-1).clamp_min(1)
        flux = torch.where(good, observation.flux, 0.0).to(self.sum_dtype)
        ivar = observation.ivar.to(self.sum_dtype)
        scale = typical_flux(flux, ivar)[:, None]
        weight = ivar * scale**2
        weight = weight / (1 + weight * self.error_floor**2)
        residual = torch.where(good, flux / scale - self.mean, 0.0)
        basis = torch.cat([self.mean[None], self.components]).to(self.sum_dtype)
        precision = self._weighted_products(weight, basis).double()
        prior = torch.ones(len(basis), dtype=torch.float64, device=precision.device)
        prior[0] = _AMPLITUDE_SIGMA**-2
        factor = torch.linalg.cholesky(precision + torch.diag(prior))
        data = ((weight * residual) @ basis.T).double()
        inverse = torch.linalg.solve_triangular(
            factor, torch.eye(len(basis), dtype=torch.float64, device=factor.device), upper=False
        )
        estimate = (inverse.mT @ (inverse @ data[..., None]))[..., 0]
        sigma = inverse.square().sum(-2).sqrt()
        misfit = (weight * (residual - estimate.to(self.sum_dtype) @ basis) ** 2).sum(-1)
        amplitude = (1 + estimate[:, 0]).clamp_min(0.05)
        return Projection(
            (estimate[:, 1:] / amplitude[:, None]).float(),
            sigma[:, 1:].float(),
            amplitude.float(),
            (misfit / n_good).float(),
        )

    def _weighted_products(self, weight: Tensor, basis: Tensor) -> Tensor:
        """All sums over pixels of weight * phi_j * phi_k, shape (N, K + 1, K + 1).

        A single product of matrices for the whole batch: weights times the products of all pairs of components,
        which are kept.  A few spectra in double precision do not pay for reading those 80 MB.
        """
        if self.sum_dtype == torch.float64 and len(weight) < _MANY:
            return torch.stack([(basis * row) @ basis.T for row in weight])
        n = len(basis)
        rows, columns = torch.tril_indices(n, n, device=basis.device)
        products = self._products
        if products is None or (products.device, products.dtype) != (basis.device, basis.dtype):
            products = self._products = (basis[rows] * basis[columns]).T.contiguous()
        place = torch.empty(n, n, dtype=torch.long, device=basis.device)
        place[rows, columns] = place[columns, rows] = torch.arange(len(rows), device=basis.device)
        return (weight @ products).index_select(1, place.flatten()).view(-1, n, n)


def _forget_products(projector: Projector, incompatible_keys: object) -> None:
    """Drop the products of the components that were there before `load_state_dict`."""
    projector._products = None


def typical_flux(flux: Tensor, ivar: Tensor) -> Tensor:
    """Mean flux (N,) of the good pixels, in which badly measured ones count less (and none counts more)."""
    n_good = (ivar > 0).sum(-1).clamp_min(1)
    weight = torch.minimum(ivar, (ivar.sum(-1) / n_good)[:, None])
    return ((weight * flux).sum(-1) / weight.sum(-1).clamp_min(1e-30)).abs().clamp_min(1e-30)
