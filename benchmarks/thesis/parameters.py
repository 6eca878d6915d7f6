r"""The five parameters of a galaxy of the thesis' prior, as standard normal numbers.

A galaxy of the benchmark is known by three time quantiles, the present rate for each mass, and [M/H]; only these
are random.  Each is the image of a number under its inverse cumulative prior, so that the prior is
:math:`N(0, I_5)`:

* the quantiles cut the age of the Universe into four gaps, uniform on the simplex: sticks broken off one after the
  other, of which the *k*-th is what remains times :math:`1 - (1 - u_k)^{1 / (4 - k)}` with uniform :math:`u_k`;
* log SFR - log M is the difference of two uniform numbers;
* [M/H] is uniform.

The ten quantities are functions of the five: a density of the ten would be singular, one of the five is not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.thesis.dataset import PERCENT, history_of
from sfhflow.sfh.history import formation_times

__all__ = ["N_PARAMETERS", "from_tuples", "quantities", "specific_rate", "specific_rate_below", "to_tuples"]

N_PARAMETERS = 5
# log SFR - log M when both are uniform, in -50..0 and 9..12
_LOG_SFR, _LOG_MASS = (-50.0, 0.0), (9.0, 12.0)
_FRACTIONS = [percent / 100 for percent in PERCENT]
_EDGE = 1e-9
_ROWS = 2048


def to_tuples(z: Tensor, ends: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """GP-SFH tuples (N, 6) and [M/H] (N,) between `ends`, float64, of parameters (N, 5)."""
    unit = torch.special.ndtr(z.double()).clamp(_EDGE, 1 - _EDGE)
    stick = 1 - (1 - unit[:, :3]) ** (1 / torch.tensor([3.0, 2.0, 1.0], dtype=unit.dtype))
    times = 1 - (1 - stick).cumprod(1)
    ssfr = specific_rate(unit[:, 3])
    mass = torch.full_like(ssfr, 10.0)
    low, high = ends
    parts = [mass, ssfr + mass, torch.full_like(mass, 3.0), *times.unbind(1)]
    return torch.stack(parts, 1), low + (high - low) * unit[:, 4]


def from_tuples(tuples: Tensor, metallicity: Tensor, ends: tuple[float, float]) -> Tensor:
    """Inverse of `to_tuples`."""
    times = tuples[:, 3:]
    before = torch.cat([torch.zeros_like(times[:, :1]), times[:, :-1]], 1)
    stick = (times - before) / (1 - before)
    unit = 1 - (1 - stick) ** torch.tensor([3.0, 2.0, 1.0], dtype=tuples.dtype)
    low, high = ends
    rest = [specific_rate_below(tuples[:, 1] - tuples[:, 0]), (metallicity - low) / (high - low)]
    return torch.special.ndtri(torch.cat([unit, torch.stack(rest, 1)], 1).clamp(_EDGE, 1 - _EDGE))


def quantities(z: Tensor, ends: tuple[float, float]) -> Tensor:
    """Formation times in Gyr and [M/H], (N, 10), of parameters (N, 5).

    NaN where parameters far out in the prior make a history without mass.
    """
    parts = []
    for some in z.split(_ROWS):
        tuples, metallicity = to_tuples(some, ends)
        parts.append(torch.cat([formation_times(history_of(tuples), _FRACTIONS), metallicity[:, None]], 1))
    return torch.cat(parts)


def specific_rate_below(x: Tensor) -> Tensor:
    """Prior probability of log SFR - log M below x: the integral of a trapezium."""
    low, width, narrow = _LOG_SFR[0] - _LOG_MASS[1], _LOG_SFR[1] - _LOG_SFR[0], _LOG_MASS[1] - _LOG_MASS[0]
    place = (x - low).clamp(0, width + narrow)
    ramp = place.clamp(max=narrow) ** 2 / 2 + narrow * (place - narrow).clamp(0, width - narrow)
    last = (place - width).clamp(min=0)
    return (ramp + narrow * last - last**2 / 2) / (width * narrow)


def specific_rate(unit: Tensor) -> Tensor:
    """Inverse of `specific_rate_below`."""
    low, width, narrow = _LOG_SFR[0] - _LOG_MASS[1], _LOG_SFR[1] - _LOG_SFR[0], _LOG_MASS[1] - _LOG_MASS[0]
    area = unit * width * narrow
    first = (2 * area).sqrt()
    middle = narrow / 2 + area / narrow
    last = width + narrow - (2 * (width * narrow - area)).clamp(min=0).sqrt()
    return low + torch.where(first < narrow, first, torch.where(middle < width, middle, last))
