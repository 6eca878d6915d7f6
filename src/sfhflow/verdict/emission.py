r"""Emission that the model does not know: strong lines that were not masked, and lines broader than the masks.

A line of profile *p* at a known wavelength is sought in the residuals by the matched filter

.. math:: z = \sum w\, r\, p / \sqrt{\textstyle\sum w\, p^2},

which is the significance of its flux; the score is the largest over lines and widths.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from sfhflow.grid import C_KMS, LogGrid
from sfhflow.lines import EMISSION_LINES
from sfhflow.verdict.misfit import Residual

__all__ = ["emission_lines", "strong_profiles"]

_WIDTHS_KMS = (120.0, 300.0, 1000.0)
_IGNORED = ("NaD2", "NaD1")


def emission_lines(fit: Residual, grid: LogGrid) -> Tensor:
    """Significance of the most significant line."""
    profiles = strong_profiles(grid).to(fit.weight.device)
    flux = (fit.weight * fit.residual) @ profiles.T
    information = fit.weight @ profiles.square().T
    # profiles of which less than a thousandth of the light is observed would divide nothing by nothing
    seen = (fit.ivar > 0).float() @ profiles.square().T
    z = torch.where(seen > 1e-3 * profiles.square().sum(-1), flux / information.sqrt().clamp_min(1e-6), 0.0)
    return z.amax(-1).clamp_min(1e-3)


@lru_cache(maxsize=4)
def strong_profiles(grid: LogGrid) -> Tensor:
    """Gaussian profiles of unit height of the strong lines inside the grid, in three widths, shape (3 L, P)."""
    centres = np.array([centre for name, centre in EMISSION_LINES.items() if name not in _IGNORED])
    centres = centres[(centres > grid.low) & (centres < grid.high)]
    velocity = C_KMS * np.log(grid.wavelength / centres[:, None])
    profiles = np.exp(-0.5 * (velocity / np.array(_WIDTHS_KMS)[:, None, None]) ** 2)
    return torch.tensor(profiles.reshape(-1, grid.n_pixels), dtype=torch.float32)
