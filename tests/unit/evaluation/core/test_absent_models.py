"""What keeps votes away, in words: models by their names, of many the first."""

from __future__ import annotations

import pytest

from annotate.models import LanguageModel
from evaluation.core.absent_models import Lack, in_words


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ("", "get no votes."),
        ("A", "Enter: A get no votes."),
        ("AB", "Enter: A and B get no votes."),
        ("ABC", "Enter: A, B and C get no votes."),
        ("ABCDE", "Enter: A, B, C and 2 more get no votes."),
    ],
)
def test_models_are_named_in_one_sentence(names: str, text: str):
    models = tuple(LanguageModel(name=name) for name in names)
    assert Lack("outside", "get no votes.", models, "Enter: ").text == text


def test_what_is_lacking_follows_the_sentence_before():
    assert in_words([], "Here.") == "Here." and in_words([Lack("a", "A."), Lack("b", "B.")], "Here.") == "Here. A. B."
