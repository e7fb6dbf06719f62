"""Reading sources row by row, with a place to go on from: files, Hub corpora, what Python carries, the app's texts.

A *part* is one file, or one split of a Hub corpus. It yields its rows in a fixed order, None for one that holds no
text, and can begin after any number of them.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from training.configs.corpus_sources import BadSource, Order
from training.core.run_directory import RecipeFailure, read_lines
from training.corpora.reading import hub_streams as hub
from training.corpora.reading import python_texts
from training.corpora.reading import unpacking_bounds as bounds
from training.corpora.reading.allowed_files import files_of
from training.corpora.reading.source_part import Part, no_field, text_of
from training.corpora.reading.text_files import encoding_of, opened, paragraphs, pieces

_PARQUET_BATCH = 64


def parts_of(
    orders: Sequence[Order],
    folders: Sequence[Path],
    app_texts: Path,
    *,
    fields: Sequence[str],
    documents: str,
    longest: int,
) -> list[Part]:
    """Return every part of every order. Raises RecipeFailure for a file that may not be read or is not there."""
    parts: list[Part] = []
    for number, order in enumerate(orders):
        if order.scheme == "hub":
            parts.append(Part(number, order.line, hub.reader(order, fields)))
        elif order.scheme == "python":
            texts = python_texts.topics if order.name == "topics" else python_texts.docstrings
            parts.append(Part(number, order.line, _all_of(texts), rows=python_texts.count(order.name)))
        elif order.scheme == "app":
            count = sum(row["source"] == order.name for row in read_lines(app_texts))
            parts.append(Part(number, order.line, _app_rows(app_texts, order.name), rows=count))
        else:
            parts += [
                Part(number, order.line, _file_reader(file, fields, documents, longest), file.stat().st_size)
                for file in _allowed(order, folders)
            ]
    return parts


def _allowed(order: Order, folders: Sequence[Path]) -> list[Path]:
    try:
        return files_of(order, folders)
    except BadSource as error:
        raise RecipeFailure("source_refused", str(error), "Correct the line in sources and queue it again.") from error


def _all_of(texts: Callable[[int], Iterator[str]]) -> Callable[[Part, int], Iterator[str | None]]:
    return lambda part, skip: texts(skip)


def _app_rows(path: Path, name: str) -> Callable[[Part, int], Iterator[str | None]]:
    def rows(part: Part, skip: int) -> Iterator[str | None]:
        texts = (row["text"] for row in read_lines(path) if row["source"] == name)
        yield from _after(texts, skip)

    return rows


def _file_reader(
    file: Path, fields: Sequence[str], documents: str, longest: int
) -> Callable[[Part, int], Iterator[str | None]]:
    kind = Path(file.name.removesuffix(".gz")).suffix

    def rows(part: Part, skip: int) -> Iterator[str | None]:
        try:
            if kind == ".parquet":
                yield from _parquet(file, part, fields, skip)
                return
            with file.open("rb") as raw, opened(raw, file.name) as stream:
                json_lines = (
                    _json_lines(stream, file, fields) if kind == ".jsonl" else _texts(stream, file, documents, longest)
                )
                for text in _after(json_lines, skip):
                    part.position = raw.tell()
                    yield text
        except (OSError, EOFError, zlib.error) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's or the system's own error, told as such
            raise RecipeFailure(
                "unreadable_file", f"{file.name} cannot be read completely: {error}", "Upload the complete file again."
            ) from error

    return rows


def _after(rows: Iterator[str | None], skip: int) -> Iterator[str | None]:
    for _ in range(skip):
        next(rows, None)
    yield from rows


def _texts(stream: IO[bytes], file: Path, documents: str, longest: int) -> Iterator[str | None]:
    text = io.TextIOWrapper(stream, encoding=encoding_of(file), errors="replace", newline=None)
    lines = bounds.text_lines(text, file.name)  # `text` stays alive: it would close the file when it goes
    if documents == "lines":
        yield from (line.rstrip("\n") for line in lines if line.strip())
    elif documents == "between blank lines":
        yield from paragraphs(lines)
    else:
        yield from pieces(lines, longest)


def _json_lines(stream: IO[bytes], file: Path, fields: Sequence[str]) -> Iterator[str | None]:
    for number, line in enumerate(bounds.json_lines(stream, file.name)):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        text = text_of(row, fields)
        if text is None and number == 0:
            raise no_field(file.name, row, fields)
        yield text


def _parquet(file: Path, part: Part, fields: Sequence[str], skip: int) -> Iterator[str | None]:
    import pyarrow
    import pyarrow.parquet as parquet

    with tempfile.TemporaryFile() as unpacked, file.open("rb") as raw:
        source: Any = raw
        if file.name.endswith(".gz"):
            with opened(raw, file.name, bounds.LARGEST_FILE) as stream:  # to disk: the tail comes first in parquet
                shutil.copyfileobj(stream, unpacked)
            source = unpacked
        try:
            table = parquet.ParquetFile(source)
        except pyarrow.ArrowInvalid as error:
            raise RecipeFailure(
                "unreadable_file", f"{file.name} is not a parquet file: {error}", "Upload it again."
            ) from error
        name = next((name for name in fields if name in table.schema_arrow.names), None)
        if name is None:
            raise no_field(file.name, dict.fromkeys(table.schema_arrow.names), fields)
        total = max(table.metadata.num_rows, 1)
        _check_parquet(table, file.name)
        try:
            for number, value in _cells(table, name, skip, file.name):
                part.position = part.size * number // total
                yield value if isinstance(value, str) and value.strip() else None
        except pyarrow.ArrowException as error:
            raise RecipeFailure(
                "unreadable_file", f"{file.name} cannot be read completely: {error}", "Upload the complete file again."
            ) from error


def _check_parquet(table: Any, name: str) -> None:
    """Check a table by what the file says of itself, before any of it is unpacked."""
    if table.metadata.num_rows > bounds.MOST_ROWS:
        raise bounds.too_large(name, f"{bounds.MOST_ROWS:,} rows")
    groups = [table.metadata.row_group(n) for n in range(table.num_row_groups)]
    if any(group.total_byte_size > bounds.LARGEST_FILE for group in groups):
        raise bounds.too_large(name, f"{bounds.LARGEST_FILE:,} bytes in one group of rows, unpacked")


def _cells(table: Any, name: str, skip: int, file: str) -> Iterator[tuple[int, Any]]:
    """Yield (how many rows are done, the cell) from row `skip` on; whole row groups before it are not read.

    A text that stands in every row is written once, and unpacks to as many: what comes out is counted.
    """
    first_row = size = 0
    for group in range(table.num_row_groups):
        count = table.metadata.row_group(group).num_rows
        if first_row + count > skip:
            number = first_row
            for batch in table.iter_batches(_PARQUET_BATCH, row_groups=[group], columns=[name]):
                size += batch.nbytes
                if size > bounds.LARGEST_IMPORT:
                    raise bounds.too_large(file, f"{bounds.LARGEST_IMPORT:,} bytes, unpacked")
                for value in batch.column(0):
                    number += 1
                    if number > skip:
                        yield number, value.as_py()
        first_row += count
