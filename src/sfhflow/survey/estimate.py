r"""How long a survey would take and how much disk it would need, from a short sample of it.

A few evenly spaced units of every source are read and inferred as the run itself would do it.  With :math:`N`
spectra, :math:`t` seconds a spectrum on one core and :math:`W` workers,

.. math:: T = N t / W, \qquad D = N b + S h,

where :math:`b` is the size of a row and :math:`h` that of the frame of a file, found from two files of different
length, and :math:`S` the number of shards.  Reading runs beside inference, so :math:`t` is the larger of the two;
but many workers share one disk, which the formula does not know.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from sfhflow import __version__
from sfhflow.errors import InputError
from sfhflow.model import Model, load_model
from sfhflow.parquet import write_table
from sfhflow.spectrum import Spectrum
from sfhflow.survey.entries import Entry
from sfhflow.survey.job import BATCH
from sfhflow.survey.outcomes import Outcome, infer_entries, one_thread, result_columns, sample_columns
from sfhflow.survey.run import SHARD_SIZE
from sfhflow.survey.sources import Files, Source, find_sources

__all__ = ["Estimate", "estimate_survey"]

T = TypeVar("T")

# sources looked at, files or stretches of rows in each, spectra kept of each of those, and inferred in all
_SOURCES = 8
_FILES = 8
_STRETCHES = 2
_KEPT = 32
_SPECTRA = 64
_WARM_UP = 4


@dataclass(frozen=True)
class Estimate:
    """What a survey would cost.

    Attributes
    ----------
    spectra : float
        Their number; exact for tables and packed files.
    sampled : int
        How many were tried.
    reading_s : float
        Seconds to read one.
    inference_s : float
        Seconds to infer and summarise one on one core.
    row_bytes : float
        Disk for the results of one, its samples too if they are kept.
    file_bytes : float
        Disk for each shard besides.
    shard_size : int
        Spectra in a shard.
    """

    spectra: float
    sampled: int
    reading_s: float
    inference_s: float
    row_bytes: float
    file_bytes: float
    shard_size: int

    def hours(self, n: float, *, workers: int = 1) -> float:
        """Hours for `n` spectra."""
        return n * max(self.reading_s, self.inference_s) / workers / 3600.0

    def gigabytes(self, n: float) -> float:
        """Disk for the results of `n` spectra, in GB."""
        return (n * self.row_bytes + max(1.0, n / self.shard_size) * self.file_bytes) / 1e9

    def text(self, *, workers: int = 1) -> str:
        """A table for a terminal."""
        lines = [
            f"tried         {self.sampled} spectra",
            f"reading       {1e3 * self.reading_s:.2f} ms a spectrum",
            f"inference     {1e3 * self.inference_s:.2f} ms a spectrum on one core, reading runs beside it",
            f"results       {self.row_bytes:.0f} bytes a spectrum and {self.file_bytes:.0f} a shard",
        ]
        for name, n in (("these inputs", self.spectra), ("a million", 1e6)):
            duration = _duration(self.hours(n, workers=workers))
            lines.append(
                f"{name:<13} {n:.0f} spectra: {duration} with {workers} worker{'s' * (workers > 1)}, "
                f"{_size(self.gigabytes(n))}"
            )
        return "\n".join(lines)


def estimate_survey(
    inputs: Sequence[str | os.PathLike[str]],
    *,
    model: str | Path = "default",
    n_samples: int = 1000,
    shard_size: int = SHARD_SIZE,
    keep_samples: bool = False,
) -> Estimate:
    """Try a short sample of a survey; nothing is left behind.

    Parameters
    ----------
    inputs, model, n_samples, shard_size, keep_samples
        As for `run_survey`.

    Raises
    ------
    InputError
        If there is nothing to read, or none of the spectra tried can be inferred.
    """
    loaded = load_model(model)
    sources = find_sources([os.fspath(path) for path in inputs])
    entries, total, reading_s = _sample(sources)
    usable = [entry for entry in entries if isinstance(entry.spectrum, Spectrum)]
    with one_thread():
        infer_entries(loaded, usable[:_WARM_UP], n_samples=n_samples, seed=0)
        chosen = _spread(usable, _SPECTRA)
        outcomes, seconds = _timed(
            lambda: infer_entries(loaded, chosen, n_samples=n_samples, seed=0, keep_samples=keep_samples)
        )
    answers = [outcome for outcome in outcomes if outcome.error is None]
    if not answers:
        errors = [str(entry.spectrum) for entry in entries if isinstance(entry.spectrum, InputError)]
        reason = next(iter([*errors, *(str(outcome.error) for outcome in outcomes)]))
        raise InputError(
            f"none of the {len(entries)} spectra tried can be inferred, expected most to; the first says: {reason}"
        )
    row, frame = _disk(answers, loaded, n_samples=n_samples, keep_samples=keep_samples)
    return Estimate(total, len(answers), reading_s, seconds / max(1, len(outcomes)), row, frame, shard_size)


def _sample(sources: Sequence[Source]) -> tuple[list[Entry], float, float]:
    """Some entries, the number of spectra in all sources, and the seconds to read one."""
    entries: list[Entry] = []
    seconds, n_read = 0.0, 0
    total = float(sum(len(source) for source in sources))
    for source in _spread(sources, _SOURCES):
        pieces = _pieces(source)
        read = [_read(piece) for piece in pieces]
        entries += [entry for kept, _, _ in read for entry in kept]
        seconds, n_read = seconds + sum(took for _, _, took in read), n_read + sum(n for _, n, _ in read)
        total += _number(source, pieces, [n for _, n, _ in read]) - len(source)
    return entries, total, seconds / max(1, n_read)


def _spread(items: Sequence[T], n: int) -> list[T]:
    """At most `n` evenly spaced items."""
    step = max(1, -(-len(items) // n))
    return list(items[step // 2 :: step]) or list(items[:1])


def _pieces(source: Source) -> list[Source]:
    """Parts of a source to be tried: single files, or stretches of rows as long as a batch."""
    length, n = (1, _FILES) if isinstance(source, Files) else (BATCH, _STRETCHES)
    return [source.cut(start, start + length) for start in _spread(range(0, len(source), length), n)]


def _read(piece: Source) -> tuple[list[Entry], int, float]:
    """A few entries of a piece, the number of all, and the seconds that reading took."""
    start, n = time.perf_counter(), 0
    kept: list[Entry] = []
    for n, entry in enumerate(piece.entries(), 1):
        if n <= _KEPT:
            kept.append(entry)
    return kept, n, time.perf_counter() - start


def _number(source: Source, pieces: Sequence[Source], counts: Sequence[int]) -> float:
    """Spectra in a source: as many as units, or, if files hold several, in proportion to their sizes."""
    if sum(counts) == sum(len(piece) for piece in pieces):
        return len(source)
    if not isinstance(source, Files):
        return len(source) * sum(counts) / sum(len(piece) for piece in pieces)
    return sum(source.sizes()) * sum(counts) / max(1, sum(sum(piece.sizes()) for piece in pieces))


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def _disk(outcomes: Sequence[Outcome], model: Model, *, n_samples: int, keep_samples: bool) -> tuple[float, float]:
    """Bytes for a row and for the frame of a file, from a file of all outcomes and one of half of them."""
    half = outcomes[: max(1, len(outcomes) // 2)]
    large, small = (
        _bytes(some, model, n_samples=n_samples, keep_samples=keep_samples) for some in (outcomes, half)
    )
    if len(half) == len(outcomes):
        return float(large), 0.0
    row = max(1.0, (large - small) / (len(outcomes) - len(half)))
    return row, max(0.0, large - row * len(outcomes))


def _bytes(outcomes: Sequence[Outcome], model: Model, *, n_samples: int, keep_samples: bool) -> int:
    with TemporaryDirectory() as folder:
        results, samples = Path(folder, "results.parquet"), Path(folder, "samples.parquet")
        write_table(
            results, result_columns(outcomes, model=model, version=__version__, seed=0, n_samples=n_samples)
        )
        if keep_samples:
            write_table(samples, sample_columns(outcomes), compact=True)
        return sum(path.stat().st_size for path in (results, samples) if path.exists())


def _size(gigabytes: float) -> str:
    for length, unit in ((1e3, "TB"), (1.0, "GB"), (1e-3, "MB")):
        if gigabytes >= length:
            return f"{gigabytes / length:.1f} {unit}"
    return f"{1e6 * gigabytes:.1f} kB"


def _duration(hours: float) -> str:
    for length, unit in ((8766.0, "years"), (24.0, "days"), (1.0, "hours"), (1 / 60, "minutes")):
        if hours >= 2 * length:
            return f"{hours / length:.1f} {unit}"
    return f"{3600 * hours:.1f} seconds"
