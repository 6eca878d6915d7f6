r"""Conditional density of the unbounded parameters: a Gaussian, then coupling splines that bend it.

.. math:: \log p(u | c) = \log N(z; 0, 1) + \log |\det \partial z / \partial u|, \qquad z = f_c(u)

The first layer whitens, :math:`y = T(c)\,[x - m(c)]` with a lower-triangular *T*: a Gaussian posterior of any
mean and covariance, which is most of the answer when the data are good.  The others are coupling layers of
rational-quadratic splines (Durkan et al. 2019, Neural Spline Flows, arXiv:1906.04032) on [-5, 5]: half of the
coordinates are transformed by splines whose knots depend on the other half and on the context.  Both kinds
invert at the price of one forward pass.  The context enters every layer of their networks as an added term,
which is computed once a galaxy and not once a sample: that is what makes sampling fast.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from zuko.transforms import MonotonicRQSTransform

from sfhflow.flow.base import Flow

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
    transforms : int
        Coupling layers, each with its own random split of the coordinates.
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
        transforms: int = 6,
        hidden: tuple[int, ...] = (64, 64),
        bins: int = 8,
        seed: int = 0,
    ) -> None:
        super().__init__(n_features)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            orders = [torch.randperm(n_features) for _ in range(transforms)]
            self.whitening = Whitening(n_features, n_context)
            self.couplings = nn.ModuleList(Coupling(order, n_context, hidden, bins) for order in orders)

    def log_prob(self, u: Tensor, context: Tensor) -> Tensor:
        """Log density (...,) of coordinates (..., n_features) given contexts (..., n_context)."""
        z, log_det = self.transform(u, context)
        return log_det - 0.5 * (z.square().sum(-1) + self.n_features * math.log(2 * math.pi))

    def transform(self, u: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Noise z (..., n_features) that `sample` makes u of, and the log determinant of dz/du (...,)."""
        z, log_det = self.whitening((u - self.location) / self.scale, context)
        for coupling in self.couplings:
            z, more = coupling(z, context)
            log_det = log_det + more
        return z, log_det - self.scale.log().sum()

    def sample(self, context: Tensor, noise: Tensor) -> Tensor:
        """Transport standard-normal noise to samples, see `Flow.sample`."""
        z = noise.expand(len(context), -1, -1)
        for coupling in reversed(cast(list[Coupling], list(self.couplings))):
            z = coupling.inverse(z, context[:, None])
        return self.whitening.inverse(z, context) * self.scale + self.location


class Whitening(nn.Module):
    """y = T(c) (x - m(c)), with T lower triangular of positive diagonal."""

    places: Tensor

    def __init__(self, n_features: int, n_context: int) -> None:
        super().__init__()
        n_below = n_features * (n_features - 1) // 2
        rows, columns = torch.tril_indices(n_features, n_features, -1)
        # where each element of T comes from; those not below the diagonal from a zero at the end
        places = torch.full((n_features, n_features), n_below)
        places[rows, columns] = torch.arange(n_below)
        self.register_buffer("places", places.flatten(), persistent=False)
        self.sizes = [n_features, n_features, n_below]
        self.network = nn.Linear(n_context, sum(self.sizes))
        nn.init.zeros_(self.network.weight)
        nn.init.zeros_(self.network.bias)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Whitened coordinates (..., D) and the log determinant (...,)."""
        mean, log_diagonal, below = self._parts(context)
        centred = x - mean
        y = (below @ centred[..., None])[..., 0] + centred * log_diagonal.exp()
        return y, log_diagonal.sum(-1)

    def inverse(self, y: Tensor, context: Tensor) -> Tensor:
        """Coordinates (N, S, D) of whitened ones, for contexts (N, n_context)."""
        mean, log_diagonal, below = self._parts(context)
        matrix = (below + torch.diag_embed(log_diagonal.exp())).double()
        identity = torch.eye(self.sizes[0], dtype=matrix.dtype, device=y.device)
        inverse = torch.linalg.solve_triangular(matrix, identity, upper=False)
        return torch.baddbmm(mean[:, None].double(), y.double(), inverse.mT).clamp(-_FAR, _FAR).to(y.dtype)

    def _parts(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, log of the diagonal of T and T below it."""
        mean, log_diagonal, below = self.network(context).split(self.sizes, dim=-1)
        log_diagonal = log_diagonal.clamp(-_LOG_DIAGONAL, _LOG_DIAGONAL)
        below = nn.functional.pad(below, (0, 1)).index_select(-1, self.places)
        return mean, log_diagonal, below.unflatten(-1, (self.sizes[0], self.sizes[0]))


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
        """Coordinates whose transforms are z (..., D)."""
        kept = z.index_select(-1, self.kept)
        changed = self._splines(kept, context).inv(z.index_select(-1, self.changed))
        return torch.cat([kept, changed], dim=-1).index_select(-1, self.back)

    def _splines(self, kept: Tensor, context: Tensor) -> MonotonicRQSTransform:
        *inner, last = self.context(context).split(self.context_sizes, dim=-1)
        h = kept
        for layer, term in zip(self.layers, inner, strict=False):
            h = nn.functional.silu(layer(h) + term)
        knots = (self.layers[-1](h) + last).unflatten(-1, (len(self.changed), sum(self.knots)))
        return MonotonicRQSTransform(*knots.split(self.knots, dim=-1), slope=_SLOPE)
