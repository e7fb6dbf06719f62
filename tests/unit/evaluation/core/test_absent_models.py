"""What keeps votes away, in words: models by their names, of many the first."""

from __future__ import annotations

import pytest

from annotate.models import LanguageModel
from evaluation.core.absent_models import Lack, in_words


@pytest.mark.parametrize(
    ("names", "more", "text"),
    [
        ("", 0, "get no votes."),
        ("A", 0, "A get no votes."),
        ("AB", 0, "A and B get no votes."),
        ("ABC", 0, "A, B and C get no votes."),
        ("ABC", 2, "A, B, C and 2 more get no votes."),
    ],
)
def test_models_are_named_in_one_sentence(names: str, more: int, text: str):
    models = tuple(LanguageModel(name=name) for name in names)
    assert Lack("get no votes.", models, more).text == text


def test_what_is_lacking_follows_the_sentence_before():
    assert in_words([], "Here.") == "Here." and in_words([Lack("A."), Lack("B.")], "Here.") == "Here. A. B."
