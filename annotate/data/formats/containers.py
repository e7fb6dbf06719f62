"""Write rows as the bytes of a file: JSON lines, a JSON list, CSV or Parquet, packed or not, in flat memory. Pure: no
Django.

CSV and Parquet name their columns before the first row, so that the rows wait on disk until the last one is known. A
column whose values are lists or objects, but for conversations and lists of texts, holds JSON.
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import IO, Any, cast

from annotate.data.formats.items import Row

CONTAINERS = ("jsonl", "json", "csv", "parquet")
PACKED = tuple(f"{name}.gz" for name in CONTAINERS if name != "parquet")
_MIME = {"jsonl": "application/x-ndjson", "json": "application/json", "csv": "text/csv; charset=utf-8"}
_SINGLE = ("text", "whole", "number", "truth")
_AT_ONCE = 200
_BLOCK = 1 << 18


def content_type(container: str) -> str:
    return "application/gzip" if container.endswith(".gz") else _MIME.get(container, "application/vnd.apache.parquet")


def written(rows: Iterable[Row], container: str) -> Iterator[bytes]:
    plain = _WRITERS[container.removesuffix(".gz")](iter(rows))
    return _packed(plain) if container.endswith(".gz") else plain


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False)


def _json_lines(rows: Iterator[Row]) -> Iterator[bytes]:
    while part := "".join(f"{_line(row)}\n" for row in islice(rows, _AT_ONCE)):
        yield part.encode()


def _json_list(rows: Iterator[Row]) -> Iterator[bytes]:
    begins = "[\n"
    while part := ",\n".join(map(_line, islice(rows, _AT_ONCE))):
        yield (begins + part).encode()
        begins = ",\n"
    yield b"\n]\n" if begins == ",\n" else b"[]\n"


def _csv(rows: Iterator[Row]) -> Iterator[bytes]:
    with _Spool(rows) as spool:
        text = io.StringIO()
        table = csv.writer(text)
        # A name that holds what separates in other tables is quoted: whoever reads goes by the first line.
        odd = any(sign in name for name in spool.kinds for sign in "\t;")
        csv.writer(text, quoting=csv.QUOTE_ALL if odd else csv.QUOTE_MINIMAL).writerow(spool.kinds)
        for row in spool:
            table.writerow([_cell(row.get(name)) for name in spool.kinds])
            if text.tell() > _BLOCK:
                yield _drain(text)
        yield _drain(text)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else _line(value)


def _drain(text: io.StringIO) -> bytes:
    content = text.getvalue().encode()
    text.seek(0)
    text.truncate()
    return content


def _parquet(rows: Iterator[Row]) -> Iterator[bytes]:
    import pyarrow as pa  # late: half a second that no other export needs to pay
    import pyarrow.parquet as pq

    with _Spool(rows) as spool, tempfile.TemporaryFile() as file:
        schema = pa.schema([(name, _arrow(pa, kind)) for name, kind in spool.kinds.items()])
        with pq.ParquetWriter(file, schema, compression="zstd") as table:
            listed = iter(spool)
            while chunk := list(islice(listed, 1000)):
                columns = [
                    pa.array([_value(row.get(name), kind) for row in chunk], _arrow(pa, kind))
                    for name, kind in spool.kinds.items()
                ]
                table.write_table(pa.Table.from_arrays(columns, schema=schema))
        file.seek(0)
        yield from iter(lambda: file.read(_BLOCK), b"")


def _arrow(pa: Any, kind: str) -> Any:
    turn = pa.struct([("role", pa.string()), ("content", pa.string())])
    kinds = {
        "text": pa.string(), "whole": pa.int64(), "number": pa.float64(), "truth": pa.bool_(), "json": pa.string(),
        "texts": pa.list_(pa.string()), "turns": pa.list_(turn),
    }  # fmt: skip
    return kinds[kind]


def _value(value: Any, kind: str) -> Any:
    if value is None or (value == [] and kind in _SINGLE):  # an empty list is of no kind
        return None
    if kind == "json":
        return value if isinstance(value, str) else _line(value)
    return float(value) if kind == "number" else value


class _Spool:
    """Rows on disk, and the kind of value in each column."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self.kinds: dict[str, str] = {}
        self.file = cast(IO[bytes], tempfile.TemporaryFile())  # noqa: SIM115 - closed by __exit__
        for row in rows:
            for name, value in row.items():
                kind = _kind(value)
                self.kinds[name] = _both(self.kinds.get(name, ""), kind)
            self.file.write(f"{_line(row)}\n".encode())
        self.kinds = {name: kind or "text" for name, kind in self.kinds.items()}

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def __iter__(self) -> Iterator[Row]:
        self.file.seek(0)
        return (json.loads(line) for line in self.file)


def _kind(value: Any) -> str:
    if value is None or value == []:
        return ""
    if isinstance(value, list):
        if all(_is_turn(element) for element in value):
            return "turns"
        return "texts" if all(isinstance(text, str) for text in value) else "json"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "json"
    for kind, type_ in (("truth", bool), ("whole", int), ("number", float), ("text", str)):
        if isinstance(value, type_):
            return kind
    return "json"


def _is_turn(value: Any) -> bool:
    is_one = isinstance(value, dict) and set(value) == {"role", "content"}
    return is_one and all(isinstance(text, str) for text in value.values())


def _both(first: str, second: str) -> str:
    if first in ("", second) or not second:
        return second or first
    return "number" if {first, second} == {"whole", "number"} else "json"


def _packed(parts: Iterator[bytes]) -> Iterator[bytes]:
    press = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    for part in parts:
        if packed := press.compress(part):
            yield packed
    yield press.flush()


_WRITERS: dict[str, Callable[[Iterator[Row]], Iterator[bytes]]] = {
    "jsonl": _json_lines,
    "json": _json_list,
    "csv": _csv,
    "parquet": _parquet,
}
