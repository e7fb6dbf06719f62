"""Rows of a Parquet file, group by group: no more of it in memory than it takes. Pure: no Django."""

from __future__ import annotations

import contextlib
import io
import math
import tempfile
from collections.abc import Iterator
from datetime import date, time
from typing import Any, BinaryIO

from annotate.data.rows import json_arrays
from annotate.data.rows.row_source import PARQUET, FileRow, Source, TooLarge, UnreadableFile

_BATCH = 256
LARGEST_COPY = 2_000_000_000  # bytes that a packed file takes of the disk while it is read
_PART = 1_000_000


def read_parquet(source: Source, after: int) -> Iterator[FileRow]:
    import pyarrow as pa  # late: half a second that no other upload needs to pay
    import pyarrow.parquet as pq

    if not source.begins.startswith(PARQUET):
        raise UnreadableFile("This is not a Parquet file: it does not start with PAR1.")
    with _seekable(source) as file:
        try:
            table = pq.ParquetFile(file)
            odd = [column.name for column in table.schema_arrow if not _is_as_json(pa, column.type)]
            bytes_each = _size(source.file) / max(1, table.metadata.num_rows)
            number, groups = _groups_behind(table.metadata, after)
            size = 0
            for batch in table.iter_batches(_BATCH, row_groups=groups):
                size += batch.nbytes
                if size > source.largest:  # a text that stands in every row is written once and unpacks to gigabytes
                    raise TooLarge(f"The file is larger than {source.largest:,} bytes when unpacked; split it.")
                for row in _listed(batch):
                    number += 1
                    position = round(number * bytes_each)
                    if row is None:
                        yield FileRow(number, {}, "has an invalid value, such as a date after the year 9999.", position)
                        continue
                    row |= {name: _as_json(row[name]) for name in odd}
                    yield FileRow(number, row, "", position)
        except pa.ArrowException as error:
            raise UnreadableFile(f"The Parquet file cannot be read: {error}") from error


def _listed(batch: Any) -> Iterator[dict[str, Any] | None]:
    """Convert a row; None for one of which something has no value in Python."""
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError):
        for index in range(batch.num_rows):
            try:
                yield batch.slice(index, 1).to_pylist()[0]
            except (ValueError, OverflowError):
                yield None


def _is_as_json(pa: Any, type: Any) -> bool:
    """Return whether whatever such a column holds can stand in JSON."""
    kinds = pa.types
    if kinds.is_dictionary(type) or kinds.is_list(type) or kinds.is_large_list(type):
        return _is_as_json(pa, type.value_type)
    if kinds.is_struct(type):
        return all(_is_as_json(pa, type.field(index).type) for index in range(type.num_fields))
    return any(
        fits(type)
        for fits in (kinds.is_string, kinds.is_large_string, kinds.is_integer, kinds.is_boolean, kinds.is_null)
    )


def _as_json(value: Any) -> Any:
    """Convert a value: a moment and a decimal to texts; bytes to the text they are, or nothing; what is no number to
    nothing."""
    if isinstance(value, float):
        return value if math.isfinite(value) else json_arrays.constant(str(value))
    if isinstance(value, bytes):
        with contextlib.suppress(UnicodeDecodeError):
            return value.decode()
        return None
    if isinstance(value, dict):
        return {str(name): _as_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(each) for each in value]
    if isinstance(value, date | time):
        return value.isoformat()
    return value if value is None or isinstance(value, str | int) else str(value)


def _groups_behind(metadata: Any, after: int) -> tuple[int, list[int]]:
    """Return how many rows to pass over, and the groups of rows that follow them."""
    n_before = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if n_before + rows > after:
            return n_before, list(range(group, metadata.num_row_groups))
        n_before += rows
    return n_before, []


def _size(file: BinaryIO) -> int:
    position = file.tell()
    size = file.seek(0, io.SEEK_END)
    file.seek(position)
    return size


def _seekable(source: Source) -> Any:
    """Return the file so that it can be read from its end, as Parquet is: a packed one is unpacked to disk first."""
    if not source.is_packed:
        return contextlib.nullcontext(source.file)
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's `with` closes it
    while part := source.read(_PART):
        copy.write(part)
        if source.read_so_far > LARGEST_COPY:
            raise TooLarge(
                f"The Parquet file unpacks to more than {LARGEST_COPY:,} bytes; send it as it is, without gzip, for it "
                "is packed within."
            )
    copy.seek(0)
    return copy
