"""Can this answer be trusted?  Named reasons for doubt, with scores; `sfhflow.verdict.judgement` is the way in.

`reasons` says what they mean, `misfit`, `emission` and `critic` score a spectrum, `limits` tells what is too much,
and `standards` sets the limits of a model on simulations.
"""

from sfhflow.verdict.critic import Critic
from sfhflow.verdict.judgement import judge, score_names, scores, signal_to_noise
from sfhflow.verdict.limits import FALSE_ALARMS, Limits
from sfhflow.verdict.reasons import CAUTIONS, REASONS, Verdict

__all__ = [
    "CAUTIONS",
    "FALSE_ALARMS",
    "REASONS",
    "Critic",
    "Limits",
    "Verdict",
    "judge",
    "score_names",
    "scores",
    "signal_to_noise",
]
