"""Can this answer be trusted?  Scores of how much a spectrum looks like what the model was trained on.

Each score is a number whose distribution on clean simulations is known; a threshold at a high quantile of that
distribution is stored with the model.  A score above its threshold becomes a named reason, and an answer with
any reason is not ok.

* ``bad_fit``: chi squared per pixel of the weighted projection on the model's principal components;
* ``outside_training``: mean squared principal-component coefficient in units of the prior's spread;
* ``high_redshift``: one over the age of the Universe in Gyr, beyond the range of the prior;
* ``uninformative``: how close the coefficients' posterior is to their prior (a spectrum that says nothing).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sfhflow.observation import Observation
from sfhflow.projection import Projection, Projector

__all__ = ["REASONS", "Thresholds", "Verdict", "calibrate", "judge", "scores"]

Thresholds = Mapping[str, float]

REASONS = {
    "bad_fit": "no mix of stellar populations the model knows reproduces the spectrum",
    "outside_training": "the spectrum is unlike those the model was trained on",
    "high_redshift": "the Universe was younger than in any galaxy the model was trained on",
    "sigma_conflict": "the spectrum and the given velocity dispersion disagree",
    "uninformative": "the spectrum adds almost nothing to the prior (too noisy or too short)",
}
"""What every reason of a verdict means, in plain words."""

FALSE_ALARMS = 0.01
"""Share of clean simulations that raise any alarm."""


@dataclass(frozen=True)
class Verdict:
    """Whether an answer can be trusted, and why not.

    Attributes
    ----------
    ok : bool
        No reason for doubt was found.
    reasons : tuple of str
        Names of the scores above their thresholds.
    scores : dict
        All scores, each divided by its threshold: above one is an alarm.
    """

    ok: bool
    reasons: tuple[str, ...]
    scores: dict[str, float]

    @property
    def text(self) -> str:
        """The verdict in plain words, with every reason for doubt."""
        if self.ok:
            return "Verdict: no reason for doubt found."
        reasons = "; ".join(REASONS.get(name, name) for name in self.reasons)
        return f"Verdict: DO NOT TRUST this result: {reasons}."

    def with_score(self, name: str, score: float) -> Verdict:
        """Add a score, which is an alarm above one."""
        return _verdict({**self.scores, name: score})


@torch.no_grad()
def scores(
    projector: Projector, observation: Observation, projection: Projection | None = None
) -> dict[str, Tensor]:
    """Raw scores, each of shape (N,); large is suspicious.  `projection` if it is known already."""
    projection = projector.project(observation) if projection is None else projection
    informed = 1 - projection.sigma**2
    weighted = (informed * projection.coefficients**2).sum(-1) / informed.sum(-1).clamp_min(1e-3)
    return {
        "bad_fit": projection.chi2,
        "outside_training": weighted,
        "high_redshift": 1 / observation.age_of_universe,
        # information of the data in nats, turned round so that a large score means little of it
        "uninformative": 1 / (1e-3 - projection.sigma.log().sum(-1)),
    }


def calibrate(clean: Mapping[str, Tensor]) -> dict[str, float]:
    """Thresholds that `FALSE_ALARMS` of clean simulations exceed in any score, sharing it equally."""
    level = 1 - FALSE_ALARMS / len(clean)
    return {name: float(torch.quantile(values.double(), level)) for name, values in clean.items()}


def judge(raw: Mapping[str, float], thresholds: Thresholds) -> Verdict:
    """Compare the scores of one spectrum with the thresholds."""
    return _verdict({name: raw[name] / limit for name, limit in thresholds.items()})


def _verdict(relative: dict[str, float]) -> Verdict:
    # written so that a score that is not a number is an alarm
    reasons = tuple(name for name, value in relative.items() if not value <= 1.0)
    return Verdict(not reasons, reasons, relative)
