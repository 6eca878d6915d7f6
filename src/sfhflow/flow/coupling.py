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

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from zuko.transforms import MonotonicRQSTransform

from sfhflow.flow.base import Flow
from sfhflow.flow.gaussians import Mixture, Whitening
from sfhflow.splines import inverse_coupling

__all__ = ["ConditionalFlow"]

# smallest slope of the splines
_SLOPE = 1e-3


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

    def transform(self, u: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates z (..., n_features) of the mixture and the log determinant of dz/du (...,)."""
        z, log_det = self.whitening((u - self.location) / self.scale, context)
        for coupling in self.couplings:
            z, more = coupling(z, context)
            log_det = log_det + more
        return z, log_det - self.scale.log().sum()

    def base_log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        """Log density of the mixture, see `Flow.base_log_prob`."""
        return self.mixture.log_prob(z, context)

    def base_sample(self, context: Tensor, noise: Tensor) -> Tensor:
        """Samples of the mixture, see `Flow.base_sample`."""
        return self.mixture.sample(context, noise.expand(len(context), -1, -1))

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        """Inverse of `transform`, see `Flow.inverse`."""
        for coupling in reversed(cast(list[Coupling], list(self.couplings))):
            z = coupling.inverse(z, context)
        return self.whitening.inverse(z, context) * self.scale + self.location


def _splits(n_features: int, transforms: int) -> list[Tensor]:
    """Permutations of the coordinates, each second one the one before turned round."""
    orders: list[Tensor] = []
    for number in range(transforms):
        orders.append(orders[-1].flip(0) if number % 2 else torch.randperm(n_features))
    return orders


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
