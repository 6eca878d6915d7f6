"""Parquet files: tables with units, written whole or not at all.

A table is a mapping of names to `Column`: a list of values with their kind and unit.  The unit of a column is in
the metadata of its field under ``unit``, and what belongs to the table as a whole is text in the metadata of its
schema.  A file is written under another name, forced to disk and then renamed, so that a process killed at any
moment leaves either the whole file or none of that name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sfhflow.errors import ConfigError, InputError

__all__ = ["KINDS", "Column", "Header", "read_header", "read_rows", "temporary_files", "whole_file", "write_table"]

KINDS = {
    "bool": pa.bool_(),
    "bools": pa.list_(pa.bool_()),
    "float": pa.float64(),
    "float32": pa.float32(),
    "floats": pa.list_(pa.float64()),
    "floats32": pa.list_(pa.float32()),
    "int": pa.int64(),
    "string": pa.string(),
    "strings": pa.list_(pa.string()),
}
"""Kinds of columns; a plural is a list in every row."""

# Where Parquet keeps the floating-point numbers of a column.
_LEAVES = {"float": "{}", "float32": "{}", "floats": "{}.list.element", "floats32": "{}.list.element"}
# Rows decoded at once when a range is read: bounds the memory whatever the size of the row groups.
_ROWS_AT_ONCE = 128


@dataclass(frozen=True, eq=False)
class Column:
    """Values, one a row, with the name of their kind in `KINDS` and their unit; None is null, and so is NaN."""

    values: Sequence[Any] | np.ndarray
    kind: str = "float"
    unit: str = ""


@dataclass(frozen=True)
class Header:
    """What the footer of a file tells: its number of rows, the names of its columns, the text of its metadata."""

    n_rows: int
    names: tuple[str, ...]
    metadata: dict[str, str]


def write_table(
    path: str | os.PathLike[str],
    columns: Mapping[str, Column] | Iterable[Mapping[str, Column]],
    *,
    metadata: Mapping[str, str] | None = None,
    compact: bool = False,
) -> None:
    """Write a table, compressed with zstd.

    Parameters
    ----------
    path : str or path
        File to write; its folder is made if missing.
    columns : mapping, or iterable of mappings
        The columns by name; or one after another parts with the same columns, each written as a row group.
    metadata : mapping of str to str, optional
        Text that belongs to the table as a whole.
    compact : bool
        Store floating-point numbers as streams of their first, second ... bytes, which compresses better.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    parts = iter([columns] if isinstance(columns, Mapping) else columns)
    first = next(parts)
    fields = [pa.field(name, KINDS[c.kind], metadata={"unit": c.unit}) for name, c in first.items()]
    schema = pa.schema(fields, metadata=dict(metadata or {}))
    leaves = [_LEAVES[c.kind].format(name) for name, c in first.items() if c.kind in _LEAVES]
    options: dict[str, Any] = {"use_dictionary": False, "use_byte_stream_split": leaves} if compact else {}
    # numbers that do not compress are stored as they are, and without a checksum damage to them goes unnoticed
    options |= {"compression": "zstd", "write_page_checksum": True}
    with whole_file(path) as temporary, pq.ParquetWriter(temporary, schema, **options) as writer:
        writer.write_table(_table(first, schema))
        for part in parts:
            writer.write_table(_table(part, schema))


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read the footer of a file.

    Raises
    ------
    InputError
        If there is no readable Parquet file.
    """
    with _open(path) as file:
        schema = file.schema_arrow
        metadata = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
        return Header(file.metadata.num_rows, tuple(schema.names), metadata)


def read_rows(
    path: str | os.PathLike[str], start: int = 0, stop: int | None = None, *, names: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Read the rows ``start <= i < stop`` one after another, decoding only the row groups they lie in.

    Parameters
    ----------
    path : str or path
        The file.
    start, stop : int
        Range of rows; the whole file by default.
    names : sequence of str, optional
        Columns to read.

    Yields
    ------
    dict
        Values by name: arrays for lists of numbers, None for null, otherwise Python's own types.

    Raises
    ------
    InputError
        If there is no readable Parquet file, or its data are damaged.
    """
    with _open(path) as file:
        stop = file.metadata.num_rows if stop is None else min(stop, file.metadata.num_rows)
        groups, row = _row_groups(file.metadata, start, stop)
        for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=groups, columns=names):
            low, high = max(start - row, 0), min(stop - row, len(batch))
            row += len(batch)
            if low < high:
                yield from _records(batch.slice(low, high - low))


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move it there once it is complete and on disk.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{uuid4().hex[:8]}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            _to_disk(temporary)
            temporary.replace(target)
            _to_disk(target.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{target}: cannot be written ({error.strerror or error}), expected a folder in which files "
            "can be made; check the output folder, its permissions and the free space"
        ) from error


def temporary_files(folder: str | os.PathLike[str]) -> list[Path]:
    """What processes that were killed inside `whole_file` have left in a folder."""
    return sorted(Path(folder).glob(".*.tmp"))


def _to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, have reached the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _table(columns: Mapping[str, Column], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_arrays([_array(column) for column in columns.values()], schema=schema)


def _array(column: Column) -> pa.Array:
    values = column.values
    if column.kind == "string":
        # names of files need not be valid text
        values = [None if text is None else text.encode(errors="replace").decode() for text in values]
    # from_pandas makes NaN a null
    return pa.array(values, KINDS[column.kind], from_pandas=True)


@contextmanager
def _open(path: str | os.PathLike[str]) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: cannot be read as Parquet ({reason}), expected a whole file; write or download it again"
        ) from error


def _row_groups(metadata: Any, start: int, stop: int) -> tuple[list[int], int]:
    """Row groups that hold rows ``start ... stop``, and the number of the first row in them."""
    ends = np.cumsum([metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)])
    starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    groups = np.flatnonzero((ends > start) & (starts < stop))
    return groups.tolist(), int(starts[groups[0]]) if len(groups) else 0


def _records(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    columns = [_values(column) for column in batch.columns]
    for row in zip(*columns, strict=True):
        yield dict(zip(batch.schema.names, row, strict=True))


def _values(column: pa.Array) -> list[Any]:
    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if is_list and not pa.types.is_string(kind.value_type):
        # to_numpy of a boolean list needs a copy; a null inside becomes NaN
        rows = (scalar.values for scalar in column)
        return [None if row is None else row.to_numpy(zero_copy_only=False) for row in rows]
    return column.to_pylist()
