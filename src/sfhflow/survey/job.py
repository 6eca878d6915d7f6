"""A survey's settings and the work on one shard, which is the same wherever it is done.

The bytes of a shard are a function of its inputs and the `Job`: batches are cut at fixed places, torch computes
with one thread, and nothing like a date is written.  So a shard that exists is never made again, and a run that
was killed and resumed ends with the files of one that was not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from sfhflow import __version__
from sfhflow.errors import ConfigError, InputError
from sfhflow.model import Model, load_model
from sfhflow.parquet import read_header, write_table
from sfhflow.survey.entries import Entry
from sfhflow.survey.outcomes import Outcome, infer_entries, one_thread, result_columns, sample_columns
from sfhflow.survey.sources import Source

__all__ = ["BATCH", "Job", "Record", "batches", "do_shard", "fingerprint", "read_record", "write_shard"]

# Spectra inferred together: bounds the memory, of which three batches of spectra and one of samples are held.
BATCH = 64
_KEY = "sfhflow"


@dataclass(frozen=True)
class Job:
    """What every shard of a run has in common.

    Attributes
    ----------
    folder : str
        Folder of the results.
    model : str
        Name of a shipped model, or its folder.
    model_fingerprint : str
        What `fingerprint` says of it.
    version : str
        Version of this package.
    n_samples, seed : int
        Of the posterior samples.
    keep_samples : bool
        Write the samples too.
    shard_size : int
        Largest number of files or rows in a shard.
    inputs_fingerprint : str
        That of the plan.
    device : str
        Where to compute, as "cpu" or "cuda".
    """

    folder: str
    model: str
    model_fingerprint: str
    version: str
    n_samples: int
    seed: int
    keep_samples: bool
    shard_size: int
    inputs_fingerprint: str
    device: str = "cpu"

    def settings(self) -> dict[str, Any]:
        """Everything that the results depend on."""
        return {key: value for key, value in asdict(self).items() if key not in ("folder", "model")}

    def run_id(self) -> str:
        """SHA-256 of the settings."""
        return hashlib.sha256(json.dumps(self.settings(), sort_keys=True).encode()).hexdigest()

    def path(self, kind: str, number: int) -> Path:
        """File of a shard; `kind` is "results" or "samples"."""
        return Path(self.folder, kind, f"shard-{number:05d}.parquet")


@dataclass(frozen=True)
class Record:
    """A finished shard: its number, its rows, those with an error and those in doubt, and the hash of its file."""

    number: int
    rows: int
    errors: int
    doubtful: int
    sha256: str


def fingerprint(model: Model) -> str:
    """SHA-256 of what a model answers with: weights, sizes, grid, bounds, light and the verdict's standards."""
    setup = (
        model.name,
        model.architecture,
        model.grid,
        model.library_fwhm,
        model.parameters,
        model.thresholds,
        model.prior_quantiles,
    )
    digest = hashlib.sha256(repr(setup).encode())
    critic = {} if model.critic is None else model.critic.state_dict()
    for name, tensor in sorted(
        {**model.network.state_dict(), **{f"critic.{k}": v for k, v in critic.items()}}.items()
    ):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    for name, table in model.light.bands.items() if model.light else ():
        digest.update(name.encode() + table.tobytes())
    return digest.hexdigest()


def batches(parts: Iterable[Source]) -> Iterator[list[Entry]]:
    """Read the entries of a shard in batches of a fixed size; at least one batch, if empty."""
    entries = (entry for part in parts for entry in part.entries())
    yield list(islice(entries, BATCH))
    while batch := list(islice(entries, BATCH)):
        yield batch


def do_shard(
    job: Job, number: int, parts: Iterable[Source], entries: Iterable[list[Entry]] | None = None
) -> Record:
    """Read, infer and write one shard: what a worker on another machine does.

    Parameters
    ----------
    job : Job
        The settings.
    number : int
        Number of the shard.
    parts : iterable of Source
        Its inputs.
    entries : iterable of lists of Entry, optional
        Its batches, if somebody else reads them.

    Raises
    ------
    InputError
        If this process has another model or version than the job was made with, or the shard cannot be written.
    """
    _check_version(job)
    return write_shard(
        job, _model(job.model, job.model_fingerprint, job.device), number, entries or batches(parts)
    )


def write_shard(
    job: Job,
    model: Model,
    number: int,
    entries: Iterable[list[Entry]],
    *,
    advance: Callable[[int], Any] = lambda n: None,
) -> Record:
    """Infer the batches of a shard and write its files, the results last: if they exist the shard is complete.

    Parameters
    ----------
    job : Job
        The settings.
    model : Model
        The job's model.
    number : int
        Number of the shard.
    entries : iterable of lists of Entry
        Its batches.
    advance : callable
        Told the number of spectra done after each batch.

    Raises
    ------
    ConfigError
        If a file cannot be written.
    """
    outcomes: list[Outcome] = []
    with one_thread():
        for batch in entries:
            outcomes += infer_entries(
                model, batch, n_samples=job.n_samples, seed=job.seed, keep_samples=job.keep_samples
            )
            advance(len(batch))
    about: dict[str, Any] = {"run": job.run_id(), "shard": number}
    about["errors"] = sum(outcome.error is not None for outcome in outcomes)
    about["doubtful"] = sum(outcome.verdict is not None and not outcome.verdict.ok for outcome in outcomes)
    if job.keep_samples:
        path = job.path("samples", number)
        write_table(path, sample_columns(outcomes), metadata={_KEY: json.dumps(about)}, compact=True)
        about["samples_sha256"] = _sha256(path)
    columns = result_columns(outcomes, model=model, version=job.version, seed=job.seed, n_samples=job.n_samples)
    path = job.path("results", number)
    write_table(path, columns, metadata={_KEY: json.dumps(about)})
    return Record(number, len(outcomes), about["errors"], about["doubtful"], _sha256(path))


def read_record(job: Job, number: int) -> Record | None:
    """Look whether a shard is complete; None if its files are missing or damaged.

    Raises
    ------
    ConfigError
        If there is a shard of another run.
    """
    path = job.path("results", number)
    if not path.exists() or (job.keep_samples and not job.path("samples", number).exists()):
        return None
    try:
        header = read_header(path)
    except InputError:
        return None
    about = json.loads(header.metadata.get(_KEY, "{}"))
    if (about.get("run"), about.get("shard")) != (job.run_id(), number):
        raise ConfigError(
            f"{path}: this file is from another run, expected shard {number} of this one; use another --out folder"
        )
    return Record(number, header.n_rows, about["errors"], about["doubtful"], _sha256(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=1)
def _model(name: str, expected: str, device: str) -> Model:
    model = load_model(name)
    if fingerprint(model) != expected:
        raise ConfigError(
            f"{name}: this worker's model differs from that of the run, expected the same files on all machines; "
            "give --model a folder that all of them share"
        )
    return model.to(device)


def _check_version(job: Job) -> None:
    if __version__ != job.version:
        raise ConfigError(
            f"sfhflow {__version__} is installed here, expected {job.version} as where the run was started; "
            "install the same version on all machines"
        )
