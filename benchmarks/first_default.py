"""Held-out log-probability of the shipped model and of the first one that was shipped, for the same galaxies.

    python -m benchmarks.first_default [-n 4096] [--revision cd77de8] [--model NAME_OR_DIR] [--out FILE.json]

The first model is run by the code of its revision, which is taken from the history of this repository and runs in
a process of its own.  Galaxies are drawn twice: from the present simulator, and from that of the first model with
its own, easier nuisances and its own prior.  Neither model has seen them.  Densities are those of the isometric
log-ratios of the times and the logits of the other parameters, which both share.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.architectures import ROOT, signal_to_noise
from benchmarks.coordinates import COORDINATES
from sfhflow import Model, load_model
from sfhflow.config import Config
from sfhflow.observation import Observation
from sfhflow.train import stream_seed

FIRST = "cd77de8"
BINS = {
    "S/N 3 to 10": (3.0, 10.0),
    "10 to 30": (10.0, 30.0),
    "30 to 100": (30.0, 100.0),
    "above 100": (100.0, 1e9),
}
ISOMETRIC = COORDINATES["isometric"]
_PLACE, _CHUNK = 80_000_000, 512

# what the code of the old revision is asked to do: draw galaxies of its own, or none, and give densities
_OLD = """
import sys, torch
from safetensors.torch import load_file, save_file
from sfhflow.config import Config
from sfhflow.observation import Observation
from sfhflow import load_model
folder, n, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
model = load_model("default")
if n:
    simulator = Config.model_validate(model.card["config"]).simulator()
    parts = [simulator.sample(512, seed=seed + k) for k in range(n // 512)]
    data = {name: torch.cat([getattr(p.observation, name) for p in parts]) for name in Observation._fields}
    data["r"] = torch.cat([p.u for p in parts])
else:
    data = load_file(folder + "/galaxies.safetensors")
observation = Observation(*(data[name] for name in Observation._fields))
rows = range(0, len(data["r"]), 512)
with torch.no_grad():
    data["log_prob"] = torch.cat([
        model.log_prob(data["r"][i : i + 512].float(), observation.rows(slice(i, i + 512))) for i in rows
    ])
save_file({name: tensor.contiguous() for name, tensor in data.items()}, folder + "/answer.safetensors")
"""


def first_model(
    folder: Path, revision: str, galaxies: dict[str, Tensor] | None, n: int, seed: int
) -> dict[str, Tensor]:
    """Galaxies with the first model's log densities: those given, or `n` of its own simulator."""
    archive = subprocess.run(
        ["git", "archive", revision, "src"], cwd=ROOT, check=True, capture_output=True, timeout=60
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    if galaxies:
        save_file(galaxies, folder / "galaxies.safetensors")
    command = [sys.executable, "-c", _OLD, str(folder), str(0 if galaxies else n), str(seed)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(folder / "src")}, cwd=folder)
    return load_file(folder / "answer.safetensors")


def present_galaxies(model: Model, n: int) -> dict[str, Tensor]:
    """Galaxies of the model's own simulator, with isometric coordinates."""
    config = Config.model_validate(model.card["config"])
    simulator = config.simulator()
    seeds = [stream_seed(config.plan.seed, "test", _PLACE + k) for k in range(math.ceil(n / _CHUNK))]
    parts = [simulator.sample(_CHUNK, seed=seed) for seed in seeds]
    data = {name: torch.cat([getattr(p.observation, name) for p in parts]) for name in Observation._fields}
    return data | {"r": ISOMETRIC.there(torch.cat([p.u for p in parts]))}


@torch.no_grad()
def log_prob(model: Model, galaxies: dict[str, Tensor]) -> Tensor:
    """Log density of isometric coordinates that the present model gives to the truth."""
    observation = Observation(*(galaxies[name] for name in Observation._fields))
    u = ISOMETRIC.back(galaxies["r"])
    rows = [slice(i, i + _CHUNK) for i in range(0, len(u), _CHUNK)]
    density = torch.cat([model.log_prob(u[row], observation.rows(row)) for row in rows])
    return density - ISOMETRIC.log_volume


def compare(galaxies: dict[str, Tensor], now: Tensor) -> dict[str, Any]:
    """Means in bins of the signal-to-noise ratio."""
    observation = Observation(*(galaxies[name] for name in Observation._fields))
    snr, before = signal_to_noise(observation), galaxies["log_prob"]
    found = {}
    for label, (low, high) in {"all": (0.0, math.inf), **BINS}.items():
        row = (snr >= low) & (snr < high)
        gain = now[row] - before[row]
        found[label] = {
            "n": int(row.sum()),
            "first": round(float(before[row].mean()), 3),
            "present": round(float(now[row].mean()), 3),
            "gain": round(float(gain.mean()), 3),
            "gain_error": round(float(gain.std() / math.sqrt(len(gain))), 3),
            "median_gain": round(float(gain.median()), 3),
        }
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-n", type=int, default=4096)
    parser.add_argument("--revision", default=FIRST, help="of the first model, or of any later default")
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    model = load_model(options.model)
    record: dict[str, Any] = {"revision": options.revision, "weights": model.digest(), "simulations": {}}
    for name, galaxies in (("present", present_galaxies(model, options.n)), ("first", None)):
        with tempfile.TemporaryDirectory() as folder:
            known = first_model(
                Path(folder), options.revision, galaxies, options.n, stream_seed(1, "test", _PLACE)
            )
        record["simulations"][name] = compare(known, log_prob(model, known))
        print(f"galaxies of the {name} simulator, nats:")
        for label, row in record["simulations"][name].items():
            print(f"  {label:12} {row}")
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
