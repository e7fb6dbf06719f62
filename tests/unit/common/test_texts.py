"""Texts that a database keeps."""

from __future__ import annotations

import pytest

from common.texts import is_storable, with_line_feeds


@pytest.mark.parametrize("text", ["", "a", "é", "\ud7ff", "\ue000", "\U0001f600", "\U0010ffff"])
def test_text_of_whole_characters_is_storable(text):
    assert is_storable(text) and is_storable(f"a{text}b")


@pytest.mark.parametrize("text", ["\x00", "\ud800", "\udbff", "\udc00", "\udfff", "\ud83d\ude00"])
def test_a_nul_or_half_a_surrogate_pair_is_not_storable(text):
    assert not is_storable(text) and not is_storable(f"a{text}b") and not is_storable(f"é{text}")


@pytest.mark.parametrize("text", ["a\r\n\r\nb\r\n", "a\n\nb\n", "a\r\rb\r"])
def test_lines_end_in_line_feeds(text):
    assert with_line_feeds(text) == "a\n\nb\n"
