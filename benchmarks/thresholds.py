"""Set the standards of a model's verdict anew (critic, limits, quantiles of the prior), without training it.

    python -m benchmarks.thresholds MODEL [--out MODEL_DIR] [-n 20000] [--seed 0]

MODEL is a name or folder; the result replaces it unless --out names another folder.  The simulations are those of
the configuration in its card, and the same that the end of a training run makes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from sfhflow import load_model
from sfhflow.config import Config
from sfhflow.model import shipped_models
from sfhflow.train import stream_seed
from sfhflow.verdict.limits import SNR_NODES
from sfhflow.verdict.standards import set_standards


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--out", type=Path)
    parser.add_argument("-n", type=int)
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args()
    started = time.monotonic()
    model = load_model(arguments.model)
    config = Config.model_validate(model.card["config"])
    n = config.plan.n_thresholds if arguments.n is None else arguments.n
    seed = stream_seed(config.plan.seed if arguments.seed is None else arguments.seed, "thresholds", 0)
    # as at the end of a training run, and twice as fast
    model.network.encoder.sum_dtype = torch.float32
    standards = set_standards(model.network.encoder, config.simulator(), n=n, seed=seed)
    model.thresholds, model.critic, model.prior_quantiles = standards.limits, standards.critic, standards.prior
    model.save(arguments.out or shipped_models().get(arguments.model, Path(arguments.model)))
    print(f"S/N                         {'  '.join(f'{node:8.0f}' for node in SNR_NODES)}")
    limits = standards.limits
    for kind, curves in (("alarm", limits.alarm), ("refusal", limits.refusal)):
        for name, values in curves.items():
            print(f"{kind:8s} {name:18s} {'  '.join(f'{value:8.3g}' for value in values)}")
    print("powers", ", ".join(f"{name} {power:.2g}" for name, power in limits.steepness.items()))
    print(f"{n} simulations for each of three sets, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
