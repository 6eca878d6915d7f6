"""Shared by the benchmarks of speed: timing, peak memory in a fresh process, and the machine they ran on."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from sfhflow.memory import keep_freed_memory

__all__ = ["best_of", "in_fresh_process", "machine", "report"]

T = TypeVar("T")


def best_of(work: Callable[[], T], repeats: int = 3) -> tuple[float, T]:
    """Fewest seconds of several runs, and what the last one returned."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def in_fresh_process(work: Callable, *arguments: Any) -> tuple[Any, float]:
    """Call a function of a module in a new process; its result, and the peak memory (MB) there."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_run, (work, arguments))


def machine() -> dict[str, Any]:
    """Processor, number of cores and versions: no figure means anything without them."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def report(name: str, numbers: Mapping[str, Any], out: Path | None) -> None:
    """Print numbers as a table, and write them with the machine to a JSON file if one is given."""
    for key, value in _flat("", numbers).items():
        print(f"{key:<44} {value:.5g}" if isinstance(value, float) else f"{key:<44} {value}")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({"benchmark": name, "machine": machine(), **numbers}, indent=1) + "\n")


def _run(work: Callable, arguments: tuple) -> tuple[Any, float]:
    # as the command line does
    keep_freed_memory()
    result = work(*arguments)
    # kilobytes on Linux
    peaks = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return result, max(peaks) / 1e3


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


def _flat(prefix: str, numbers: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in numbers.items():
        name = f"{prefix}{key}"
        flat |= _flat(f"{name}.", value) if isinstance(value, Mapping) else {name: value}
    return flat
