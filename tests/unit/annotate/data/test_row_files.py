"""Files of rows: read as a stream, told where they are, and gone on with behind a row."""

from __future__ import annotations

import gzip
import io
import json
import math
import re
import tracemalloc
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from annotate.data.rows import json_arrays, parquet_rows, row_source
from annotate.data.rows.row_files import read_rows
from annotate.data.rows.row_source import TooLarge, UnreadableFile

ROWS = [{"n": n, "text": f'row {n} "é日本" \\ [,] {{}}'} for n in range(1000)]


def as_lines(rows=ROWS) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_list(rows=ROWS, **how) -> bytes:
    return json.dumps(rows, **how).encode()


def as_csv(rows=ROWS) -> bytes:
    def cell(value) -> str:
        return '"' + str(value).replace('"', '""') + '"'

    return ("n,text\r\n" + "".join(f"{row['n']},{cell(row['text'])}\r\n" for row in rows)).encode()


def as_parquet(rows=ROWS) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out, row_group_size=100)
    return out.getvalue()


FILES = {
    "rows.jsonl": as_lines(),
    "rows.json": as_list(),
    "indented.json": as_list(indent=2, ensure_ascii=False),
    "rows.csv": as_csv(),
    "rows.parquet": as_parquet(),
}
FILES |= {f"{name}.gz": gzip.compress(content) for name, content in FILES.items()}


def read(name: str, **how) -> list:
    return list(read_rows(io.BytesIO(FILES[name]), name, **how))


@pytest.mark.parametrize("name", FILES)
def test_every_file_gives_the_same_rows(name):
    wanted = ROWS if "csv" not in name else [{"n": str(row["n"]), "text": row["text"]} for row in ROWS]
    assert [row.row for row in read(name)] == wanted


@pytest.mark.parametrize("name", FILES)
def test_how_far_it_is_read_grows_to_the_size_of_the_file(name):
    positions = [row.position for row in read(name)]
    assert all(earlier <= later for earlier, later in pairwise(positions)) and positions[0] > 0
    assert len(FILES[name]) * 0.98 <= positions[-1] <= len(FILES[name])


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0, 1, 499, 998, 999])
def test_it_is_gone_on_with_behind_a_row(name, place):
    whole = read(name)
    rest = read(name, after=whole[place].line, position=whole[place].position)
    assert [(row.line, row.row) for row in rest] == [(row.line, row.row) for row in whole[place + 1 :]]


def test_plain_lines_begin_at_once_where_they_were_left():
    class Counting(io.BytesIO):
        got = 0

        def readline(self, *arguments):
            line = super().readline(*arguments)
            self.got += len(line)
            return line

    whole = read("rows.jsonl")
    file = Counting(FILES["rows.jsonl"])
    assert [row.line for row in read_rows(file, "x.jsonl", after=990, position=whole[989].position)] == [
        *range(991, 1001)
    ]
    assert file.got < len(FILES["rows.jsonl"]) / 50


def test_lines_that_are_no_rows_are_told_and_counted():
    content = b'\xef\xbb\xbf{"a": 1}\n\n[1]\n{"a": \n"x"\n\xff\n{"a": 2}'
    rows = list(read_rows(io.BytesIO(content)))
    assert [(row.line, row.row, bool(row.problem)) for row in rows] == [
        (1, {"a": 1}, False), (3, {}, True), (4, {}, True), (5, {}, True), (6, {}, True), (7, {"a": 2}, False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1 2]", "neither a comma nor the end of the list stands at character 3"),
        ("[1,]", "Expecting value at character 3"),
        ('[{"a": 1}', "neither a comma nor the end"),
        ('[{"a": 1}, {"b"', "at character"),
        ('[{"a": 1}] more', "something follows the end of the list at character 11"),
        ('["' + "x" * 300 + '"]', "no element that ends within 200 characters"),
    ],
)
def test_what_is_no_list_is_said_with_its_place(text, words, monkeypatch):
    monkeypatch.setattr(json_arrays, "_WINDOW", 7)
    with pytest.raises(ValueError, match=words):
        list(json_arrays.rows(io.BytesIO(text.encode()), 200))


@pytest.mark.parametrize("window", [1, 2, 3, 5, 16, 1000])
def test_a_list_is_read_through_a_window_of_any_size(window, monkeypatch):
    monkeypatch.setattr(json_arrays, "_WINDOW", window)
    values = [1234567, -1.5e10, '日本\u2028é\\"', {"a": [{}, [], None, True]}, [[["deep"]]], 0, "", 17]
    for how in ({}, {"indent": 3}, {"ensure_ascii": False}):
        content = b"\xef\xbb\xbf  " + json.dumps(values, **how).encode() + b"\n\n"
        assert list(json_arrays.rows(io.BytesIO(content), 10_000)) == values
    assert list(json_arrays.rows(io.BytesIO(b"[ ]"), 10)) == []


def test_rows_before_damage_in_a_list_are_had():
    rows = read_rows(io.BytesIO(b'[{"a": 1}, {"a": 2}, oops]'))
    assert [next(rows).row["a"], next(rows).row["a"]] == [1, 2]
    with pytest.raises(UnreadableFile, match="after row 2"):
        next(rows)


def test_a_packed_parquet_file_fills_no_disk_before_a_row_is_read(monkeypatch):
    """It is read from its end, so all of it is unpacked first: also where an import could be 100 GB of rows."""
    monkeypatch.setattr(parquet_rows, "LARGEST_COPY", 1000)
    bomb = gzip.compress(b"PAR1" + bytes(10**6))
    with pytest.raises(TooLarge, match="send it as it is"):
        next(read_rows(io.BytesIO(bomb), "rows.parquet.gz", largest=10**11))
    assert next(read_rows(io.BytesIO(FILES["rows.parquet"]), "rows.parquet")).row == ROWS[0]


@pytest.mark.parametrize(
    "name", ["rows.json", "rows.jsonl", "rows.csv", "rows.parquet", "rows.jsonl.gz", "rows.parquet.gz"]
)
def test_a_file_that_unpacks_beyond_the_bound_is_refused(name):
    with pytest.raises(TooLarge, match="split it"):
        read(name, largest=20_000)


def test_a_packed_file_that_breaks_off_is_told():
    with pytest.raises(UnreadableFile, match="damaged"):
        list(read_rows(io.BytesIO(FILES["rows.jsonl.gz"][:-200]), "x.jsonl.gz"))


@pytest.mark.slow
def test_a_long_list_takes_no_memory():
    one = json.dumps({"text": "x" * 2000}).encode()

    class Endless:
        """A list of 20,000 rows, 40 MB, made as it is read."""

        def __init__(self) -> None:
            self.left, self.rest = 20_000, b"["

        def read(self, n: int = -1) -> bytes:
            while len(self.rest) < n and self.left:
                self.left -= 1
                self.rest += one + (b"," if self.left else b"]")
            part, self.rest = self.rest[:n], self.rest[n:]
            return part

    tracemalloc.start()
    assert sum(1 for _ in json_arrays.rows(Endless(), row_source.LONGEST_LINE)) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


def parquet(**columns) -> io.BytesIO:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return io.BytesIO(out.getvalue())


def test_what_parquet_holds_beside_texts_and_numbers_can_stand_in_json():
    day, moment = date(2026, 11, 25), datetime(2026, 11, 25, 8, 30)
    mixed = pa.array([{"when": moment, "score": math.nan}], pa.struct([("when", pa.timestamp("us")), ("score", "f8")]))
    columns = {"day": [day], "moment": [moment], "score": [math.nan], "ratio": [math.inf], "price": [Decimal("1.50")]}
    columns |= {"name": [b"r\xc3\xa9mi"], "picture": [b"\xff\xd8\x00"], "mixed": mixed}
    (found,) = read_rows(parquet(**columns), "x.parquet")
    assert found.row == {
        "day": "2026-11-25", "moment": "2026-11-25T08:30:00", "score": None, "ratio": "inf", "price": "1.50",
        "name": "rémi", "picture": None, "mixed": {"when": "2026-11-25T08:30:00", "score": None},
    }  # fmt: skip
    json.dumps(found.row, allow_nan=False)


@pytest.mark.parametrize("content", [b'{"a": NaN, "b": Infinity}\n', b'[{"a": NaN, "b": Infinity}]'])
def test_what_json_has_no_number_for_is_nothing_or_a_word(content):
    (found,) = read_rows(io.BytesIO(content), "x.json")
    assert found.row == {"a": None, "b": "Infinity"}


def test_a_line_that_is_too_long_is_told_and_the_next_is_read(monkeypatch):
    monkeypatch.setattr(row_source, "LONGEST_LINE", 50)
    content = b'{"n": 1}\n{"n": "' + b"x" * 500 + b'"}\n{"n": 3}\n'
    one, long, three = read_rows(io.BytesIO(content), "x.jsonl")
    assert (one.row, three.row, three.line) == ({"n": 1}, {"n": 3}, 3) and "50 bytes" in long.problem
    assert [row.line for row in read_rows(io.BytesIO(content), "x.jsonl", after=2, position=long.position)] == [3]
    assert [row.line for row in read_rows(io.BytesIO(content), "x.jsonl", after=1, position=one.position)] == [2, 3]


@pytest.mark.parametrize("name", ["x.jsonl", "x.txt"])
def test_a_line_that_is_just_too_long_costs_no_other(name, monkeypatch):
    monkeypatch.setattr(row_source, "LONGEST_LINE", 50)
    long = b'{"n": "' + b"x" * (50 - len(b'{"n": ""}')) + b'"}\n'
    rows = read_rows(io.BytesIO(b'{"n": 1}\n' + long + b'{"n": 3}\n'), name, "txt" if name == "x.txt" else "jsonl")
    assert [(row.line, "3" in str(row.row)) for row in rows] == [(1, False), (2, False), (3, True)]


def test_a_column_name_may_hold_what_separates_others():
    (found,) = read_rows(io.BytesIO(b'prompt;"chosen, really"\nq;"a ""b""\nc"\n'), "x.csv")
    assert found.row == {"prompt": "q", "chosen, really": 'a "b"\nc'}


def test_lines_of_old_macs_are_refused_in_words():
    with pytest.raises(UnreadableFile, match="line feeds"):
        list(read_rows(io.BytesIO(b"a,b\r1,2\r3,4\r"), "x.csv"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"a": "b"}\n'.encode("utf-16"), "UTF-16"),
        ("a,b\n1,2\n".encode("utf-16-le"), "UTF-16"),
        (b"PK\x03\x04...", "zip archive"),
        (b"\x28\xb5\x2f\xfd...", "zstd"),
        (gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), "more than once"),
        (b'{\n "data": [\n {"a": 1}\n]}\n', "one JSON object over many lines"),
    ],
)
def test_a_file_of_another_kind_says_what_it_is(content, words):
    with pytest.raises(UnreadableFile, match=words):
        list(read_rows(io.BytesIO(content), "rows.csv" if b"," in content[:4] else "rows.json"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"a": "gr\xfc\xdfe"}', "UTF-8.*save the file as UTF-8"),
        (b'{"a": 1,}', "not JSON.*character 9"),
        (b'{"a": ' + b"[" * 2_000 + b"]" * 2_000 + b"}", "nested too deeply"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "thousands of digits"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "has 'c' twice"),
    ],
)
def test_a_line_that_is_no_row_says_why(line, words):
    first, odd, last = read_rows(io.BytesIO(b'{"n": 1}\n' + line + b'\n{"n": 3}\n'), "rows.jsonl")
    assert (first.row, last.row) == ({"n": 1}, {"n": 3}) and odd.line == 2
    assert re.search(words, odd.problem), odd.problem


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"gr\xfc\xdfe,2", "save the file as UTF-8"),
        (b"x\ry,2", "new-line character"),
        (b'"x"y,2', "quote the text"),
        (b"1,2,3", "3 columns where the first line names 2"),
    ],
)
def test_an_odd_line_of_a_table_costs_no_other(line, words):
    first, odd, last = read_rows(io.BytesIO(b"a,b\n1,2\n" + line + b"\n3,4\n"), "rows.csv")
    assert (first.row, last.row, last.line) == ({"a": "1", "b": "2"}, {"a": "3", "b": "4"}, 4)
    assert odd.line == 3 and words in odd.problem


def test_a_quotation_mark_that_does_not_close_never_swallows_rows_in_silence():
    for open_line in (b'"x,2', b'1,"x'):
        good, odd = read_rows(io.BytesIO(b"a,b\n1,2\n" + open_line + b"\n3,4\n"), "rows.csv")
        assert good.row == {"a": "1", "b": "2"} and odd.line == 3 and "quote" in odd.problem


def test_a_row_of_a_table_is_bounded_however_many_lines_it_has(monkeypatch):
    monkeypatch.setattr(row_source, "LONGEST_LINE", 1_000)
    with pytest.raises(UnreadableFile, match="quotation mark that is not closed"):
        list(read_rows(io.BytesIO(b'a,b\n1,"' + b"x\n" * 1_000), "rows.csv"))


def test_columns_may_be_named_over_several_lines():
    (row,) = read_rows(io.BytesIO(b'"a\nb",c\n1,2\n'), "rows.csv")
    assert (row.line, row.row) == (3, {"a\nb": "1", "c": "2"})


def test_a_file_of_nothing_is_left_before_long(monkeypatch):
    monkeypatch.setattr(row_source, "LONGEST_VOID", 10_000)
    monkeypatch.setattr(row_source, "LONGEST_LINE", 1_000)
    for nothing in (b"\n" * 20_000, b"x" * 20_000, b"[" + b" " * 500_000):
        with pytest.raises(UnreadableFile, match=r"There is no row within|nothing but white space"):
            list(read_rows(io.BytesIO(gzip.compress(nothing)), "rows.jsonl.gz"))


def test_a_moment_that_no_calendar_has_costs_its_row_alone():
    out = io.BytesIO()
    pq.write_table(pa.table({"n": [1, 2], "at": pa.array([2**62, 1], pa.timestamp("us"))}), out)
    odd, good = read_rows(out, "rows.parquet")
    assert odd.problem and good.row["n"] == 2
