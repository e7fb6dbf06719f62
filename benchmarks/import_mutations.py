"""Damage to a file of rows, drawn from a seed: what comes of broken transfers, other programs and malice. A part of
`mutated_imports`."""

from __future__ import annotations

import datetime
import decimal
import gzip
import io
import json
import random
from collections.abc import Callable
from typing import Any

from annotate.data.formats.containers import written

Rows = list[dict[str, Any]]
CONTAINERS = ("jsonl", "json", "csv", "parquet", "jsonl.gz", "csv.gz")
# Put somewhere into the text of a file.
_PIECES = (
    *(b"\\ud800", b"\\udc00\\ud800", b"\\u0000", b"\0", b"\xed\xa0\x80", b"\xff\xfe", b"\xc3", b"\xf4\x90\x80\x80"),
    *(b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"-0", b'"', b'""', b"'", b"\\", b"\r", b"\n", b"\r\n", b"\t", b";"),
    *(b"{", b"}", b"[", b"]", b",", b":", b"null", b"[" * 100_000, b'{"a":' * 20_000, b"\xe2\x80\xa8", b"\xef\xbb\xbf"),
)
# Put in the place of a value.
_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 10**30, 1.5, float("nan"), float("inf"), "", " ", "\0", "a\0b", "x" * 300, [], [None], {}),
    *(
        {"a": {"b": []}},
        [[[[]]]],
        "NaN",
        "=1+1",
        "\ufeff",
        "\u202e",
        "😀" * 100,
        {"role": "user"},
        [{"role": 1}],
        "[",
        "{}",
    ),
    *([{"role": "user", "content": None}], [{"role": "assistant", "content": "x"}], "2026-13-45", "1e400", 2**63, "ｘ"),
)
LARGE = 3_000_000
BOMB = 60_000_000


def mutated(rows: Rows, draw: random.Random) -> tuple[bytes, str, str]:
    """Return a damaged file, its name's ending, and what was done to it."""
    container = draw.choice(CONTAINERS)
    done = []
    rows = json.loads(json.dumps(rows))
    if draw.random() < 0.5:
        mutate = draw.choice(_OF_ROWS)
        rows = mutate(rows, draw)
        done.append(mutate.__name__)
    if draw.random() < 0.04:
        content, container = foreign_parquet(draw), "parquet"
        done.append("foreign_parquet")
    else:
        content = _as_file(rows, container)
    for _ in range(draw.choice((0, 1, 1, 2)) if done else draw.choice((1, 1, 2))):
        mutate_bytes = draw.choice(_OF_BYTES)
        content = mutate_bytes(content, draw)
        done.append(mutate_bytes.__name__)
    if draw.random() < 0.1:
        container = draw.choice((*CONTAINERS, "txt", "tsv", "bin", "xlsx"))
        done.append("named_otherwise")
    return content, container, f"{' + '.join(name.strip('_') for name in done)} of {container}"


def _as_file(rows: Rows, container: str) -> bytes:
    try:
        return b"".join(written(rows, container))
    except (ValueError, OverflowError, TypeError):  # such values cannot stand in Parquet
        return json.dumps(rows).encode()


def _another_value(rows: Rows, draw: random.Random) -> Rows:
    row = draw.choice(rows)
    if row:
        row[draw.choice(list(row))] = draw.choice(_VALUES)
    return rows


def _another_value_everywhere(rows: Rows, draw: random.Random) -> Rows:
    name = draw.choice(list(rows[0]) or [""])
    return [row | {name: draw.choice(_VALUES)} for row in rows]


def _inner_value(rows: Rows, draw: random.Random) -> Rows:
    """Change a value inside a value."""
    row = draw.choice(rows)
    for _ in range(20):
        inner = draw.choice(list(row.values()) or [None])
        if isinstance(inner, list) and inner:
            at = draw.randrange(len(inner))
            if isinstance(inner[at], dict) and inner[at] and draw.random() < 0.7:
                inner[at][draw.choice(list(inner[at]))] = draw.choice(_VALUES)
            else:
                inner[at] = draw.choice(_VALUES)
            return rows
        if isinstance(inner, dict) and inner:
            inner[draw.choice(list(inner))] = draw.choice(_VALUES)
            return rows
    return rows


def _field_gone(rows: Rows, draw: random.Random) -> Rows:
    row = draw.choice(rows)
    if row:
        del row[draw.choice(list(row))]
    return rows


def _field_renamed(rows: Rows, draw: random.Random) -> Rows:
    for row in rows:
        if row:
            name = draw.choice(list(row))
            row[draw.choice((name.upper(), f" {name}", f"{name}\0", "", "id", "x" * 500))] = row.pop(name)
    return rows


def _large_field(rows: Rows, draw: random.Random) -> Rows:
    row = draw.choice(rows)
    if row:
        row[draw.choice(list(row))] = draw.choice(("ab ", "\n", "ä")) * (LARGE // 3)
    return rows


def _row_twice(rows: Rows, draw: random.Random) -> Rows:
    return [*rows, *rows]


def _many_fields(rows: Rows, draw: random.Random) -> Rows:
    return [row | {f"field {n}": n for n in range(2000)} for row in rows[:2]]


_OF_ROWS: tuple[Callable[[Rows, random.Random], Rows], ...] = (
    *(_another_value, _another_value, _another_value, _another_value_everywhere, _inner_value, _inner_value),
    *(_inner_value, _field_gone, _field_renamed, _large_field, _row_twice, _many_fields),
)


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _slice_gone(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content) + 1)
    return content[:start] + content[start + draw.randrange(200) :]


def _bytes_flipped(content: bytes, draw: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(draw.randint(1, 20) if damaged else 0):
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def _piece_inserted(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content) + 1)
    return content[:at] + draw.choice(_PIECES) + content[at:]


def _value_replaced(content: bytes, draw: random.Random) -> bytes:
    """Put a piece in the place of what stands behind a colon or a comma."""
    at = content.find(draw.choice((b": ", b",", b'"')), draw.randrange(len(content) + 1))
    return content if at < 0 else content[: at + 1] + draw.choice(_PIECES) + content[at + 2 :]


def _key_twice(content: bytes, draw: random.Random) -> bytes:
    return content.replace(b"{", b'{"prompt": "twice", "prompt": 1, ', draw.choice((1, -1)))


def _other_encoding(content: bytes, draw: random.Random) -> bytes:
    text = content.decode("utf-8", "replace")
    return text.encode(draw.choice(("utf-16", "utf-16-be", "utf-32", "latin-1", "utf-7", "cp037")), "replace")


def _marked(content: bytes, draw: random.Random) -> bytes:
    return draw.choice((b"\xef\xbb\xbf", b"\xef\xbb\xbf" * 2, b"\xff\xfe", b"\n" * 5, b" ", b"\0")) + content


def _other_line_ends(content: bytes, draw: random.Random) -> bytes:
    return content.replace(b"\n", draw.choice((b"\r\n", b"\r", b"\n\n", b"\n \n", b"\x0b", b"")))


def _quotes(content: bytes, draw: random.Random) -> bytes:
    return content.replace(b'"', draw.choice((b"'", b'""', b"", b'\\"', b"\xe2\x80\x9c")))


def _appended(content: bytes, draw: random.Random) -> bytes:
    return content + draw.choice((content, b"\0" * 1000, b"x", b"]", b"PAR1", draw.randbytes(500)))


def _noise(content: bytes, draw: random.Random) -> bytes:
    head = draw.choice((b"", b"", b"PAR1", b"\x1f\x8b\x08", b"PK\x03\x04", b"[", b"{"))
    return head + draw.randbytes(draw.choice((0, 1, 7, 500)))


def _packed(content: bytes, draw: random.Random) -> bytes:
    return gzip.compress(content, 1)


def _packed_and_damaged(content: bytes, draw: random.Random) -> bytes:
    return draw.choice((_cut, _bytes_flipped, _appended))(gzip.compress(content, 1), draw)


def _bomb(content: bytes, draw: random.Random) -> bytes:
    """Pack what is thousands of times as large when unpacked: blanks, one long line, brackets, an unfinished text."""
    filler = draw.choice((b" ", b"\n", b"a", b"[", b'{"a":', b'"', b"\0", b"0"))
    return gzip.compress(draw.choice((b"", content, b"[", b'{"prompt": "')) + filler * (BOMB // len(filler)), 1)


_OF_BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(_cut, _cut, _slice_gone, _bytes_flipped, _bytes_flipped, _piece_inserted, _piece_inserted, _piece_inserted),
    *(_value_replaced, _value_replaced, _value_replaced, _key_twice, _other_encoding, _marked, _other_line_ends),
    *(_quotes, _appended, _noise, _packed, _packed_and_damaged, _packed_and_damaged),
)


def bomb(rows: Rows, draw: random.Random) -> tuple[bytes, str, str]:
    """Return a small file that is large when unpacked."""
    return _bomb(_as_file(rows, "jsonl"), draw), draw.choice(("jsonl.gz", "json.gz", "csv.gz", "txt.gz")), "bomb"


def foreign_parquet(draw: random.Random) -> bytes:
    """Return a table that other programs write: odd types under the names that readers look for."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    moments = [datetime.datetime(2026, 1, 2), None]
    columns = [
        pa.array([decimal.Decimal("1.50"), None]), pa.array(moments, pa.timestamp("ns")),
        pa.array([b"\xff\0", b"x"]), pa.array([{"a": [1]}, None]), pa.array([[["x"]], []]),
        pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())), pa.array(["a", "b"]).dictionary_encode(),
        pa.array([2**63, 1], pa.uint64()), pa.array([float("nan"), float("-inf")]), pa.nulls(2),
        pa.array([10**15, None], pa.timestamp("s")), pa.array([1, None], pa.duration("ns")),
        pa.array([True, None]), pa.array(["?" * 50_000, "a\0b"]), pa.array([10**8, 0], pa.date32()),
    ]  # fmt: skip
    names = draw.sample(["prompt", "chosen", "rejected", "messages", "text", "winner", "question", "a", "", "id"], 5)
    table = pa.table([draw.choice(columns) for _ in names], names=names)
    file = io.BytesIO()
    pq.write_table(table, file, compression=draw.choice(("none", "zstd", "gzip")))
    return file.getvalue()
