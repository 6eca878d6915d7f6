"""Reasons not to trust an answer, in plain words, and the verdict that lists those that were found."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CAUTIONS", "REASONS", "Verdict", "verdict_of"]

REASONS = {
    "bad_fit": "no mix of stellar populations the model knows reproduces the spectrum",
    "bad_window": "a stretch of the spectrum is not reproduced (sky, a bad reduction): mask it and fit again",
    "outside_training": "the spectrum is unlike those the model was trained on",
    "emission_lines": "emission lines are left in the spectrum, or are broader than their masks",
    "strong_emission": "the gas outshines all that the model was trained on: lines are left beside the masks",
    "errors_too_small": "the spectrum is noisier than its errors say",
    "errors_too_large": "the spectrum is less noisy than its errors say",
    "wrong_redshift": "the features are not where the redshift puts them",
    "wrong_medium": "the features are shifted like air wavelengths taken for vacuum ones, or the reverse",
    "non_stellar": "part of the continuum is not that of stars (an active nucleus, or badly subtracted sky)",
    "flux_calibration": "the flux calibration has a step or a warp beyond what the model allows for",
    "not_a_galaxy": "the spectrum looks like a star, a quasar or noise rather than a galaxy",
    "high_redshift": "the Universe was younger than in any galaxy the model was trained on",
    "unrefined": "too few samples agree with the true likelihood to represent it",
    "sigma_conflict": "the spectrum and the given velocity dispersion disagree",
    "uninformative": "the spectrum adds almost nothing to the prior (too noisy or too short)",
    "no_standards": "the model has no limits for its verdict: set them with benchmarks.thresholds",
    "template_mismatch": "it differs from simulated galaxies by a little, perhaps because templates are imperfect",
}
"""What every reason of a verdict means, in plain words."""

CAUTIONS = frozenset({"bad_window", "template_mismatch", "uninformative"})
"""Reasons that ask for care; the others say that the answer must not be used."""

_SPECIFIC = frozenset(
    {"emission_lines", "strong_emission", "wrong_redshift", "non_stellar", "flux_calibration", "not_a_galaxy"}
)
# reasons that are left out where one of others is found
_LESS_CLEAR = {
    "template_mismatch": frozenset(REASONS) - {"template_mismatch", "uninformative", "sigma_conflict"},
    "outside_training": _SPECIFIC,
}


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
        if CAUTIONS.issuperset(self.reasons):
            return f"Verdict: use with CAUTION: {reasons}."
        return f"Verdict: DO NOT TRUST this result: {reasons}."

    def with_score(self, name: str, score: float) -> Verdict:
        """Add a score, which is an alarm above one."""
        return verdict_of({**self.scores, name: score})


def verdict_of(relative: dict[str, float]) -> Verdict:
    """Name the scores above one; those that say little only where nothing says more."""
    # written so that a score that is not a number is an alarm
    reasons = [name for name, value in relative.items() if not value <= 1.0]
    for vague, clearer in _LESS_CLEAR.items():
        if clearer.intersection(reasons):
            reasons = [name for name in reasons if name != vague]
    return Verdict(not reasons, tuple(reasons), relative)
