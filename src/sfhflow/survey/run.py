"""Run a survey: plan, do what is not done yet, and say what came of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sfhflow import __version__
from sfhflow.errors import ConfigError
from sfhflow.model import Model, load_model
from sfhflow.survey.ahead import read_ahead
from sfhflow.survey.cluster import on_cluster
from sfhflow.survey.folder import begin, finish, locked, sweep
from sfhflow.survey.job import Job, Record, batches, fingerprint, read_record, write_shard
from sfhflow.survey.shards import Plan, cut_shards
from sfhflow.survey.sources import find_sources

__all__ = ["SHARD_SIZE", "SurveySummary", "run_survey"]

SHARD_SIZE = 1000


@dataclass(frozen=True)
class SurveySummary:
    """What a survey has done.

    Attributes
    ----------
    folder : Path
        Where the results are.
    rows : int
        Spectra, those with an error too.
    errors : int
        Rows without an answer.
    doubtful : int
        Answers whose verdict is not ok.
    shards : int
        Files of results.
    content_hash : str
        SHA-256 of all results.
    """

    folder: Path
    rows: int
    errors: int
    doubtful: int
    shards: int
    content_hash: str

    @property
    def text(self) -> str:
        """What was done, in words."""
        return (
            f"{self.rows} spectra: {self.errors} could not be used, {self.doubtful} answers are in doubt\n"
            f"written: {self.folder / 'results'} ({self.shards} files), content hash {self.content_hash[:16]}"
        )


def run_survey(
    inputs: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    model: str | Path = "default",
    n_samples: int = 1000,
    seed: int = 0,
    shard_size: int = SHARD_SIZE,
    keep_samples: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    device: str = "cpu",
    progress: bool = False,
) -> SurveySummary:
    """Infer all spectra of files, folders, patterns, tables and packed files into a folder of Parquet files.

    A run that was interrupted, in any way, goes on when it is called again in the same way.

    Parameters
    ----------
    inputs : sequence of str or path
        What to read.
    out : str or path
        Folder of the results.
    model : str or path
        Name of a shipped model, or a model folder.
    n_samples : int
        Posterior samples for each spectrum.
    seed : int
        Seed of the samples, the same for every spectrum: `Model.infer` repeats any row.
    shard_size : int
        Largest number of files or rows in a shard.
    keep_samples : bool
        Write the samples too, as float32.
    workers : int, optional
        Number of local processes, with Dask; by default there is this process alone.
    scheduler : str, optional
        Address of a Dask cluster to use instead.
    device : str
        Where the networks compute, as "cuda"; all workers of a machine share it.
    progress : bool
        Show a bar with rate and time left.

    Returns
    -------
    SurveySummary

    Raises
    ------
    InputError
        If there is nothing to read, the folder holds a run with other settings, or it cannot be written; a
        spectrum that cannot be used is a row with its error.
    """
    _check(n_samples, shard_size, workers, scheduler)
    given, folder = [os.fspath(path) for path in inputs], Path(out)
    loaded = load_model(model)
    plan = cut_shards(find_sources(given, exclude=folder), size=shard_size)
    job = Job(
        folder=str(folder.resolve()),
        model=os.path.abspath(model) if os.path.isdir(model) else str(model),
        model_fingerprint=fingerprint(loaded),
        version=__version__,
        n_samples=n_samples,
        seed=seed,
        keep_samples=keep_samples,
        shard_size=shard_size,
        inputs_fingerprint=plan.fingerprint(),
        device=device,
    )
    loaded.to(device)
    with locked(folder):
        begin(job, given, len(plan))
        sweep(folder)
        records = _all_records(job, loaded, plan, workers=workers, scheduler=scheduler, progress=progress)
        sweep(folder)
        manifest = finish(job, given, records)
    totals = {key: manifest[key] for key in ("rows", "errors", "doubtful", "content_hash")}
    return SurveySummary(folder, shards=len(records), **totals)


def _check(n_samples: int, shard_size: int, workers: int | None, scheduler: str | None) -> None:
    for name, value in (("n_samples", n_samples), ("shard_size", shard_size), ("workers", workers)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}, expected at least 1; give a larger number")
    if workers is not None and scheduler is not None:
        raise ConfigError("--workers and --scheduler are both given, expected one kind of cluster; drop one")


def _all_records(
    job: Job, model: Model, plan: Plan, *, workers: int | None, scheduler: str | None, progress: bool
) -> list[Record]:
    found = [read_record(job, number) for number in range(len(plan))]
    records = {record.number: record for record in found if record is not None}
    todo = [number for number in range(len(plan)) if number not in records]
    with _bar(plan, records, shown=progress) as bar:
        if not todo:
            new: Iterator[Record] = iter(())
        elif workers is None and scheduler is None:
            new = _here(job, model, plan, todo, bar.update)
        else:
            new = _elsewhere(job, plan, todo, bar.update, workers=workers, scheduler=scheduler)
        for record in _resumable(new):
            records[record.number] = record
            # a file may hold many spectra, which is only known now
            bar.total += record.rows - plan.units(record.number)
    return [records[number] for number in range(len(plan))]


def _bar(plan: Plan, records: dict[int, Record], *, shown: bool) -> tqdm:
    done = sum(record.rows for record in records.values())
    missing = sum(plan.units(number) for number in range(len(plan)) if number not in records)
    return tqdm(initial=done, total=done + missing, unit="spectrum", disable=not shown, smoothing=0.05)


def _here(
    job: Job, model: Model, plan: Plan, todo: Sequence[int], advance: Callable[[int], Any]
) -> Iterator[Record]:
    """Do shards in this process, reading across their borders while the one before is inferred."""
    stream = ((number, batch) for number in todo for batch in batches(plan.parts(number)))
    for number, group in groupby(read_ahead(stream), key=lambda item: item[0]):
        yield write_shard(job, model, number, (batch for _, batch in group), advance=advance)


def _elsewhere(
    job: Job,
    plan: Plan,
    todo: Sequence[int],
    advance: Callable[[int], Any],
    *,
    workers: int | None,
    scheduler: str | None,
) -> Iterator[Record]:
    for record in on_cluster(job, plan, todo, workers=workers, scheduler=scheduler):
        advance(record.rows)
        yield record


def _resumable(records: Iterator[Record]) -> Iterator[Record]:
    try:
        yield from records
    except ConfigError as error:
        raise ConfigError(f"{error} (what is done is kept: the same command goes on from there)") from error
