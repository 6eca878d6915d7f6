"""Calibration of a model on fresh simulations, by signal-to-noise ratio.

    python -m benchmarks.holdout [--model NAME_OR_DIR] [-n 3000] [--out FILE.json]

Simulates from the model's own configuration with seeds that training never uses, and prints for bins of the
mean signal-to-noise ratio per pixel: coverage of the central 50, 68 and 95 % intervals, R2 of the medians, the
median width of the 68 % interval, and the mean log-probability of the truth.
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from sfhflow import Model, load_model
from sfhflow.config import Config
from sfhflow.diagnostics import coverage, r2, ranks, sharpness
from sfhflow.observation import Observation
from sfhflow.parameters import FRACTIONS
from sfhflow.simulator import Simulation, Simulator
from sfhflow.train import stream_seed

NAMES = (*(f"t{round(100 * f)}" for f in FRACTIONS if 0 < f <= 0.9), "mh")
EDGES = (3.0, 10.0, 30.0, 100.0, 300.0)
LEVELS = np.array([0.5, 0.68, 0.95])
BATCH = 512
N_SAMPLES = 256


def signal_to_noise(observation: Observation) -> torch.Tensor:
    """Mean signal-to-noise ratio per observed pixel, shape (N,)."""
    good = observation.ivar > 0
    return (observation.flux * observation.ivar.sqrt()).sum(-1) / good.sum(-1)


def simulate_bin(simulator: Simulator, low: float, high: float, n: int, seed: int) -> list[Simulation]:
    """Batches in which at least `n` galaxies in all have a signal-to-noise ratio in [low, high)."""
    batches, found, index = [], 0, 0
    while found < n:
        batch = simulator.sample(BATCH, seed=stream_seed(seed, "test", index))
        snr = signal_to_noise(batch.observation)
        keep = (snr >= low) & (snr < high)
        observation = batch.observation.rows(keep)
        galaxy = type(batch.galaxy)(*(tensor[keep] for tensor in batch.galaxy))
        batches.append(Simulation(batch.u[keep], observation, batch.noiseless[keep], galaxy))
        found, index = found + int(keep.sum()), index + 1
    return batches


def headline(times: torch.Tensor, metallicity: torch.Tensor, age: torch.Tensor) -> np.ndarray:
    """The ten headline quantities (..., 10): formation times over the age of the Universe, and [M/H]."""
    columns = [i for i, f in enumerate(FRACTIONS) if 0 < f <= 0.9]
    return torch.cat([times[..., columns] / age[..., None], metallicity[..., None]], -1).numpy()


def evaluate(model: Model, batches: list[Simulation]) -> dict[str, object]:
    """Coverage, R2, width and log-probability over batches of one bin."""
    samples, truth, log_prob = [], [], []
    # galaxies inferred with one seed share their noise, and so the error of their quantiles
    for seed, batch in enumerate(batches):
        age = batch.observation.age_of_universe
        log_prob.append(model.log_prob(batch.u, batch.observation))
        truth.append(headline(batch.galaxy.times, batch.galaxy.metallicity, age.double()))
        for row, galaxy in enumerate(model.sample(batch.observation, n_samples=N_SAMPLES, seed=seed)):
            own_age = age[row].double().expand(N_SAMPLES)
            samples.append(headline(galaxy.times, galaxy.metallicity, own_age))
    drawn, true = np.stack(samples), np.concatenate(truth)
    return {
        "n": len(true),
        "coverage": coverage(ranks(drawn, true), LEVELS).tolist(),
        "r2": r2(np.median(drawn, axis=1), true).tolist(),
        "width": sharpness(drawn).tolist(),
        "log_prob": float(torch.cat(log_prob).mean()),
    }


def print_bin(low: float, high: float, result: dict[str, object]) -> None:
    """Print the results of one bin of signal-to-noise ratio."""
    print(f"\nS/N {low:g}-{high:g}: {result['n']} galaxies, mean log-probability {result['log_prob']:.2f} nats")
    print("               " + " ".join(f"{name:>6s}" for name in NAMES))
    for level, values in zip(LEVELS, result["coverage"], strict=True):  # type: ignore[call-overload]
        print(f"coverage {100 * level:3.0f} % " + " ".join(f"{100 * v:6.1f}" for v in values))
    for key in ("r2", "width"):
        print(f"{key:14s} " + " ".join(f"{v:6.3f}" for v in result[key]))  # type: ignore[attr-defined]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("-n", type=int, default=3000, help="galaxies in each bin")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    config = Config.model_validate(model.card["config"])
    results = {}
    for low, high in pairwise(EDGES):
        batches = simulate_bin(config.simulator(), low, high, arguments.n, config.plan.seed)
        results[f"{low:g}-{high:g}"] = evaluate(model, batches)
        print_bin(low, high, results[f"{low:g}-{high:g}"])
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
