"""The folder of a run: its manifest, the lock that keeps two runs apart, and what killed runs leave behind.

The manifest says what was run on what, with which model, and in the end which shards there are and their hashes.
The content hash of a run is the SHA-256 of the hashes of its shards in order.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sfhflow.errors import ConfigError
from sfhflow.parquet import temporary_files, whole_file
from sfhflow.survey.job import Job, Record

try:
    import fcntl
except ImportError:  # no such locks on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["MANIFEST", "begin", "content_hash", "finish", "locked", "sweep"]

MANIFEST = "manifest.json"
FORMAT = 1
_INPUTS = "inputs_fingerprint"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder; the lock ends with the process, however that ends.

    Raises
    ------
    ConfigError
        If another run is at work there, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot be used for results ({error.strerror}), expected a folder; choose another --out"
        ) from error
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # some network file systems have no locks at all: then there is none
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            os.close(handle)
            raise ConfigError(
                f"{folder}: another survey is writing there, expected to be alone; wait for it or choose another "
                "--out"
            ) from error
    try:
        yield
    finally:
        os.close(handle)


def begin(job: Job, inputs: Sequence[str], n_shards: int) -> None:
    """Write the manifest of a new run, or check that the one that is there belongs to the same run.

    Raises
    ------
    ConfigError
        If the folder holds a run with other settings, inputs, model or version.
    """
    path = Path(job.folder, MANIFEST)
    if path.exists():
        _check_same(path, job)
        return
    _write(path, {**_head(job, inputs), "status": "running", "n_shards": n_shards})


def finish(job: Job, inputs: Sequence[str], records: Sequence[Record]) -> dict[str, Any]:
    """Write the manifest of a complete run, and return it.

    Raises
    ------
    ConfigError
        If it cannot be written.
    """
    shards = [
        {
            "file": str(job.path("results", record.number).relative_to(job.folder)),
            "rows": record.rows,
            "errors": record.errors,
            "doubtful": record.doubtful,
            "sha256": record.sha256,
        }
        for record in records
    ]
    totals = {key: sum(shard[key] for shard in shards) for key in ("rows", "errors", "doubtful")}  # type: ignore[misc]
    manifest = {
        **_head(job, inputs),
        "status": "complete",
        "n_shards": len(shards),
        **totals,
        "content_hash": content_hash(records),
        "shards": shards,
    }
    _write(Path(job.folder, MANIFEST), manifest)
    return manifest


def content_hash(records: Sequence[Record]) -> str:
    """SHA-256 of the hashes of all shards, one a line, in order."""
    lines = "".join(f"{record.sha256}\n" for record in records)
    return hashlib.sha256(lines.encode()).hexdigest()


def sweep(folder: Path) -> None:
    """Delete the unfinished files of processes that were killed."""
    for kind in (".", "results", "samples"):
        for path in temporary_files(folder / kind):
            path.unlink(missing_ok=True)


def _head(job: Job, inputs: Sequence[str]) -> dict[str, Any]:
    return {"format": FORMAT, "inputs": list(inputs), "model": job.model, "settings": job.settings()}


def _write(path: Path, manifest: dict[str, Any]) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _check_same(path: Path, job: Job) -> None:
    try:
        before = json.loads(path.read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({error}), expected the manifest of a survey; use another --out folder"
        ) from error
    now = job.settings()
    changed = [key for key in now if before.get(key) != now[key]]
    if not changed:
        return
    if changed == [_INPUTS]:
        found = "the inputs differ (files, their sizes or their numbers of rows)"
    else:
        named = (
            f"{key} was {_short(before.get(key))} and is {_short(now[key])}" for key in changed if key != _INPUTS
        )
        found = ", ".join(named)
    raise ConfigError(
        f"{path.parent}: holds a survey with other settings: {found}, expected the same to go on with it; "
        "repeat its command, or use another --out folder"
    )


def _short(value: Any) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) > 20 else str(value)
