"""Shards on many processes or machines with Dask: each shard is a task.

Dask moves the tasks, restarts workers and repeats what a dead worker had begun.  Only a few shards a worker are
handed out at a time, so that the scheduler never holds millions of tasks.  Inputs, model and results must lie on a
file system that all workers share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from typing import Any

from sfhflow.errors import ConfigError
from sfhflow.extras import optional
from sfhflow.survey.ahead import read_ahead
from sfhflow.survey.job import Job, Record, batches, do_shard
from sfhflow.survey.shards import Plan
from sfhflow.survey.sources import Source

__all__ = ["on_cluster"]

# shards handed out for each thread of a worker: one at work, one waiting
_AHEAD = 2
_RETRIES = 2


def on_cluster(
    job: Job, plan: Plan, numbers: Sequence[int], *, workers: int | None, scheduler: str | None
) -> Iterator[Record]:
    """Do shards on a cluster, in whatever order they get done.

    Parameters
    ----------
    job : Job
        The settings.
    plan : Plan
        The inputs.
    numbers : sequence of int
        Shards to do.
    workers : int, optional
        Start so many processes here.
    scheduler : str, optional
        Or use the cluster at this address.

    Raises
    ------
    InputError
        If Dask is not installed, the cluster cannot be reached, or a shard cannot be done.
    """
    distributed = optional("distributed", extra="dask")
    with ExitStack() as stack:
        if scheduler is None:
            address: Any = stack.enter_context(_local(distributed, workers))
        else:
            address = scheduler
        client = stack.enter_context(_client(distributed, address))
        yield from _results(distributed, client, job, plan, numbers)


def _local(distributed: Any, workers: int | None) -> Any:
    # one thread each: torch computes on one; what a worker logs as an error is raised here too
    return distributed.LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    )


def _client(distributed: Any, address: Any) -> Any:
    try:
        return distributed.Client(address)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{address}: there is no Dask scheduler ({error}), expected an address such as tcp://host:8786; "
            "check --scheduler"
        ) from error


def _results(distributed: Any, client: Any, job: Job, plan: Plan, numbers: Sequence[int]) -> Iterator[Record]:
    waiting = iter(numbers)

    def submit(n: int) -> list[Any]:
        return [
            client.submit(_task, job, number, plan.parts(number), key=_key(job, number), retries=_RETRIES)
            for number in islice(waiting, n)
        ]

    running = distributed.as_completed(submit(_room(client)))
    for future in running:
        yield _result(distributed, future)
        # the cluster may have grown, or lost workers
        running.update(submit(max(1, _room(client) - running.count())))


def _room(client: Any) -> int:
    return _AHEAD * max(1, sum(client.nthreads().values()))


def _key(job: Job, number: int) -> str:
    return f"sfhflow-{job.run_id()[:12]}-{number:05d}"


def _result(distributed: Any, future: Any) -> Record:
    try:
        return future.result()
    except distributed.KilledWorker as error:
        raise ConfigError(
            f"shard {future.key.rsplit('-', 1)[-1]}: the workers that tried it died ({error}), expected them to "
            "live; give them more memory or make shards smaller with --shard-size"
        ) from error


def _task(job: Job, number: int, parts: tuple[Source, ...]) -> Record:
    return do_shard(job, number, parts, read_ahead(batches(parts)))
