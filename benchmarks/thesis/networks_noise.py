"""Stage: the thesis' own networks with white noise of S/N 100, 30 and 10 a pixel.

The noise-free encoder (stage `encoder`) is trained further on noisy spectra, a quarter as long as it was trained
before, then encodes noisy spectra, of which the thesis' flow (stage `posterior`) learns the posterior.  As there,
the spectra are those of the thesis' 15 metallicities, and the noise of what is encoded is drawn once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.markdown import table
from benchmarks.thesis.context import Context
from benchmarks.thesis.dataset import Dataset
from benchmarks.thesis.encoder import PLANS, Latents, Plan, Training, encode, load_encoder, plan_of
from benchmarks.thesis.measure import LEVELS
from benchmarks.thesis.noise import LEVELS_OF_NOISE
from benchmarks.thesis.ours import SHOWN
from benchmarks.thesis.posterior import Training as FlowTraining
from benchmarks.thesis.posterior import judged, sampled
from sfhflow.diagnostics import coverage, ranks

__all__ = ["run", "section"]


def run(context: Context) -> dict[str, Any]:
    """Train, encode, train the flow, test, at each level of noise."""
    data, before = context.dataset("discrete"), plan_of(context)
    plan = replace(before, epochs=max(1, before.epochs // 4), n_encoded=before.n_encoded // 2)
    result: dict[str, Any] = {}
    for case, snr in LEVELS_OF_NOISE.items():
        # every level has a folder of its own for its weights
        inside = replace(context, folder=context.folder / f"networks-{case}")
        latents, minutes = _latents(context, inside, data, plan, 1 / snr)
        result[case] = {"snr": snr, "encoder_minutes": minutes, **_posterior(inside, data, latents)}
    return {"epochs": plan.epochs, "spectra_seen": plan.epochs * plan.batches * plan.batch_size, **result}


def _latents(context: Context, inside: Context, data: Dataset, plan: Plan, noise: float) -> tuple[Latents, float]:
    """Latent numbers of noisy spectra, by an encoder that has learned about noise."""
    training = Training(data, plan, inside, noise=noise, start=load_encoder(context))
    training.loop()
    return encode(training.best.eval(), data, plan, context.device, noise=noise), training.minutes


def _posterior(inside: Context, data: Dataset, latents: Latents) -> dict[str, Any]:
    rows = torch.cat([latents.train, latents.validation])
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(inside.seed))]
    training = FlowTraining(latents.values[rows], data.truth[rows], inside.size(256, 256, 64), inside)
    training.loop(inside.size(60, 3, 2))
    test = latents.test[: inside.size(1000, 100, 20)]
    x, truth = latents.values[test], data.truth[test]
    samples, _ = sampled(training.best.sampler, x, inside.size(300, 100, 50), inside.seed)
    found = judged(samples, truth.numpy(), training.best.log_prob(theta=truth, x=x))
    return {**found, "coverage": _coverage(samples, truth), "n_training": len(rows), "n_test": len(test)}


def _coverage(samples: np.ndarray, truth: Tensor) -> dict[str, float]:
    """How often central intervals hold the truth, over all quantities."""
    inside = coverage(ranks(samples, truth.double().numpy()), LEVELS).mean(1)
    return dict(zip((f"{level:g}" for level in LEVELS), inside.round(4).tolist(), strict=True))


def section(result: dict[str, Any]) -> list[str]:
    """Lines of the page."""
    levels = [name for name in LEVELS_OF_NOISE if name in result]
    first = result[levels[0]]
    lines = [
        f"The encoder, trained further on {result['spectra_seen']:,} noisy spectra ({result['epochs']} epochs), "
        f"and the flow, on the latent numbers of {first['n_training']:,}; R2 of the medians and coverage, pooled "
        f"over the ten quantities, of {first['n_test']:,} test galaxies. Our answer's numbers and the best "
        "possible ones are in the section after the next.",
        "",
    ]
    if result["epochs"] < PLANS["thesis"].epochs // 4:
        lines += [
            "These were trained on a processor, from an encoder that was trained there at a small scale "
            "(`PLANS` in `benchmarks/thesis/encoder.py`), not from the one above at the scale of the thesis.",
            "",
        ]
    rows = []
    for name in levels:
        row = result[name]
        cells = [str(row["snr"]), *(f"{row['r2'][key]:.3f}" for key in SHOWN)]
        rows.append([*cells, *(f"{100 * value:.1f}" for value in row["coverage"].values())])
    return lines + table(["S/N", *SHOWN, *(f"in {100 * level:g} %" for level in LEVELS)], rows)
