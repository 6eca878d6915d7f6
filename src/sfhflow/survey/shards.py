"""Cut a survey into shards: the unit of work, of writing and of resuming.

A shard is a run of consecutive units of the sources (files or rows), at most `size` of them and, since a file may
hold thousands of spectra, about 256 MB of files.  The cut is a function of names, sizes on disk and row counts
alone, so it is made in one pass without opening the spectra and comes out the same whenever it is repeated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sfhflow.survey.sources import Source

__all__ = ["Plan", "cut_shards"]

MAX_BYTES = 256_000_000


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes
    ----------
    sources : tuple of Source
        All inputs.
    cuts : tuple
        For each shard, its parts as (number of the source, first unit, end).
    """

    sources: tuple[Source, ...]
    cuts: tuple[tuple[tuple[int, int, int], ...], ...]

    def __len__(self) -> int:
        return len(self.cuts)

    def parts(self, number: int) -> tuple[Source, ...]:
        """Sources of one shard, cut to what belongs to it."""
        return tuple(self.sources[source].cut(start, stop) for source, start, stop in self.cuts[number])

    def units(self, number: int) -> int:
        """Count the units of a shard: as many spectra, if no file holds several."""
        return sum(stop - start for _, start, stop in self.cuts[number])

    def fingerprint(self) -> str:
        """SHA-256 of the inputs: of paths, sizes and row counts, not of their contents."""
        digest = hashlib.sha256()
        for source in self.sources:
            for line in source.identity():
                digest.update(f"{line}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()


def cut_shards(sources: Sequence[Source], *, size: int, max_bytes: int = MAX_BYTES) -> Plan:
    """Cut sources into shards.

    Parameters
    ----------
    sources : sequence of Source
        The inputs.
    size : int
        Largest number of units in a shard.
    max_bytes : int
        A shard is complete once its files have this size, whatever their number.
    """
    cuts: list[tuple[tuple[int, int, int], ...]] = []
    parts: list[tuple[int, int, int]] = []
    room, room_bytes = size, max_bytes
    for number, source in enumerate(sources):
        start = 0
        while start < len(source):
            stop, used = _end(source, start, room, room_bytes)
            parts.append((number, start, stop))
            room, room_bytes, start = room - (stop - start), room_bytes - used, stop
            if room <= 0 or room_bytes <= 0:
                cuts.append(tuple(parts))
                parts, room, room_bytes = [], size, max_bytes
    if parts:
        cuts.append(tuple(parts))
    return Plan(tuple(sources), tuple(cuts))


def _end(source: Source, start: int, room: int, room_bytes: int) -> tuple[int, int]:
    """Where a shard with this much room ends in a source, and the bytes up to there; at least one unit fits."""
    stop, used = min(start + room, len(source)), 0
    for unit, n_bytes in zip(range(start, stop), _from(source.sizes(), start), strict=False):
        used += n_bytes
        if used >= room_bytes:
            return unit + 1, used
    return stop, used


def _from(sizes: Sequence[int], start: int) -> Iterator[int]:
    return (sizes[i] for i in range(start, len(sizes)))
