"""Histories told by formation times: a constant rate between the times at which fixed fractions had formed.

With fractions 0 = f_0 < f_1 < ... < f_K = 1 and rising times t_0 ... t_K, mass f_k - f_{k-1} forms at a
constant rate between t_{k-1} and t_k.  This is the exact inverse of `formation_times`, so the times *are* the
model.  The prior puts a symmetric Dirichlet distribution on the gaps of [0, t_0, ..., t_K, age of the
Universe]; the first gap is the wait before star formation and the last the time since it ended (Leja et al.
2019, ApJ 876, 3, and Iyer et al. 2019, ApJ 879, 116, use the same idea for gaps in mass and in time).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sfhflow.errors import InputError
from sfhflow.sfh.draws import dirichlet
from sfhflow.sfh.history import StarFormationHistory

__all__ = ["FRACTIONS", "QuantileSFH", "history_from_times"]

# the last ones let a galaxy be dead, or alive with very few young stars
FRACTIONS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


def history_from_times(times: Tensor, fractions: Tensor | Sequence[float] = FRACTIONS) -> StarFormationHistory:
    """History with a constant rate between formation times, the inverse of `formation_times`.

    Parameters
    ----------
    times : Tensor of shape (N, F)
        Cosmic time in Gyr at which each fraction had formed, rising along the last axis.
    fractions : array of shape (F,)
        Rising mass fractions from 0 (start of star formation) to 1 (its end).

    Returns
    -------
    StarFormationHistory
        N histories with F - 1 bins; `time_edges` is `times`.

    Raises
    ------
    InputError
        If the fractions do not rise strictly from 0 to 1 or do not match the times.
    """
    fractions = torch.as_tensor(fractions, dtype=times.dtype, device=times.device)
    mass = fractions.diff()
    if len(fractions) < 2 or fractions[0] != 0 or fractions[-1] != 1 or not bool((mass > 0).all()):
        raise InputError(
            f"mass fractions are {fractions.tolist()}, expected strictly rising numbers from 0 to 1; "
            "add the end points or sort them"
        )
    if times.ndim != 2 or times.shape[-1] != len(fractions):
        raise InputError(
            f"formation times have shape {tuple(times.shape)}, expected (N, {len(fractions)}), one time for "
            "each mass fraction; select the columns that match"
        )
    return StarFormationHistory(times, mass.expand(len(times), -1))


@dataclass(frozen=True)
class QuantileSFH:
    """Family of histories with Dirichlet-distributed gaps between formation times.

    Parameters
    ----------
    fractions : tuple of float
        Rising mass fractions from 0 to 1.
    alpha : float
        Concentration: 1 makes all sets of times equally likely, small values make bursts and long pauses.
    """

    fractions: tuple[float, ...] = FRACTIONS
    alpha: float = 1.0

    def sample(self, age_of_universe: Tensor, generator: torch.Generator | None) -> StarFormationHistory:
        """Draw one history for each age of the Universe in Gyr, shape (N,)."""
        gaps = dirichlet(self.alpha, len(self.fractions) + 1, like=age_of_universe, generator=generator)
        times = gaps.cumsum(-1)[:, :-1].clamp(max=1.0) * age_of_universe[:, None]
        return history_from_times(times, self.fractions)
