"""False alarms and detected faults of a model's verdict, on simulations that set none of its standards.

    python -m benchmarks.verdict [--model MODEL] [-n 4000] [--out FILE.json]

Alarms on clean mocks of the model's own configuration, by signal-to-noise ratio (those that measure too little
for an answer are counted apart: for them `uninformative` is right).  Then, at S/N 20, each injected fault: area
under the ROC curve of the largest score and of the score of that name, and the shares that raise any alarm and
that of that name.  Stars are those that the critic was not taught.  The last lines relate what a spectrum measures
to the information that its posterior gained, and the cost of verdict and information to that of inference.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sfhflow import Model, load_model
from sfhflow.config import Config
from sfhflow.information import gain_in_bits
from sfhflow.observation import Observation
from sfhflow.simulator import Simulation, Simulator
from sfhflow.verdict import Verdict, judge, scores, signal_to_noise
from sfhflow.verdict.emission import strong_profiles
from sfhflow.verdict.faults import Faults, with_flux
from sfhflow.verdict.measured import LEAST_MEASURED

SEED = 2_000_000_000
SNR = 20.0
BINS = (0.0, 3.0, 8.0, 20.0, 50.0, 120.0, np.inf)
HISTORY = (*(f"t{p}" for p in range(10, 91, 10)), "mh")


def verdicts(model: Model, data: Observation) -> list[Verdict]:
    """Judge simulated spectra."""
    raw = scores(model.network.encoder, data, grid=model.grid, critic=model.critic)
    return judge(raw, signal_to_noise(data), model.thresholds)


def batches(simulator: Simulator, n: int, seed: int) -> list[Simulation]:
    """Simulate n galaxies in batches of 500."""
    return [simulator.sample(500, seed=seed + part) for part in range(n // 500)]


def clean_alarms(model: Model, simulator: Simulator, n: int) -> dict[str, Any]:
    """Shares of clean mocks that raise alarms."""
    found, snr = [], []
    for batch in batches(simulator, n, SEED):
        found += verdicts(model, batch.observation)
        snr.append(signal_to_noise(batch.observation))
    ratio = torch.cat(snr).numpy()
    alarm = np.array([bool(set(v.reasons) - {"uninformative"}) for v in found])
    empty = np.array(["uninformative" in v.reasons for v in found])
    names = [name for v in found for name in v.reasons]
    result: dict[str, Any] = {"n": len(found), "alarms": alarm.mean(), "uninformative": empty.mean()}
    result["alarms_of_informative"] = alarm[~empty].mean()
    result["reasons"] = {name: names.count(name) / len(found) for name in sorted(set(names))}
    for low, high in pairwise(BINS):
        inside = (ratio >= low) & (ratio < high)
        result[f"S/N {low:g}-{high:g}"] = [int(inside.sum()), alarm[inside].mean(), empty[inside].mean()]
    return result


def injected(grid_faults: Faults) -> dict[str, tuple[str, Callable[[Simulation], Observation]]]:
    """Faults by label: the name of the reason that is right, and how to make them."""
    faults, signs = grid_faults, grid_faults._signs

    def changed(change: Callable[[Tensor], Tensor]) -> Callable[[Simulation], Observation]:
        return lambda batch: with_flux(batch.observation, batch.noiseless, change(batch.noiseless))

    def stepped(batch: Simulation) -> Observation:
        flux, good = batch.noiseless, batch.observation.ivar > 0
        return with_flux(batch.observation, flux, faults.stepped(flux, 0.2 * signs(len(flux)), good))

    def errors(factor: float) -> Callable[[Simulation], Observation]:
        return lambda batch: batch.observation._replace(ivar=batch.observation.ivar / factor**2)

    def constant(value: float, n: int) -> Tensor:
        return torch.full((n,), value)

    return {
        "redshift off by 1000 km/s": (
            "wrong_redshift",
            changed(lambda f: faults.shifted(f, 1000.0 * signs(len(f)))),
        ),
        "power law, half the light": (
            "non_stellar",
            changed(lambda f: faults.diluted(f, constant(0.5, len(f)), 2 * faults._uniform(len(f)) - 2)),
        ),
        "errors 3 x too small": ("errors_too_small", errors(1 / 3)),
        "errors 3 x too large": ("errors_too_large", errors(3.0)),
        "step of 20 %": ("flux_calibration", stepped),
        "tilt of 20 % end to end": ("flux_calibration", changed(lambda f: tilted(f, 0.2 * signs(len(f))))),
        "single star (held out)": ("not_a_galaxy", changed(lambda f: faults.stars(len(f)))),
        "quasar": ("not_a_galaxy", changed(lambda f: faults.quasars(len(f)))),
        "featureless": ("not_a_galaxy", changed(lambda f: faults.featureless(len(f)))),
        "flat": ("not_a_galaxy", changed(torch.ones_like)),
        "pure noise": ("uninformative", changed(torch.zeros_like)),
        "gas too strong": ("strong_emission", changed(faults.strong_emission)),
        "air/vacuum swap": ("wrong_medium", changed(faults.wrong_medium)),
    }


def tilted(flux: Tensor, size: Tensor) -> Tensor:
    """Factor that changes linearly by `size` (N,) from end to end."""
    return flux * (1 + size[:, None] * torch.linspace(-0.5, 0.5, flux.shape[-1]))


def with_lines(batch: Simulation, faults: Faults) -> Observation:
    """Strong lines, unmasked: H beta of 3 to 20 Angstrom, the others 0.3 to 3 times as strong, 120 km/s wide."""
    profiles = strong_profiles(faults.grid)
    narrow = profiles[: len(profiles) // 3]
    n = len(batch.noiseless)
    width = 3.0 * (20.0 / 3.0) ** faults._uniform(n)[:, None]
    ratio = 0.3 * 10.0 ** torch.rand(n, len(narrow), generator=faults.generator)
    # 120 km/s are about 5 Angstrom of equivalent width for a peak of one
    return with_flux(batch.observation, batch.noiseless, batch.noiseless + (width / 5.0 * ratio) @ narrow)


def detection(model: Model, simulator: Simulator, n: int) -> dict[str, dict[str, float]]:
    """Each fault at S/N 20 against clean mocks of the same kind."""
    mocks = replace(simulator, noise=replace(simulator.noise, snr_range=(SNR, 1.0001 * SNR)))
    exact = replace(mocks, instrument=replace(mocks.instrument, max_shift_kms=20.0))
    open_lines = replace(mocks, emission=replace(mocks.emission, mask_probability=0.0))
    faults = Faults(simulator.grid, torch.Generator().manual_seed(SEED), held_out_stars=True)
    cases = [(mocks, label, *case) for label, case in injected(faults).items()]
    swap = injected(faults)["air/vacuum swap"]
    cases.append((exact, "air/vacuum swap, redshifts within 20 km/s", *swap))
    cases.append((open_lines, "strong lines, unmasked", "emission_lines", lambda b: with_lines(b, faults)))
    result = {}
    known: dict[int, tuple[list[Simulation], list[Verdict]]] = {}
    for source, label, name, make in cases:
        if id(source) not in known:
            drawn = batches(source, n, SEED + 1_000_000)
            known[id(source)] = drawn, [v for b in drawn for v in verdicts(model, b.observation)]
        drawn, clean = known[id(source)]
        result[label] = compared(clean, [v for b in drawn for v in verdicts(model, make(b))], name)
    return result


def compared(clean: list[Verdict], faulty: list[Verdict], name: str) -> dict[str, float]:
    """Areas under the ROC curves and detected shares."""
    areas = [
        area([largest(v) for v in clean], [largest(v) for v in faulty]),
        area([v.scores[name] for v in clean], [v.scores[name] for v in faulty]),
    ]
    detected = np.mean([not v.ok for v in faulty]), np.mean([name in v.reasons for v in faulty])
    keys = ("auc_any", "auc_named", "detected", "named", "false_alarms")
    values = (*areas, *detected, np.mean([not v.ok for v in clean]))
    return {"reason": name, **dict(zip(keys, map(float, values), strict=True))}  # type: ignore[dict-item]


def largest(verdict: Verdict) -> float:
    """Largest score relative to its limit."""
    return max(verdict.scores.values())


def area(clean: list[float], faulty: list[float]) -> float:
    """Area under the ROC curve: the probability that a faulty spectrum scores higher than a clean one."""
    ordered, faulty_scores = np.sort(clean), np.array(faulty)
    below = np.searchsorted(ordered, faulty_scores) + np.searchsorted(ordered, faulty_scores, side="right")
    return float(below.mean() / (2 * len(ordered)))


def information(model: Model, simulator: Simulator, n: int) -> list[tuple[float, float]]:
    """Mean information gain (bits) of mocks around the least that a spectrum must measure."""
    faint = replace(simulator, noise=replace(simulator.noise, snr_range=(0.7, 8.0)))
    data = faint.sample(n, seed=SEED + 2_000_000).observation
    measured = LEAST_MEASURED / np.array([v.scores["uninformative"] for v in verdicts(model, data)])
    knots = np.array([model.prior_quantiles[name] for name in HISTORY])
    bits = []
    for galaxy, age in zip(model.sample(data, n_samples=500, seed=0), data.age_of_universe, strict=True):
        times = galaxy.times[:, 1:10].double() / age
        bits.append(gain_in_bits(torch.cat([times.T, galaxy.metallicity[None].double()]).numpy(), knots).mean())
    edges = np.array([2.0, 4.0, 6.0, 7.0, 9.0, 12.0])
    place = np.digitize(measured, edges)
    gains = np.array(bits)
    return [(float(edges[i]), float(np.median(gains[place == i + 1]))) for i in range(len(edges) - 1)]


def cost(model: Model, simulator: Simulator) -> dict[str, float]:
    """Milliseconds a galaxy, of 1000 samples: all of inference, and what verdict and information add."""
    data = simulator.sample(64, seed=SEED + 3_000_000).observation
    encoder = model.network.encoder
    knots = np.array(list(model.prior_quantiles.values()))
    columns = np.random.default_rng(0).random((len(knots), 1000))
    with torch.inference_mode():
        projection = encoder.project(data)
        parts: dict[str, Callable[[], object]] = {
            "inference": lambda: list(model.sample(data, n_samples=1000, seed=0)),
            "verdict": lambda: judge(
                scores(encoder, data, grid=model.grid, critic=model.critic, projection=projection),
                signal_to_noise(data),
                model.thresholds,
            ),
            "information": lambda: [gain_in_bits(columns, knots) for _ in range(len(data.flux))],
        }
        times = {}
        for name, run in parts.items():
            run()
            started = time.process_time()
            run()
            times[name] = 1e3 * (time.process_time() - started) / len(data.flux)
    return times


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("-n", type=int, default=4000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(arguments.model)
    simulator = Config.model_validate(model.card["config"]).simulator()
    model.network.encoder.sum_dtype = torch.float32
    clean = clean_alarms(model, simulator, arguments.n)
    print("clean mocks:")
    for key, value in clean.items():
        print(f"  {key:24s} {value}")
    faults = detection(model, simulator, arguments.n // 4)
    print(f"{'fault at S/N 20':44s} {'reason':18s} AUC any  named  detected  named  clean alarms")
    for label, r in faults.items():
        print(
            f"{label:44s} {r['reason']:18s} {r['auc_any']:7.3f} {r['auc_named']:6.3f} {r['detected']:9.3f} "
            f"{r['named']:6.3f} {r['false_alarms']:8.3f}"
        )
    bits = information(model, simulator, 400)
    print("measured from, median bits:", ", ".join(f"{low:g}: {gain:.2f}" for low, gain in bits))
    model.network.encoder.sum_dtype = torch.float64
    times = cost(model, simulator)
    print("ms a galaxy:", ", ".join(f"{name} {value:.2f}" for name, value in times.items()))
    if arguments.out:
        result = {"clean": clean, "faults": faults, "bits": bits, "cost_ms": times}
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
