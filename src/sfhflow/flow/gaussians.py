"""Gaussians whose mean and precision are functions of the context: one that whitens, and a mixture of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["Mixture", "Whitening"]

# limits far beyond any use that keep samples finite whatever the weights
_LOG_DIAGONAL = 12.0
_FAR = 1e4


class Triangles(nn.Module):
    """Lower-triangular matrices (D, D) with positive diagonal from a vector of D (D + 1) / 2 numbers."""

    places: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        n_below = n_features * (n_features - 1) // 2
        rows, columns = torch.tril_indices(n_features, n_features, -1)
        # where each element comes from; those not below the diagonal from a zero at the end
        places = torch.full((n_features, n_features), n_below)
        places[rows, columns] = torch.arange(n_below)
        self.register_buffer("places", places.flatten(), persistent=False)
        self.sizes = [n_features, n_below]

    def forward(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of the diagonals (..., D) and the matrices (..., D, D)."""
        log_diagonal, below = numbers.split(self.sizes, dim=-1)
        log_diagonal = log_diagonal.clamp(-_LOG_DIAGONAL, _LOG_DIAGONAL)
        below = nn.functional.pad(below, (0, 1)).index_select(-1, self.places)
        matrix = below.unflatten(-1, (self.sizes[0], self.sizes[0])) + torch.diag_embed(log_diagonal.exp())
        return log_diagonal, matrix


def _inverse(triangular: Tensor) -> Tensor:
    """Inverses of lower-triangular matrices (..., D, D), in double precision."""
    identity = torch.eye(triangular.shape[-1], dtype=torch.float64, device=triangular.device)
    return torch.linalg.solve_triangular(triangular.double(), identity, upper=False)


def _finite(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Numbers in single or double precision that no overflow has made infinite."""
    return torch.nan_to_num(x, 0.0, _FAR, -_FAR).clamp(-_FAR, _FAR).to(dtype)


class Mixture(nn.Module):
    """K Gaussians with precision matrices T^T T, all functions of the context."""

    def __init__(self, n_features: int, n_context: int, components: int) -> None:
        super().__init__()
        self.shape = (components, n_features)
        self.triangles = Triangles(n_features)
        self.sizes = [components, components * n_features, components * sum(self.triangles.sizes)]
        self.network = nn.Linear(n_context, sum(self.sizes))
        with torch.no_grad():
            self.network.weight.mul_(0.1)
            self.network.bias.zero_()
            # centres apart, so that the components learn to differ
            self.network.bias[self.sizes[0] : sum(self.sizes[:2])].normal_(std=0.5)

    def log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        """Log density (...,) at z (..., D)."""
        log_weight, mean, log_diagonal, matrix = self._parts(context)
        white = (matrix @ (z[..., None, :] - mean)[..., None])[..., 0]
        log_normal = log_diagonal.sum(-1) - 0.5 * white.square().sum(-1)
        return torch.logsumexp(log_weight + log_normal, dim=-1) - 0.5 * self.shape[1] * math.log(2 * math.pi)

    def sample(self, context: Tensor, noise: Tensor) -> Tensor:
        """Points (N, S, D) for contexts (N, n_context) and noise (N, S, D + 1), whose last column chooses."""
        log_weight, mean, _, matrix = self._parts(context)
        edges = log_weight.double().exp().cumsum(-1)[..., :-1].contiguous()
        uniform = torch.special.ndtr(noise[..., -1].double()).contiguous()
        chosen = torch.searchsorted(edges, uniform)
        # every noise vector through every component, in one product of matrices
        spread = _finite(_inverse(matrix), noise.dtype).flatten(-3, -2)
        every = noise[..., :-1] @ spread.mT + mean.flatten(-2)[:, None]
        every = _finite(every, noise.dtype).unflatten(-1, self.shape)
        index = chosen[..., None, None].expand(-1, -1, 1, self.shape[1])
        return every.gather(-2, index)[..., 0, :]

    def _parts(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log weights (..., K), means (..., K, D), log diagonals of T (..., K, D) and T (..., K, D, D)."""
        weight, mean, numbers = self.network(context).split(self.sizes, dim=-1)
        log_diagonal, matrix = self.triangles(numbers.unflatten(-1, (self.shape[0], -1)))
        return weight.log_softmax(-1), mean.unflatten(-1, self.shape), log_diagonal, matrix


class Whitening(nn.Module):
    """y = T(c) (x - m(c)), with T lower triangular of positive diagonal."""

    def __init__(self, n_features: int, n_context: int) -> None:
        super().__init__()
        self.triangles = Triangles(n_features)
        self.sizes = [n_features, sum(self.triangles.sizes)]
        self.network = nn.Linear(n_context, sum(self.sizes))
        nn.init.zeros_(self.network.weight)
        nn.init.zeros_(self.network.bias)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Whitened coordinates (..., D) and the log determinant (...,)."""
        mean, log_diagonal, matrix = self._parts(context)
        return (matrix @ (x - mean)[..., None])[..., 0], log_diagonal.sum(-1)

    def inverse(self, y: Tensor, context: Tensor) -> Tensor:
        """Coordinates (N, S, D) of whitened ones, for contexts (N, n_context)."""
        mean, _, matrix = self._parts(context)
        x = torch.baddbmm(mean[:, None].double(), y.double(), _inverse(matrix).mT)
        return _finite(x, y.dtype)

    def _parts(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean (..., D), log of the diagonal of T (..., D) and T (..., D, D)."""
        mean, numbers = self.network(context).split(self.sizes, dim=-1)
        return mean, *self.triangles(numbers)
