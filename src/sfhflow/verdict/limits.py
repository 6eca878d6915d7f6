r"""Limits of the scores: as many false alarms as wanted, shared evenly over scores and signal-to-noise ratios.

Real galaxies differ from templates by as much as simulated ones at the upper end of the mismatch, so the shape
:math:`q_j(s)` of the limit of score *j* with the signal-to-noise ratio *s* is the 99 % quantile, in bins of *s*,
of simulations with that mismatch.  The limits of an alarm are

.. math:: T_j(s) = q_j(s)\, Q_j(p),

where :math:`Q_j(p)` is the quantile of :math:`x_j / q_j(s)` in ordinary simulations that the share *p* exceeds,
and *p*, the same for all scores, is such that one per cent of them raises any alarm at all.  An alarm has a name
of its own only above the limit of a refusal,

.. math:: R_j(s) = \max\{ T_j(s),\; q_j^{(2)}(s)\, Q_j(p) \},

with the shape of simulations whose mismatch is up to twice that: between the limits, template mismatch may be
all that is wrong.  Where noise dominates, the two are equal.

Scores of different kinds are made comparable by powers: :math:`(x / R)^{g_j}` with a :math:`g_j` such that
ordinary simulations exceed a score of *y* about :math:`y^{-4}` times as often as a score of one, in so far as
their 90 % quantile tells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["FALSE_ALARMS", "SNR_NODES", "Curves", "Limits", "Scored", "limit_at", "limits_of"]

FALSE_ALARMS = 0.01
"""Share of clean simulations that raise any alarm."""

SNR_NODES = (1.0, 3.0, 8.0, 20.0, 50.0, 120.0, 300.0)
"""Signal-to-noise ratios per pixel at which limits are stored; they are constant beyond the ends."""

Curves = Mapping[str, Sequence[float]]
"""Limits of each score at `SNR_NODES`."""


class Limits(NamedTuple):
    """Limits above which there is an alarm, and above which it is a refusal for the reason of that name.

    A score is the raw one, divided by a limit, to the power of its steepness.
    """

    alarm: Curves
    refusal: Curves
    steepness: Mapping[str, float]


Scored = tuple[Mapping[str, Tensor], Tensor]
"""Scores of N simulations by name, each of shape (N,), and their signal-to-noise ratios (N,)."""

_SHAPE_LEVEL = 0.99
# share of ordinary simulations whose scores fix the steepness
_ORDINARY = 0.1
_STEEPEST = 8.0
_MIN_IN_BIN = 100
_BISECTIONS = 40


def limit_at(nodes: Sequence[float], snr: Tensor) -> Tensor:
    """Limit (N,) at signal-to-noise ratios (N,), linear in their logarithm between the nodes."""
    place, x = torch.tensor(SNR_NODES).log(), snr.clamp(SNR_NODES[0], SNR_NODES[-1]).log()
    right = torch.searchsorted(place, x).clamp(1, len(place) - 1)
    part = (x - place[right - 1]) / (place[right] - place[right - 1])
    values = torch.tensor(nodes)
    return values[right - 1] * (1 - part) + values[right] * part


def limits_of(doubled: Scored, mismatched: Scored, clean: Scored) -> Limits:
    """Limits from simulations with twice the mismatch, with mismatch at the upper end, and ordinary ones."""
    shapes = {name: _shape(values, mismatched[1]) for name, values in mismatched[0].items()}
    wider = {name: _shape(values, doubled[1]) for name, values in doubled[0].items()}
    relative = torch.stack([clean[0][name] / limit_at(shapes[name], clean[1]) for name in shapes])
    share, factors = _factors(relative)
    ordinary = torch.quantile(relative.double(), 1 - _ORDINARY, dim=-1).tolist()
    steepness = {
        name: min(_STEEPEST, math.log(_ORDINARY / share) / max(4 * math.log(factor / value), 1e-3))
        for name, factor, value in zip(shapes, factors, ordinary, strict=True)
    }
    alarm = {name: [f * v for v in shapes[name]] for name, f in zip(shapes, factors, strict=True)}
    refusal = {
        name: [max(limit, f * v) for limit, v in zip(alarm[name], wider[name], strict=True)]
        for name, f in zip(shapes, factors, strict=True)
    }
    return Limits(alarm, refusal, steepness)


def _factors(relative: Tensor) -> tuple[float, list[float]]:
    """Share of each of the relative scores (J, N) above its level if `FALSE_ALARMS` exceed any; and the levels."""
    ordered = relative.sort(-1).values
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        share = 0.5 * (low + high)
        factor = ordered[:, round((1 - share) * (ordered.shape[1] - 1))]
        alarms = (relative > factor[:, None]).any(0).double().mean().item()
        low, high = (low, share) if alarms > FALSE_ALARMS else (share, high)
    levels = ordered[:, round((1 - low) * (ordered.shape[1] - 1))].tolist()
    return max(low, 1 / ordered.shape[1]), levels


def _shape(values: Tensor, snr: Tensor) -> list[float]:
    """Quantile of the scores around each node; a node with few simulations takes that of all."""
    nodes = torch.tensor(SNR_NODES)
    nearest = (snr.clamp_min(1e-3).log()[:, None] - nodes.log()).abs().argmin(-1)
    overall = torch.quantile(values.double(), _SHAPE_LEVEL)
    quantiles = []
    for node in range(len(nodes)):
        inside = values[nearest == node].double()
        quantiles.append(float(torch.quantile(inside, _SHAPE_LEVEL) if len(inside) >= _MIN_IN_BIN else overall))
    return quantiles
