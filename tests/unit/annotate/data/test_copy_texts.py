"""Rows as COPY reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from psycopg.types.json import Jsonb

from annotate.data.imports.copy_texts import copy_texts


def test_each_value_has_the_text_that_copy_reads_as_it():
    row = ("a\tb\nc\\d\re", None, True, False, 7, 0.1, Decimal("1.20"), datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "")
    (text,) = copy_texts([row], ("\\N", None))
    assert text == "a\\tb\\nc\\\\d\\re\t\\N\tt\tf\t7\t0.1\t1.20\t2026-01-02T03:04:00+00:00\t\t\\\\N\t\\N\n"


def test_a_column_of_many_rows_is_written_as_each_value_alone():
    values = ["", "a\tb", "\\N", "plain", "c\nd", ""]
    for column in (values, [*values, None], [*values, "a\0b"], [1, True, None], [2, 3]):
        together = "".join(copy_texts([(n, value) for n, value in enumerate(column)], ("x",)))
        alone = ["".join(copy_texts([(n, value)], ("x",))) for n, value in enumerate(column)]
        assert together == "".join(alone)


def test_json_is_written_as_the_column_would_have_it():
    row = (Jsonb({"a": "b\tc"}), Jsonb([1, None], dumps=lambda value: f"<{value}>"))
    assert list(copy_texts([row])) == ['{"a": "b\\\\tc"}\t<[1, None]>\n']


def test_many_rows_come_in_parts_and_in_order():
    parts = list(copy_texts([(n,) for n in range(250)]))
    assert len(parts) == 3 and "".join(parts) == "".join(f"{n}\n" for n in range(250))


def test_a_value_without_a_text_is_refused():
    with pytest.raises(TypeError, match="dict"):
        list(copy_texts([({"a": 1},)]))
