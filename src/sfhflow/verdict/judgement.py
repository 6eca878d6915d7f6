r"""Can this answer be trusted?  Scores of how much a spectrum looks like what the model was trained on.

Each score is a positive number, large where something is wrong.  What clean spectra reach depends on their
signal-to-noise ratio *s* (bright ones show the mismatch of the templates), so the limits are curves, linear in
ln *s* between nodes, and a score *x* is given as a fraction of its limit: above one it is a reason for doubt.
`sfhflow.verdict.limits` explains the limits.  ``template_mismatch`` is the largest score in units of the limits of
an alarm; all others are in units of the limits of a refusal.  ``uninformative`` has a limit by definition.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from sfhflow.encoder import Encoder
from sfhflow.grid import LogGrid
from sfhflow.observation import Observation
from sfhflow.projection import Projection
from sfhflow.verdict.critic import Critic
from sfhflow.verdict.emission import emission_lines
from sfhflow.verdict.faults import FAULTS
from sfhflow.verdict.limits import Limits, limit_at
from sfhflow.verdict.measured import uninformative
from sfhflow.verdict.misfit import bad_fit, bad_window, misfit, noise_scale, outside_training, residual_of
from sfhflow.verdict.reasons import Verdict, verdict_of

__all__ = ["judge", "score_names", "scores", "signal_to_noise"]


@torch.no_grad()
def scores(
    encoder: Encoder,
    observation: Observation,
    *,
    grid: LogGrid,
    critic: Critic | None = None,
    projection: Projection | None = None,
) -> dict[str, Tensor]:
    """Raw scores, each of shape (N,), positive; large is suspicious.

    Parameters
    ----------
    encoder : Encoder
        Of the model.
    observation : Observation
        Spectra.
    grid : LogGrid
        Their wavelengths.
    critic : Critic, optional
        Gives the scores of `FAULTS`, as likelihood ratios to the power 0.1.
    projection : Projection, optional
        Of these spectra, if it is known already.
    """
    projection = encoder.project(observation) if projection is None else projection
    fit = residual_of(encoder, observation, projection)
    least, most = noise_scale(fit)
    raw = {
        "bad_fit": bad_fit(fit),
        "bad_window": bad_window(fit),
        "outside_training": outside_training(projection),
        "emission_lines": emission_lines(fit, grid),
        "errors_too_small": least,
        "errors_too_large": 1 / most,
        "misfit": misfit(projection),
        "uninformative": uninformative(projection),
        "high_redshift": 1 / observation.age_of_universe,
    }
    if critic is not None:
        ratios = critic(encoder.scaled(encoder.features(observation, projection)))
        raw |= {name: (0.1 * ratios[:, k]).exp() for k, name in enumerate(FAULTS)}
    return raw


def judge(raw: Mapping[str, Tensor], snr: Tensor, limits: Limits) -> list[Verdict]:
    """Compare the scores of spectra of signal-to-noise ratios (N,) with the limits."""
    relative, alarms = {}, []
    for name in (name for name in limits.refusal if name in raw):
        power = limits.steepness[name]
        relative[name] = (raw[name] / limit_at(limits.refusal[name], snr)) ** power
        alarms.append((raw[name] / limit_at(limits.alarm[name], snr)) ** power)
    relative.pop("misfit", None)
    if alarms:
        relative["template_mismatch"] = torch.stack(alarms).amax(0)
    else:
        # without limits nothing is known to be right
        relative["no_standards"] = torch.full_like(snr, math.inf)
    relative["uninformative"] = raw["uninformative"]
    columns = {name: values.tolist() for name, values in relative.items()}
    return [verdict_of({name: values[row] for name, values in columns.items()}) for row in range(len(snr))]


def score_names(limits: Limits) -> list[str]:
    """Names of the scores of a verdict that limits give."""
    return [*(name for name in limits.refusal if name != "misfit"), "template_mismatch", "uninformative"]


def signal_to_noise(observation: Observation) -> Tensor:
    """Mean signal-to-noise ratio (N,) of the good pixels."""
    snr = observation.flux.clamp_min(0) * observation.ivar.sqrt()
    return snr.sum(-1) / (observation.ivar > 0).sum(-1).clamp_min(1)
