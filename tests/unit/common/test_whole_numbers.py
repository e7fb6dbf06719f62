"""What counts as a whole number where people and programs send texts."""

from __future__ import annotations

import pytest

from common.whole_numbers import row_id, row_ids, whole_number


def test_digits_are_a_number():
    assert (whole_number("12", None), whole_number("007", None), whole_number("0", None)) == (12, 7, 0)
    assert row_id("9" * 18) == 10**18 - 1


@pytest.mark.parametrize("text", ["", " 1", "1 ", "-1", "+1", "1.0", "1_0", "٣", "²", "x", "9" * 19, "9" * 5000])
def test_any_other_text_is_none(text):
    assert whole_number(text, None) is None and whole_number(text, text) == text
    assert row_id(text) == 0 and row_ids(["3", text, "1"]) == [3, 1]


def test_a_bound_of_digits_is_kept():
    assert whole_number("999", None, digits=3) == 999 and whole_number("1000", None, digits=3) is None
