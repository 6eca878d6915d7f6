"""Rate and memory of a survey run, against inference alone.

    python -m benchmarks.speed.survey [-n 500] [--samples 1000] [--workers N] [--model M] [--out FILE.json]

Simulates galaxies from the model's own configuration, writes them to a packed file, and measures in fresh
processes: inference alone (spectra in memory, nothing written), the same with the summaries of the catalogue, and
the survey run, which reads, infers, summarises and writes.  All use one core, unless `--workers` starts more for
the survey.  Peak memory is that of the process, or of the largest of its workers if that is more.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from sfhflow import Model, Spectrum, load_model
from sfhflow.config import Config
from sfhflow.grid import C_KMS, FWHM_PER_SIGMA
from sfhflow.report import intervals
from sfhflow.survey import run_survey, write_packed
from sfhflow.survey.job import BATCH
from sfhflow.survey.packed import packed_entries
from sfhflow.train import stream_seed

REDSHIFT = 0.05
CHUNK = 256
# inference alone needs no more than this for a steady rate
IN_MEMORY = 512


def simulated(model: Model, n: int) -> Iterator[Spectrum]:
    """Galaxies as the model was trained on, with seeds that training never uses."""
    config = Config.model_validate(model.card["config"])
    simulator = config.simulator()
    for start in range(0, n, CHUNK):
        batch = simulator.sample(CHUNK, seed=stream_seed(config.plan.seed, "test", start // CHUNK))
        arrays = (tensor.numpy().astype(float) for tensor in batch.observation[:3])
        for row, (flux, ivar, lsf_kms) in enumerate(zip(*arrays, strict=True), start):
            if row < n:
                yield Spectrum(
                    wavelength=simulator.grid.wavelength * (1 + REDSHIFT),
                    flux=flux,
                    ivar=ivar,
                    redshift=REDSHIFT,
                    resolution=None if np.isnan(lsf_kms[1]) else C_KMS / (FWHM_PER_SIGMA * lsf_kms[1]),
                    medium="air",
                    name=f"mock_{row}",
                )


def infer_alone(model: str, path: Path, n: int, samples: int) -> float:
    """Seconds a spectrum for inference alone."""
    return _infer(model, path, n, samples, lambda posterior: None)


def infer_and_summarise(model: str, path: Path, n: int, samples: int) -> float:
    """Seconds a spectrum for inference and the summaries of the catalogue."""
    return _infer(model, path, n, samples, intervals)


def _infer(model: str, path: Path, n: int, samples: int, use: Callable) -> float:
    torch.set_num_threads(1)
    loaded = load_model(model)
    entries = packed_entries("packed", path, 0, min(n, IN_MEMORY))
    spectra = [entry.spectrum for entry in entries if isinstance(entry.spectrum, Spectrum)]
    loaded.infer(spectra[:8], n_samples=samples)
    start = time.perf_counter()
    for first in range(0, len(spectra), BATCH):
        for posterior in loaded.infer(spectra[first : first + BATCH], n_samples=samples):
            use(posterior)
    return (time.perf_counter() - start) / len(spectra)


def survey(model: str, path: Path, n: int, samples: int, out: Path, workers: int | None) -> float:
    """Seconds a spectrum for a survey run, its start and its end included."""
    start = time.perf_counter()
    summary = run_survey([path], out, model=model, n_samples=samples, workers=workers)
    if summary.rows != n:
        raise RuntimeError(f"{summary.rows} rows instead of {n}")
    return (time.perf_counter() - start) / n


def measured(work: Callable[..., float], *arguments: object) -> tuple[float, float]:
    """Result of a function in a fresh process, and the peak memory of that in MB."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, work, arguments))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    finally:
        process.join()


def _measure(sender: object, work: Callable[..., float], arguments: tuple) -> None:
    result = work(*arguments)
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    sender.send((result, max(peaks) / 1024))  # type: ignore[attr-defined]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-n", type=int, default=500, help="spectra")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path, help="write the numbers to a JSON file")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        packed, out = Path(folder, "packed.parquet"), Path(folder, "out")
        write_packed(simulated(load_model(arguments.model), arguments.n), packed)
        common = arguments.model, packed, arguments.n, arguments.samples
        rows = {
            "inference alone": measured(infer_alone, *common),
            "with summaries": measured(infer_and_summarise, *common),
            "survey": measured(survey, *common, out, arguments.workers),
        }
        disk = sum(path.stat().st_size for path in (out / "results").iterdir()) / arguments.n
        packed_bytes = packed.stat().st_size / arguments.n
    print(f"{arguments.n} spectra, {arguments.samples} samples each, {arguments.workers or 1} worker(s)")
    print(f"packed {packed_bytes / 1e3:.1f} kB a spectrum, results {disk:.0f} bytes a spectrum")
    for name, (seconds, peak) in rows.items():
        print(f"{name:<16} {1e3 * seconds:8.2f} ms a spectrum {1 / seconds:8.1f} spectra/s   peak {peak:6.0f} MB")
    if arguments.out:
        numbers = {name: {"ms": 1e3 * seconds, "peak_mb": peak} for name, (seconds, peak) in rows.items()}
        settings = {"n": arguments.n, "samples": arguments.samples, "workers": arguments.workers or 1}
        result = {**settings, "rows": numbers, "results_bytes": disk, "packed_bytes": packed_bytes}
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
