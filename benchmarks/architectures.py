"""Encoders and flows compared: held-out log-probability after training for the same processor time.

    python -m benchmarks.architectures [--minutes 5] [--quick] [--only NAME ...] [--out FILE.json] [--work FOLDER]

Every candidate is trained on the simulator of `configs/default.toml` with one thread, from the same seeds, with
the same principal components, batch and learning rate, for `--minutes` of processor time (the steps that fit
into it are found by a short run first, so that the learning rate falls to zero at the end).  What is measured
on galaxies that no training sees: the mean log-probability of the truth in nats, over all and by
signal-to-noise ratio, with the difference from the first candidate galaxy by galaxy.  Finished candidates are
kept under `--work` and not trained again.  The results go to `--out` and, as a table, into the page
`docs/concepts/method.md`.
`--quick` does all of it in little time, on a coarse grid, to see that it runs: its figures mean nothing and are
only printed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.markdown import table
from sfhflow import Model
from sfhflow.config import read_config
from sfhflow.grid import LogGrid
from sfhflow.network import Architecture, Network
from sfhflow.observation import Observation
from sfhflow.simulator import Simulation, Simulator
from sfhflow.train import TrainingPlan, fit, stream_seed

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "architectures.json"
PAGE = ROOT / "docs" / "concepts" / "method.md"
MARKS = "<!-- architectures -->", "<!-- end of architectures -->"
"""Between what the table stands on the page."""

EDGES = (3.0, 10.0, 30.0, 100.0, 300.0)
CANDIDATES: dict[str, dict[str, Any]] = {
    "projection": {},
    "residual": {"encoder": "residual"},
    "attention": {"encoder": "spender-attention", "width": 128, "depth": 3},
    "hybrid": {"encoder": "hybrid"},
    "one Gaussian": {"components": 1, "transforms": 6},
    "maf": {"flow": "maf", "transforms": 5, "hidden": (128, 128)},
}
"""What each candidate has other than the default architecture; the first is the reference."""

LABELS = [f"S/N {low:g}-{high:g}" for low, high in pairwise(EDGES)]


@dataclass(frozen=True)
class Setting:
    """How the candidates are compared.

    Attributes
    ----------
    simulator : Simulator
        Of the galaxies.
    plan : TrainingPlan
        Of every candidate, but for its steps.
    minutes : float
        Processor time of each training.
    n_test : int
        Galaxies on which they are compared.
    n_sampled : int
        Galaxies of which a thousand samples are drawn to measure the speed.
    """

    simulator: Simulator
    plan: TrainingPlan
    minutes: float
    n_test: int = 4096
    n_sampled: int = 32

    def key(self) -> dict[str, Any]:
        """What must agree for a kept result to be used."""
        grid = self.simulator.grid
        return {"minutes": self.minutes, "n_test": self.n_test, "plan": asdict(self.plan), "grid": grid.n_pixels}


def setting(*, minutes: float, quick: bool) -> Setting:
    """The comparison on the simulator of the shipped model, or a quick one on a coarse grid."""
    config = read_config(ROOT / "configs" / "default.toml")
    simulator = config.simulator()
    plan = TrainingPlan(
        batch_size=256, reuse=6, memory=16, average=0.99, n_validation=1024, n_thresholds=1024, patience=1000
    )
    if not quick:
        return Setting(simulator, plan, minutes)
    simulator = replace(simulator, grid=LogGrid(3600.0, 7350.0, 1.5e-3))
    plan = replace(plan, batch_size=64, memory=4, n_components_sample=1024, n_scaling=1024, n_validation=256)
    return Setting(simulator, plan, min(minutes, 0.05), n_test=512, n_sampled=4)


class Comparison:
    """Trains and measures candidates in one setting."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.plan = setting.plan
        self._test: list[Simulation] = []
        self._seeded: Model | None = None

    def result(self, architecture: Architecture) -> dict[str, Any]:
        """Train and measure one candidate."""
        start = self._start(architecture)
        first, step = self._cost(start)
        steps = max(2, int((self.setting.minutes - first) / step))
        every = -(-steps // 4)
        plan = replace(self.plan, steps=steps, warmup=max(1, min(200, steps // 10)), validate_every=every)
        model, history = fit(self.setting.simulator, architecture=architecture, plan=plan, start=start)
        return {
            "architecture": asdict(architecture),
            "parameters": sum(weight.numel() for weight in model.network.parameters()),
            "steps": history[-1]["step"],
            "galaxies": history[-1]["step"] * plan.batch_size // plan.reuse,
            "cpu_minutes": history[-1]["cpu_minutes"],
            "samples_per_second": self._speed(model),
            "log_prob": [
                value for part in self._galaxies() for value in model.log_prob(part.u, part.observation).tolist()
            ],
        }

    def snr(self) -> list[float]:
        """Mean signal-to-noise ratios of the test galaxies per observed pixel."""
        return [value for part in self._galaxies() for value in signal_to_noise(part.observation).tolist()]

    def _start(self, architecture: Architecture) -> Model:
        """An untrained model; all candidates have the same principal components."""
        simulator = self.setting.simulator
        if self._seeded is None:
            once = replace(self.plan, steps=1, validate_every=1)
            self._seeded = fit(simulator, architecture=architecture, plan=once)[0]
        torch.manual_seed(self.plan.seed)
        network = Network(architecture, simulator.grid.n_pixels, simulator.prior.parameters.n_features)
        seeded = self._seeded.network.encoder
        network.encoder.set_components(seeded.mean, seeded.components)
        sample = simulator.sample(4096, seed=stream_seed(self.plan.seed, "scaling", 0))
        network.encoder.standardise(network.encoder.features(sample.observation))
        network.flow.standardise(sample.u)
        return Model(
            network,
            architecture=architecture,
            grid=simulator.grid,
            library_fwhm=self._seeded.library_fwhm,
            parameters=self._seeded.parameters,
            thresholds=self._seeded.thresholds,
            card={"name": "start"},
        )

    def _cost(self, start: Model) -> tuple[float, float]:
        """Processor time (minutes) before the first step, and of a step with its share of the simulations."""
        stretch = 2 * self.plan.reuse
        plan = replace(self.plan, steps=3 * stretch, validate_every=stretch, n_validation=64, n_thresholds=64)
        _, history = fit(self.setting.simulator, architecture=start.architecture, plan=plan, start=start)
        step = (history[-1]["cpu_minutes"] - history[0]["cpu_minutes"]) / (2 * stretch)
        return max(0.0, history[0]["cpu_minutes"] - stretch * step), step

    def _galaxies(self) -> list[Simulation]:
        """The test galaxies, simulated when they are first needed."""
        part = min(512, self.setting.n_test)
        if not self._test:
            seeds = [stream_seed(self.plan.seed, "test", i) for i in range(self.setting.n_test // part)]
            self._test = [self.setting.simulator.sample(part, seed=seed) for seed in seeds]
        return self._test

    def _speed(self, model: Model) -> float:
        """Samples a second of processor time, encoder included."""
        observation = self._galaxies()[0].observation.rows(slice(0, self.setting.n_sampled))
        times = []
        for seed in range(3):
            before = time.process_time()
            n = sum(len(galaxy.metallicity) for galaxy in model.sample(observation, n_samples=1000, seed=seed))
            times.append(time.process_time() - before)
        return n / sorted(times)[1]


def signal_to_noise(observation: Observation) -> torch.Tensor:
    """Mean signal-to-noise ratio per observed pixel, shape (N,)."""
    good = observation.ivar > 0
    return (observation.flux * observation.ivar.sqrt()).sum(-1) / good.sum(-1)


def compare(setting: Setting, candidates: Mapping[str, Mapping[str, Any]], work: Path) -> dict[str, Any]:
    """Train and measure every candidate that is not found finished in `work`; summaries by name."""
    work.mkdir(parents=True, exist_ok=True)
    comparison, results = Comparison(setting), {}
    for name, changes in candidates.items():
        architecture = Architecture(**changes)
        key = json.loads(json.dumps({**setting.key(), "architecture": asdict(architecture)}))
        path = work / f"{name}.json"
        kept = json.loads(path.read_text()) if path.exists() else {}
        if kept.get("key") != key:
            kept = {"key": key, **comparison.result(architecture), "snr": comparison.snr()}
            path.write_text(json.dumps(kept) + "\n")
            kept = json.loads(path.read_text())
        results[name] = kept
        print(
            f"{name}: {kept['steps']} steps, {sum(kept['log_prob']) / len(kept['log_prob']):.3f} nats", flush=True
        )
    return summary(results)


def summary(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Means over galaxies, over all and by signal-to-noise ratio, and differences from the first candidate."""
    reference = torch.tensor(next(iter(results.values()))["log_prob"], dtype=torch.float64)
    summaries = {}
    for name, result in results.items():
        log_prob = torch.tensor(result["log_prob"], dtype=torch.float64)
        snr = torch.tensor(result["snr"])
        gain = log_prob - reference
        rows = {"all": torch.ones_like(snr, dtype=torch.bool)}
        rows |= {
            label: (snr >= low) & (snr < high) for label, (low, high) in zip(LABELS, pairwise(EDGES), strict=True)
        }
        summaries[name] = {
            **{key: value for key, value in result.items() if key not in ("key", "log_prob", "snr")},
            "log_prob": {label: float(log_prob[row].mean()) for label, row in rows.items() if row.any()},
            "gain": float(gain.mean()),
            "gain_error": float(gain.std() / len(gain) ** 0.5),
            "n": {label: int(row.sum()) for label, row in rows.items()},
        }
    return summaries


def markdown(record: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    summaries = record["candidates"]
    first = next(iter(summaries.values()))
    labels = list(first["log_prob"])
    rows = []
    for result in summaries.values():
        architecture = result["architecture"]
        figures = [f"{result['log_prob'].get(label, float('nan')):.2f}" for label in labels]
        gain = "" if result is first else f"{result['gain']:+.2f} ± {result['gain_error']:.2f}"
        size, rate = f"{result['parameters'] / 1e6:.2f} M", f"{result['samples_per_second']:.2g}"
        # of the flows only this one has components, by which two of its rows differ
        flow, n = architecture["flow"], architecture["components"]
        if flow == "coupling":
            flow += f", {n} Gaussian{'s' if n > 1 else ''}"
        rows.append([architecture["encoder"], flow, *figures, gain, size, str(result["steps"]), rate])
    titles = ["encoder", "flow", *labels, "difference", "weights", "steps", "samples/s"]
    lines = table(titles, rows, "ll" + "r" * (len(labels) + 4))
    used = [result["cpu_minutes"] for result in summaries.values()]
    counts = ", ".join(f"{label} {first['n'][label]}" for label in labels)
    caption = (
        f"Mean log-probability of the truth in nats, higher is better, after {record['minutes']:g} minutes of "
        f"training each on one core\n(used: {min(used):.1f} to {max(used):.1f} minutes); the difference from the "
        "first row with its standard error; samples a second of one core, encoder included.\n"
        f"Galaxies: {counts}. Printed by `python -m benchmarks.architectures --minutes {record['minutes']:g}`."
    )
    return "\n".join([*lines, "", caption, ""])


def on_page(page: str, lines: str, marks: tuple[str, str] = MARKS) -> str:
    """The page with the table in its place."""
    before, rest = page.split(marks[0])
    return f"{before}{marks[0]}\n\n{lines}\n{marks[1]}{rest.split(marks[1])[1]}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="processor time of each training")
    parser.add_argument("--quick", action="store_true", help="see that it runs")
    parser.add_argument("--only", nargs="+", choices=list(CANDIDATES), help="some of the candidates")
    parser.add_argument("--out", type=Path, help=f"results ({RESULTS.relative_to(ROOT)}, and the page)")
    parser.add_argument("--work", type=Path, help="folder of finished candidates (runs/architectures)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    chosen = setting(minutes=options.minutes, quick=options.quick)
    work = options.work or ROOT / "runs" / ("architectures-quick" if options.quick else "architectures")
    candidates = {name: CANDIDATES[name] for name in options.only or CANDIDATES}
    results = compare(chosen, candidates, work)
    record = {"minutes": chosen.minutes, "seed": chosen.plan.seed, "candidates": results}
    print(markdown(record))
    if options.out or not (options.quick or options.only):
        (options.out or RESULTS).write_text(json.dumps(record, indent=1) + "\n")
    if not (options.out or options.quick or options.only):
        PAGE.write_text(on_page(PAGE.read_text(), markdown(record)))


if __name__ == "__main__":
    main()
