"""Rate and memory of a survey run, against inference alone.

    python -m benchmarks.speed.survey [-n 2000] [--samples 1000] [--workers 2] [--model M] [--out FILE.json]

Simulates galaxies from the model's own configuration, writes them to packed files, and measures, with as many
processes at once as there are workers: inference alone (spectra in memory, samples thrown away), the same with the
summaries of the catalogue, and the survey run, which starts its workers, reads, infers, summarises and writes.
The peak memory of the survey is the largest sum over all of its processes, looked up ten times a second; memory
that they share counts for each of them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import torch

from benchmarks.speed.measure import report
from benchmarks.speed.mocks import mock_spectra
from sfhflow import Spectrum, load_model
from sfhflow.memory import keep_freed_memory
from sfhflow.summaries import summarise
from sfhflow.survey import run_survey, write_packed
from sfhflow.survey.job import BATCH
from sfhflow.survey.packed import packed_entries

# inference alone needs no more than this for a steady rate
IN_MEMORY = 1024
ROWS_A_FILE = 10_000


def infer_alone(model: str, path: Path, n: int, samples: int) -> float:
    """Spectra a second for inference alone."""
    return _infer(model, path, n, samples, lambda batch: None)


def infer_and_summarise(model: str, path: Path, n: int, samples: int) -> float:
    """Spectra a second for inference and the summaries of the catalogue."""
    return _infer(model, path, n, samples, lambda batch: summarise(batch, dtype="float32"))


def _infer(model: str, path: Path, n: int, samples: int, use: Callable[[Any], Any]) -> float:
    torch.set_num_threads(1)
    # as a survey does
    keep_freed_memory()
    loaded = load_model(model)
    entries = packed_entries("packed", path, 0, min(n, IN_MEMORY))
    spectra = [entry.spectrum for entry in entries if isinstance(entry.spectrum, Spectrum)]
    list(loaded.infer_batches(spectra[:BATCH], n_samples=samples))
    start = time.perf_counter()
    for first in range(0, len(spectra), BATCH):
        for batch in loaded.infer_batches(spectra[first : first + BATCH], n_samples=samples):
            use(batch)
    return len(spectra) / (time.perf_counter() - start)


def survey(model: str, folder: Path, n: int, samples: int, workers: int) -> float:
    """Spectra a second for a survey run, its start and its end included."""
    start = time.perf_counter()
    several = workers if workers > 1 else None
    summary = run_survey([folder / "packed"], folder / "out", model=model, n_samples=samples, workers=several)
    if (summary.rows, summary.errors) != (n, 0):
        raise RuntimeError(f"{summary.rows} rows with {summary.errors} errors instead of {n} with none")
    return n / (time.perf_counter() - start)


def side_by_side(work: Callable[..., float], workers: int, *arguments: Any) -> tuple[float, float]:
    """Sum of the rates of a function in several processes at once, and their peak memory in MB."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool, peak_memory() as peak:
        rates = [pool.submit(work, *arguments) for _ in range(workers)]
        return sum(rate.result() for rate in rates), peak[0]


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """Largest memory in MB of this process and all it has started, less what this one had before."""
    before, peak, done = _memory(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            peak[0] = max(peak[0], _memory() - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def _memory() -> float:
    this = psutil.Process()
    total = 0
    for process in (this, *this.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 1e6


def pack(model: str, n: int, folder: Path) -> float:
    """Write mock spectra to packed files; bytes a spectrum."""
    spectra = mock_spectra(load_model(model), n)
    for number in range(-(-n // ROWS_A_FILE)):
        write_packed(islice(spectra, ROWS_A_FILE), folder / f"packed-{number:04d}.parquet")
    return _bytes(folder) / n


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-n", type=int, default=2000, help="spectra")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path, help="write the numbers to a JSON file")
    arguments = parser.parse_args()
    model, n, samples, workers = arguments.model, arguments.n, arguments.samples, arguments.workers
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "packed").mkdir()
        packed_bytes = pack(model, n, folder / "packed")
        first = folder / "packed" / "packed-0000.parquet"
        alone, alone_mb = side_by_side(infer_alone, workers, model, first, n, samples)
        summarised, _ = side_by_side(infer_and_summarise, workers, model, first, n, samples)
        rate, survey_mb = side_by_side(survey, 1, model, folder, n, samples, workers)
        results_bytes = _bytes(folder / "out" / "results") / n
    numbers = {
        "settings": {"spectra": n, "samples": samples, "workers": workers, "model": model},
        "inference_alone_per_s": alone,
        "with_summaries_per_s": summarised,
        "survey_per_s": rate,
        "share_of_inference_alone": rate / alone,
        "inference_peak_mb": alone_mb,
        "survey_peak_mb": survey_mb,
        "packed_bytes_a_spectrum": packed_bytes,
        "results_bytes_a_spectrum": results_bytes,
    }
    report("survey", numbers, arguments.out)


if __name__ == "__main__":
    main()
