r"""A mixture of Gaussians: density, sampling, and its fit by expectation maximisation.

.. math:: p(x) = \sum_k w_k\, N(x; \mu_k, L_k L_k^T)

with lower-triangular Cholesky factors :math:`L_k`.  The fit alternates between the probability of each component
given each point and the weighted means and covariances that follow (Dempster, Laird & Rubin 1977, J. R. Stat.
Soc. B 39, 1; Bishop 2006, Pattern Recognition and Machine Learning, sec. 9.2).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

__all__ = ["GaussianMixture", "fit_gaussian_mixture", "read_gaussian_mixture", "write_gaussian_mixture"]

# points whose densities are computed at once, to bound the memory
_CHUNK = 20_000


class GaussianMixture(NamedTuple):
    """A mixture of K Gaussians in D dimensions (float64).

    Attributes
    ----------
    weights : Tensor of shape (K,)
        Sum to 1.
    means : Tensor of shape (K, D)
        Centres.
    cholesky : Tensor of shape (K, D, D)
        Lower-triangular factors of the covariances.
    """

    weights: Tensor
    means: Tensor
    cholesky: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density (...,) at points (..., D)."""
        flat = x.reshape(-1, x.shape[-1]).to(self.means)
        parts = [torch.logsumexp(self.log_joint(part), dim=-1) for part in flat.split(_CHUNK)]
        return torch.cat(parts).reshape(x.shape[:-1])

    def log_joint(self, x: Tensor) -> Tensor:
        """Log of weight times density of every component, shape (N, K), at points (N, D)."""
        n_features = x.shape[-1]
        identity = torch.eye(n_features, dtype=self.cholesky.dtype)
        whiten = torch.linalg.solve_triangular(self.cholesky, identity, upper=False)
        # z_nk = whiten_k (x_n - mean_k), as one product of matrices
        z = x @ whiten.reshape(-1, n_features).T - (whiten @ self.means[..., None]).flatten()
        chi2 = z.square().view(len(x), -1, n_features).sum(-1)
        log_det = self.cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return self.weights.log() - log_det - 0.5 * (chi2 + n_features * math.log(2 * math.pi))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw points of shape (n, D)."""
        chosen = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        normal = torch.randn(n, self.means.shape[1], dtype=self.means.dtype, generator=generator)
        return self.means[chosen] + (self.cholesky[chosen] @ normal[..., None])[..., 0]


def fit_gaussian_mixture(
    x: Tensor, n_components: int, *, steps: int = 100, floor: float = 1e-3, seed: int = 0
) -> GaussianMixture:
    """Fit a mixture to points (N, D) by expectation maximisation.

    Parameters
    ----------
    x : Tensor of shape (N, D)
        Points.
    n_components : int
        K.
    steps : int
        Iterations.
    floor : float
        Added to the diagonal of every covariance, in units of the square of x.
    seed : int
        Of the points that are the first centres.
    """
    x = x.double()
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(x), generator=generator)[:n_components]
    spread = torch.cov(x.T) / n_components ** (2 / x.shape[1])
    mixture = GaussianMixture(
        torch.full((n_components,), 1 / n_components, dtype=x.dtype),
        x[chosen],
        torch.linalg.cholesky(spread).expand(n_components, -1, -1),
    )
    for _ in range(steps):
        mixture = _maximise(x, mixture, floor)
    return mixture


def _maximise(x: Tensor, mixture: GaussianMixture, floor: float) -> GaussianMixture:
    """One iteration: expectation of the memberships, then the maximum of the likelihood given them."""
    n_components, n_features = mixture.means.shape
    total = x.new_zeros(n_components)
    first = x.new_zeros(n_components, n_features)
    second = x.new_zeros(n_components, n_features, n_features)
    for part in x.split(_CHUNK):
        member = torch.softmax(mixture.log_joint(part), dim=-1)
        total += member.sum(0)
        first += member.T @ part
        products = (part[:, :, None] * part[:, None, :]).flatten(1)
        second += (member.T @ products).view_as(second)
    total = total.clamp_min(1e-6)
    means = first / total[:, None]
    covariance = second / total[:, None, None] - means[:, :, None] * means[:, None, :]
    covariance += floor * torch.eye(n_features, dtype=x.dtype)
    return GaussianMixture(total / total.sum(), means, torch.linalg.cholesky(covariance))


def write_gaussian_mixture(mixture: GaussianMixture, path: Path, metadata: dict[str, str]) -> None:
    """Write a mixture to a safetensors file, in single precision."""
    tensors = {name: tensor.float().contiguous() for name, tensor in mixture._asdict().items()}
    save_file(tensors, path, metadata)


def read_gaussian_mixture(path: Path) -> GaussianMixture:
    """Read a mixture that `write_gaussian_mixture` wrote."""
    tensors = load_file(path)
    weights = tensors["weights"].double()
    return GaussianMixture(weights / weights.sum(), tensors["means"].double(), tensors["cholesky"].double())
