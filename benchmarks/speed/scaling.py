"""How inference scales with the batch, the number of samples and the number of processes, and its memory.

    python -m benchmarks.speed.scaling [-n 2000] [--samples 1000] [--workers 2] [--model M] [--out FILE.json]

Rates are from spectra in memory to posterior samples in physical units with their verdicts, each measured in a
fresh process with one thread.  Peak memory is that of such a process that goes through all spectra, keeping no
answer; what it holds before the first one (libraries, weights, the spectra themselves) is given beside it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from benchmarks.speed.measure import in_fresh_process, report
from benchmarks.speed.mocks import mock_spectra
from sfhflow import Spectrum, load_model
from sfhflow.summaries import summarise

BATCHES = (1, 4, 16, 64, 256)
SAMPLES = (100, 300, 1000, 3000, 10_000)


def rate(model: str, n: int, batch: int, n_samples: int) -> tuple[float, float, float]:
    """Galaxies a second, with summaries too, and the memory in MB before the first one."""
    torch.set_num_threads(1)
    loaded, spectra = load_model(model), spectra_of(model, n)
    list(loaded.infer_batches(spectra[:batch], n_samples=n_samples))
    before = psutil.Process().memory_info().rss / 1e6
    rates = []
    for with_summaries in (False, True):
        start = time.perf_counter()
        for first in range(0, n, batch):
            for answers in loaded.infer_batches(spectra[first : first + batch], n_samples=n_samples):
                if with_summaries:
                    summarise(answers, dtype=np.float32)
        rates.append(n / (time.perf_counter() - start))
    return rates[0], rates[1], before


def spectra_of(model: str, n: int) -> Sequence[Spectrum]:
    """Mock spectra: few of them in turn, since only their number matters."""
    few = list(mock_spectra(load_model(model), min(n, 64)))
    return [few[i % len(few)] for i in range(n)]


def side_by_side(workers: int, *arguments: Any) -> tuple[float, float]:
    """Galaxies a second of several processes together, without and with summaries."""
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        rates = [pool.submit(rate, *arguments) for _ in range(workers)]
        plain, summarised, _ = np.sum([r.result() for r in rates], axis=0)
    return float(plain), float(summarised)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-n", type=int, default=2000, help="spectra, with the default batch and samples")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2, help="most processes at once")
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path, help="write the numbers to a JSON file")
    given = parser.parse_args()
    model, n, samples = given.model, given.n, given.samples
    few = max(8, n // 8)
    (plain, summarised, before), peak = in_fresh_process(rate, model, n, n, samples)
    numbers: dict[str, Any] = {
        "settings": {"spectra": n, "samples": samples, "model": model},
        "per_s_on_one_core": plain,
        "per_s_on_one_core_with_summaries": summarised,
        "mb_before": before,
        "peak_mb": peak,
        "per_s_by_batch": {
            str(batch): in_fresh_process(rate, model, few - few % batch or batch, batch, samples)[0][0]
            for batch in BATCHES
        },
        "per_s_by_samples": {
            str(s): in_fresh_process(rate, model, max(8, few * 1000 // max(s, 1000)), 64, s)[0][0] for s in SAMPLES
        },
        "peak_mb_by_spectra": {
            str(m): in_fresh_process(rate, model, m, m, samples)[1] for m in (n // 8, n // 2, n) if m
        },
        "per_s_by_processes": {},
        "per_s_by_processes_with_summaries": {},
    }
    for workers in range(1, given.workers + 1):
        plain, summarised = side_by_side(workers, model, n, 64, samples)
        numbers["per_s_by_processes"][str(workers)] = plain
        numbers["per_s_by_processes_with_summaries"][str(workers)] = summarised
    report("scaling", numbers, given.out)


if __name__ == "__main__":
    main()
