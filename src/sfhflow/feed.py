r"""Training batches: simulated without end by worker processes, each galaxy used a few times.

A simulated galaxy costs several times what a gradient on it does, so the last `memory` simulated batches are
kept and the batch of every step is drawn from them at random; after every `reuse` steps the oldest makes room
for a fresh one.  With *S* steps of *B* galaxies, *S B / reuse* are simulated, each with its own noise, and
each is used `reuse` times on average.  What a step gets is a function of the seed and the step alone: not of
the number of workers, nor of interruptions.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfhflow.memory import keep_freed_memory

__all__ = ["Batch", "Feed", "Source"]

Batch = tuple[Tensor, Tensor]
"""Features (B, F) of a batch of galaxies and their unbounded coordinates (B, D)."""

Source = Callable[[int], Batch]
"""Gives the simulated batch of a number; must be picklable if worker processes are asked for."""

# simulated batches under way or waiting, for each worker
_AHEAD = 3


class Feed:
    """Stream of training batches.

    Parameters
    ----------
    source : Source
        Simulates batch number i = 0, 1, ...
    reuse : int
        Steps for each simulated batch.
    memory : int
        Simulated batches from which a step draws.
    workers : int
        Processes that simulate; with 0, a thread of this one does.
    """

    def __init__(self, source: Source, *, reuse: int = 1, memory: int = 1, workers: int = 0) -> None:
        self.source, self.reuse, self.memory, self.workers = source, reuse, memory, workers

    def batches(self, first: int, last: int, *, seed: int) -> Iterator[Batch]:
        """Batches of the steps `first` ... `last` - 1."""
        if first >= last:
            return
        oldest, newest = first // self.reuse, (last - 1) // self.reuse + self.memory
        with self._executor() as pool:
            fresh = self._simulated(pool, oldest, newest)
            kept = _Memory(self.memory)
            for _ in range(self.memory):
                kept.add(*next(fresh))
            for step in range(first, last):
                if step > first and step % self.reuse == 0:
                    kept.add(*next(fresh))
                yield kept.draw((seed, step))

    def _simulated(self, pool: Executor, first: int, last: int) -> Iterator[tuple[int, Batch]]:
        """Numbers and simulated batches in order, some of them being made ahead."""
        waiting: deque[tuple[int, Future[Arrays]]] = deque()
        todo = iter(range(first, last))
        simulate = _simulate_in_worker if self.workers else self._simulate_here
        try:
            while True:
                while len(waiting) < _AHEAD * max(1, self.workers) and (number := next(todo, None)) is not None:
                    waiting.append((number, pool.submit(simulate, number)))
                if not waiting:
                    return
                number, future = waiting.popleft()
                features, u = future.result()
                yield number, (torch.from_numpy(features), torch.from_numpy(u))
        finally:
            for _, future in waiting:
                future.cancel()

    def _simulate_here(self, number: int) -> Arrays:
        return _arrays(self.source(number))

    def _executor(self) -> Executor:
        if not self.workers:
            return ThreadPoolExecutor(max_workers=1)
        return ProcessPoolExecutor(
            self.workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(self.source,),
        )


class _Memory:
    """The last `size` batches; which of them has which place depends on its number alone."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.parts: list[Tensor] = []

    def add(self, number: int, batch: Batch) -> None:
        if not self.parts:
            self.parts = [part.new_empty(self.size, *part.shape) for part in batch]
        for kept, part in zip(self.parts, batch, strict=True):
            kept[number % self.size] = part

    def draw(self, seed: tuple[int, int]) -> Batch:
        """A batch of galaxies drawn without replacement."""
        n = self.parts[0].shape[1]
        chosen = np.random.default_rng(seed).choice(self.size * n, n, replace=False)
        features, u = (part.flatten(0, 1)[torch.from_numpy(chosen)] for part in self.parts)
        return features, u


# in half or in single precision
Arrays = tuple[NDArray[np.floating], NDArray[np.floating]]

# the source of a worker process
_sources: list[Source] = []


def _start_worker(source: Source) -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    _sources.append(source)


def _simulate_in_worker(number: int) -> Arrays:
    return _arrays(_sources[-1](number))


def _arrays(batch: Batch) -> Arrays:
    return batch[0].numpy(), batch[1].numpy()
