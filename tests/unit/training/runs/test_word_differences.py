"""The words that only one of two answers has are marked, and nothing of either text is lost."""

from __future__ import annotations

import pytest

from training.runs.figures.word_differences import MOST_WORDS, difference


def marked(pieces) -> list[str]:
    return [piece.text for piece in pieces if piece.is_marked]


def test_words_that_are_gone_and_words_that_are_new_are_marked():
    told = difference("The Moon pulls at the sea.", "The Moon and the Sun pull at the sea!")
    assert marked(told.before) == ["pulls", "."] and marked(told.after) == ["and the Sun pull", "!"]


@pytest.mark.parametrize(
    ("before", "after"),
    [("  a b\n\nc  ", "a\nb d"), ("", "new"), ("old", ""), ("same", "same"), ("ä-b, c?", "ä-b; c!"), (" ", "\n")],
)
def test_no_character_is_lost(before, after):
    told = difference(before, after)
    assert "".join(piece.text for piece in told.before) == before
    assert "".join(piece.text for piece in told.after) == after


def test_space_alone_is_no_difference():
    told = difference("one  two", "one\ntwo")
    assert not marked(told.before) and not marked(told.after) and not told.reason


def test_answers_with_hardly_a_word_in_common_are_not_marked():
    told = difference("alpha beta gamma delta epsilon", "one two three four five")
    assert not marked(told.before) and "few words in common" in told.reason


def test_very_long_answers_are_not_marked():
    told = difference("a " * (MOST_WORDS + 1), "b")
    assert not marked(told.after) and str(MOST_WORDS) in told.reason
