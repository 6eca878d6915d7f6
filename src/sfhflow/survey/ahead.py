"""Read ahead: a thread fetches the next items while the present one is being worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["read_ahead"]

T = TypeVar("T")

_END = object()


def read_ahead(items: Iterator[T], *, depth: int = 2) -> Iterator[T]:
    """Yield the items of an iterator that runs in a thread of its own, at most `depth` ahead.

    What the iterator raises is raised here, after the items before it.  Closing this generator waits for the item
    that the thread is at, and fetches no more.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
    try:
        waiting = deque(pool.submit(next, items, _END) for _ in range(depth))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, items, _END))
            yield item  # type: ignore[misc]
    finally:
        pool.shutdown(cancel_futures=True)
