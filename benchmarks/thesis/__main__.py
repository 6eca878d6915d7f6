"""Run the benchmark, or some of its stages; see the package's documentation."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

import benchmarks.thesis
from benchmarks.thesis.context import Context
from benchmarks.thesis.page import TITLES, page, publish

ROOT = Path(__file__).parents[2]
# in the order in which they are run; a stage may use the results and files of those before it
STAGES = tuple(TITLES)


def run_stage(name: str, context: Context, *, again: bool = False) -> dict[str, Any]:
    """Result of a stage, from the run folder if it is there and made with the same settings."""
    key = {"quick": context.quick, "tiny": context.tiny, "seed": context.seed, "n_spectra": context.n_spectra}
    path = context.file(f"{name}.json")
    if path.exists() and not again:
        kept = json.loads(path.read_text())
        if kept["settings"] == key:
            return kept
    print(f"{name} ...", flush=True)
    start = time.perf_counter()
    result = import_module(f"benchmarks.thesis.{name}").run(context)
    result = {**result, "seconds": round(time.perf_counter() - start, 1), "settings": key}
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{name}: {result['seconds']:.0f} s", flush=True)
    return json.loads(path.read_text())


def machine() -> dict[str, Any]:
    """What the times were measured on."""
    return {"processor": platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=benchmarks.thesis.__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"some of {', '.join(STAGES)} (all)")
    parser.add_argument("--quick", action="store_true", help="see that it runs, in minutes")
    parser.add_argument("--out", type=Path, help="run folder (runs/thesis, runs/thesis-quick)")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="other people's data")
    parser.add_argument("--again", action="store_true", help="run stages again that are done")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="where the thesis' encoder is trained: cpu, cuda")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.stages) - set(STAGES))
    if unknown:
        parser.error(f"stages {', '.join(unknown)}: unknown, expected some of {', '.join(STAGES)}")
    torch.set_num_threads(options.threads)
    folder = options.out or ROOT / "runs" / ("thesis-quick" if options.quick else "thesis")
    context = Context(folder, options.data, quick=options.quick, seed=options.seed, device=options.device)
    for name in options.stages or STAGES:
        run_stage(name, context, again=options.again)
    finish(context, private=options.quick or options.out is not None)


def finish(context: Context, *, private: bool) -> None:
    """Write results and page of all stages that have been run: for the documentation, or in the run folder."""
    done = [name for name in STAGES if context.file(f"{name}.json").exists()]
    stages = {name: context.result(name) for name in done}
    settings = {
        "quick": context.quick,
        "seed": context.seed,
        "n_spectra": context.n_spectra,
        "thesis_library": context.library().is_thesis,
    }
    if not private:
        publish(stages, settings, machine(), context.folder / "figures")
        return
    results = {"settings": settings, "machine": machine(), "stages": stages}
    context.file("results.json").write_text(json.dumps(results, indent=1) + "\n")
    context.file("thesis.md").write_text(page(results).replace("](thesis/", "](figures/"))


if __name__ == "__main__":
    main()
