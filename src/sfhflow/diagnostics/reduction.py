"""What a proof of calibration needs of a galaxy's samples: a few dozen numbers, so that tests can be large.

Samples of 50,000 galaxies do not fit in memory, but every diagnostic that is an average over galaxies needs only
ranks, point estimates, an interval, the information gained and one TARP region mass of each.  Batches of
galaxies are reduced as they are made, and joined in the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfhflow.diagnostics.information import information_gain
from sfhflow.diagnostics.random_points import region_masses
from sfhflow.diagnostics.samples import check_pair
from sfhflow.diagnostics.sbc import ranks
from sfhflow.errors import InputError

__all__ = ["Reduction", "join", "reduce_samples"]


@dataclass(frozen=True, eq=False)
class Reduction:
    """Posteriors of G galaxies in D quantities, reduced.

    Attributes
    ----------
    truth, rank, mean, low, median, high, gain : arrays of shape (G, D)
        True values, their fractional ranks, posterior means, quantiles at 16, 50 and 84 %, and information
        gained over the prior in bits.
    region : array of shape (G,)
        TARP region masses of the joint posterior, one reference each.
    """

    truth: NDArray[np.float64]
    rank: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    median: NDArray[np.float64]
    high: NDArray[np.float64]
    gain: NDArray[np.float64]
    region: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def width(self) -> NDArray[np.float64]:
        """Width of the 68 % interval, shape (G, D)."""
        return self.high - self.low

    def rows(self, which: slice | NDArray) -> Reduction:
        """Select galaxies."""
        return Reduction(*(getattr(self, field.name)[which] for field in fields(self)))


def reduce_samples(samples: ArrayLike, truth: ArrayLike, *, prior_samples: ArrayLike, seed: int = 0) -> Reduction:
    """Reduce posterior samples.

    Parameters
    ----------
    samples : array of shape (G, S, D)
        Posterior samples.
    truth : array of shape (G, D)
        True values, independent draws from the prior: those of other galaxies serve as reference points.
    prior_samples : array of shape (P, D)
        Draws from the prior, the yardstick of information and of distances.
    seed : int
        Seed of ties and of the place of ranks in their cells.

    Raises
    ------
    InputError
        If the shapes do not match, values are NaN or there are fewer than two galaxies.
    """
    samples, truth = check_pair(samples, truth)
    if len(truth) < 2:
        raise InputError("truth: found 1 galaxy, expected at least 2 to be each other's references; give more")
    prior = np.asarray(prior_samples, dtype=float)
    ordered = np.sort(samples, axis=1)
    low, median, high = _quantiles(ordered, (0.16, 0.5, 0.84))
    return Reduction(
        truth=truth.astype(float),
        rank=ranks(samples, truth, seed=seed),
        mean=samples.mean(axis=1, dtype=np.float64),
        low=low,
        median=median,
        high=high,
        gain=information_gain(ordered, prior, seed=seed),
        region=region_masses(
            samples, truth, np.roll(truth, 1, axis=0), prior.std(axis=0), np.random.default_rng(seed + 1)
        ),
    )


def join(parts: Sequence[Reduction]) -> Reduction:
    """All galaxies of several reductions, in order."""
    return Reduction(
        *(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Reduction))
    )


def _quantiles(ordered: NDArray, levels: tuple[float, ...]) -> list[NDArray[np.float64]]:
    """Quantiles (G, D) of samples (G, S, D) that are sorted along axis 1, linear between neighbours."""
    last = ordered.shape[1] - 1
    found = []
    for position in (level * last for level in levels):
        below = min(int(position), max(last - 1, 0))
        above, share = min(below + 1, last), position - below
        found.append((1 - share) * ordered[:, below].astype(float) + share * ordered[:, above])
    return found
