"""Kill a survey run and its workers at random moments, and spoil its input: nothing is lost, doubled or left over.

    python -m benchmarks.speed.faults [-n 4000] [--kills 10] [--samples 1000] [--workers 2] [--out FILE.json]

A run that nothing disturbs is compared with one that is killed again and again, in turn its main process and one
of its workers, each time at a random moment after it has written something, and started again when it is dead.
Then a thousand plain files, one of them cut and overwritten, become 999 results and one row with an error.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq

from benchmarks.speed.measure import report
from benchmarks.speed.mocks import mock_spectra
from sfhflow import Spectrum, load_model
from sfhflow.survey import run_survey, write_packed

__all__ = ["facts_of_run", "killed_again_and_again", "write_files_with_a_bad_one"]

_START = "import sys; from sfhflow.cli import main; sys.exit(main())"
_LONGEST_S = 600


def killed_again_and_again(
    arguments: Sequence[str], folder: Path, *, kills: int, seed: int, within_s: float
) -> dict[str, int]:
    """Run `sfhflow survey` with these arguments into a folder, killing it and its workers, until it is complete.

    Parameters
    ----------
    arguments : sequence of str
        Inputs and options, without ``--out``.
    folder : Path
        Of the results.
    kills : int
        How often to kill; fewer if the run is complete before.
    seed : int
        Of the moments.
    within_s : float
        Each comes within so many seconds after the run has written another shard.

    Returns
    -------
    dict
        Number of runs and of workers killed.
    """
    moments, done = random.Random(seed), {"runs_killed": 0, "workers_killed": 0}
    command = [sys.executable, "-c", _START, "survey", *arguments, "--out", str(folder)]
    run = _start(command)
    for number in range(kills):
        if not _has_progressed(run, folder):
            break
        time.sleep(moments.uniform(0.0, within_s))
        workers = _workers(run)
        if number % 2 and workers:
            workers[moments.randrange(len(workers))].kill()
            done["workers_killed"] += 1
        elif run.poll() is None:
            run.kill()
            run.wait()
            done["runs_killed"] += 1
            run = _start(command)
    if run.wait(_LONGEST_S):
        raise RuntimeError(f"the run ended with status {run.returncode}")
    return done


def facts_of_run(folder: Path) -> dict[str, Any]:
    """Rows, distinct rows, rows with an error, hash and unfinished files of a run."""
    table = pq.read_table(folder / "results", columns=["input", "index", "error"])
    keys = set(zip(table["input"].to_pylist(), table["index"].to_pylist(), strict=True))
    manifest = json.loads((folder / "manifest.json").read_text())
    return {
        "rows": len(table),
        "distinct_rows": len(keys),
        "errors": len(table) - table["error"].null_count,
        "content_hash": manifest["content_hash"],
        "unfinished_files": sum(path.name.endswith(".tmp") for path in folder.rglob(".*")),
    }


def write_files_with_a_bad_one(spectra: Sequence[Spectrum], n: int, folder: Path) -> str:
    """Write `n` text files with these spectra in turn, one of them damaged; the name of that."""
    folder.mkdir()
    texts = []
    for s in spectra:
        path = folder / "text"
        columns = np.column_stack([s.wavelength, s.flux, s.ivar])
        header = f"redshift = {s.redshift}\nwavelengths in {s.medium}\nwavelength flux ivar"
        np.savetxt(path, columns, header=header, fmt="%.7g")
        texts.append(path.read_bytes())
        path.unlink()
    bad = n // 2
    for i in range(n):
        text = texts[i % len(texts)]
        (folder / f"g{i:04d}.txt").write_bytes(text[:2000] + b"\x00\xff" * 99 if i == bad else text)
    return f"g{bad:04d}.txt"


def _start(command: list[str]) -> subprocess.Popen:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _has_progressed(run: subprocess.Popen, folder: Path) -> bool:
    """Wait until a run has written another shard; false if it ends."""
    before = len(list(folder.glob("results/shard-*")))
    start = time.monotonic()
    while len(list(folder.glob("results/shard-*"))) == before:
        if run.poll() is not None:
            return False
        if time.monotonic() > start + _LONGEST_S:
            raise RuntimeError(f"the run has written nothing in {_LONGEST_S} s")
        time.sleep(0.01)
    return True


def _workers(run: subprocess.Popen) -> list[psutil.Process]:
    """Processes of Dask's workers."""
    try:
        children = psutil.Process(run.pid).children(recursive=True)
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.NoSuchProcess:
        return []


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-n", type=int, default=4000, help="spectra")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shard-size", type=int, default=100)
    parser.add_argument("--model", default="default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the numbers to a JSON file")
    given = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        model = load_model(given.model)
        write_packed(mock_spectra(model, given.n), folder / "packed.parquet")
        options = {"samples": given.samples, "model": given.model, "shard-size": given.shard_size}
        arguments = [str(folder / "packed.parquet"), "--workers", str(given.workers)]
        arguments += [part for key, value in options.items() for part in (f"--{key}", str(value))]
        done = killed_again_and_again(
            arguments, folder / "killed", kills=given.kills, seed=given.seed, within_s=2.0
        )
        common = {"model": given.model, "n_samples": given.samples}
        run_survey([folder / "packed.parquet"], folder / "whole", shard_size=given.shard_size, **common)
        bad = write_files_with_a_bad_one(list(mock_spectra(model, 50)), 1000, folder / "files")
        run_survey([folder / "files"], folder / "of_files", **common)
        killed, whole, files = (facts_of_run(folder / part) for part in ("killed", "whole", "of_files"))
    numbers = {
        "settings": {"spectra": given.n, "shard_size": given.shard_size, "workers": given.workers},
        **done,
        "killed": killed,
        "undisturbed": whole,
        "same_hash": killed["content_hash"] == whole["content_hash"],
        "thousand_files": {"damaged": bad, **files},
    }
    report("faults", numbers, given.out)


if __name__ == "__main__":
    main()
