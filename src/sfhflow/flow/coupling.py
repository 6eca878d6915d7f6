r"""Conditional density of the unbounded parameters: a mixture of Gaussians, bent by coupling splines.

.. math:: \log p(u | c) = \log \sum_k w_k(c)\, N(z; \mu_k(c), \Sigma_k(c)) + \log |\det \partial z / \partial u|,
          \qquad z = f_c(u)

The first layer of *f* whitens, :math:`y = T(c)\,[x - m(c)]` with a lower-triangular *T*: a Gaussian posterior of
any mean and covariance, which is most of the answer when the data are good.  Then come coupling layers of
rational-quadratic splines (Durkan et al. 2019, Neural Spline Flows, arXiv:1906.04032) on [-5, 5]: half of the
coordinates are transformed by splines whose knots depend on the other half and on the context.  What is left is
described by a mixture (Bishop 1994, Mixture Density Networks): where the prior is a mixture of Gaussians and the
likelihood is one, so is the posterior.  Everything inverts at the price of one forward pass, and the mixture costs
next to nothing.  The context enters every layer as an added term, which is computed once a galaxy and not once a
sample: that is what makes sampling fast.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from zuko.transforms import MonotonicRQSTransform

from sfhflow.flow.base import Flow
from sfhflow.splines import inverse_coupling

__all__ = ["ConditionalFlow"]

# smallest slope of the splines
_SLOPE = 1e-3
# limits far beyond any use that keep samples finite whatever the weights
_LOG_DIAGONAL = 12.0
_FAR = 1e4


class ConditionalFlow(Flow):
    """Flow over `n_features` coordinates given a context vector.

    Parameters
    ----------
    n_features, n_context : int
        Sizes of the coordinates and of the context.
    components : int
        Gaussians of the mixture.
    transforms : int
        Coupling layers; every second one changes the coordinates that the one before has left.
    hidden : tuple of int
        Hidden layers of the networks that give the splines.
    bins : int
        Bins of each spline.
    seed : int
        Seed of the random splits and initial weights.
    """

    def __init__(
        self,
        n_features: int,
        n_context: int,
        *,
        components: int = 16,
        transforms: int = 2,
        hidden: tuple[int, ...] = (64, 64),
        bins: int = 8,
        seed: int = 0,
    ) -> None:
        super().__init__(n_features)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.whitening = Whitening(n_features, n_context)
            orders = _splits(n_features, transforms)
            self.couplings = nn.ModuleList(Coupling(order, n_context, hidden, bins) for order in orders)
            self.mixture = Mixture(n_features, n_context, components)

    @property
    def n_noise(self) -> int:
        """Standard-normal numbers that `sample` makes a sample of."""
        return self.n_features + 1

    def log_prob(self, u: Tensor, context: Tensor) -> Tensor:
        """Log density (...,) of coordinates (..., n_features) given contexts (..., n_context)."""
        z, log_det = self.transform(u, context)
        return self.mixture.log_prob(z, context) + log_det

    def transform(self, u: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates z (..., n_features) of the mixture and the log determinant of dz/du (...,)."""
        z, log_det = self.whitening((u - self.location) / self.scale, context)
        for coupling in self.couplings:
            z, more = coupling(z, context)
            log_det = log_det + more
        return z, log_det - self.scale.log().sum()

    def sample(self, context: Tensor, noise: Tensor) -> Tensor:
        """Transport standard-normal noise to samples, see `Flow.sample`."""
        z = self.mixture.sample(context, noise.expand(len(context), -1, -1))
        for coupling in reversed(cast(list[Coupling], list(self.couplings))):
            z = coupling.inverse(z, context)
        return self.whitening.inverse(z, context) * self.scale + self.location


def _splits(n_features: int, transforms: int) -> list[Tensor]:
    """Permutations of the coordinates, each second one the one before turned round."""
    orders: list[Tensor] = []
    for number in range(transforms):
        orders.append(orders[-1].flip(0) if number % 2 else torch.randperm(n_features))
    return orders


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
        spread = _inverse(matrix).to(noise.dtype).flatten(-3, -2)
        every = (noise[..., :-1] @ spread.mT + mean.flatten(-2)[:, None]).unflatten(-1, self.shape)
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
        return x.clamp(-_FAR, _FAR).to(y.dtype)

    def _parts(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean (..., D), log of the diagonal of T (..., D) and T (..., D, D)."""
        mean, numbers = self.network(context).split(self.sizes, dim=-1)
        return mean, *self.triangles(numbers)


class Coupling(nn.Module):
    """Splines for half of the coordinates, with knots from the other half and the context.

    Parameters
    ----------
    order : Tensor of int, shape (D,)
        A permutation: the first half of it are the coordinates left as they are.
    n_context, hidden, bins
        As for `ConditionalFlow`.
    """

    kept: Tensor
    changed: Tensor
    back: Tensor

    def __init__(self, order: Tensor, n_context: int, hidden: tuple[int, ...], bins: int) -> None:
        super().__init__()
        n_kept = len(order) // 2
        self.register_buffer("kept", order[:n_kept].clone())
        self.register_buffer("changed", order[n_kept:].clone())
        self.register_buffer("back", order.argsort())
        self.knots = [bins, bins, bins - 1]
        sizes = [n_kept, *hidden, len(self.changed) * sum(self.knots)]
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairwise(sizes))
        self.context_sizes = sizes[1:]
        self.context = nn.Linear(n_context, sum(self.context_sizes))
        self._start_near_identity()

    def _start_near_identity(self) -> None:
        last = self.context_sizes[-1]
        with torch.no_grad():
            cast(nn.Linear, self.layers[-1]).weight.mul_(0.1)
            self.context.weight[-last:] *= 0.1
            self.context.bias[-last:] = 0.0

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Transformed coordinates (..., D) and the log determinant (...,)."""
        kept = x.index_select(-1, self.kept)
        spline = self._splines(kept, context)
        changed, log_det = spline.call_and_ladj(x.index_select(-1, self.changed))
        return torch.cat([kept, changed], dim=-1).index_select(-1, self.back), log_det.sum(-1)

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        """Coordinates whose transforms are z (N, S, D), for contexts (N, n_context)."""
        weights = [layer.weight for layer in cast(list[nn.Linear], list(self.layers))]
        terms = self.context(context).split(self.context_sizes, dim=-1)
        return inverse_coupling(z, self.kept, self.changed, weights, terms, slope=_SLOPE)

    def _splines(self, kept: Tensor, context: Tensor) -> MonotonicRQSTransform:
        *inner, last = self.context(context).split(self.context_sizes, dim=-1)
        h = kept
        for layer, term in zip(self.layers, inner, strict=False):
            h = nn.functional.relu(layer(h) + term)
        knots = (self.layers[-1](h) + last).unflatten(-1, (len(self.changed), sum(self.knots)))
        return MonotonicRQSTransform(*knots.split(self.knots, dim=-1), slope=_SLOPE)
