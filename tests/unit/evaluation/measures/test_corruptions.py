"""Passages of one length, and what is made of them: each kind changes what it says and nothing else."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from evaluation.recipes import corruptions

TEXT = "The sea was calm that day.\nNobody spoke a word. The captain looked at the map again.\nThen the wind rose."


def draw() -> random.Random:
    return random.Random(3)


def document(lines: int, of: str = "line") -> dict:
    return {"text": "".join(f"{of} {i} of a longer document, as it happens.\n" for i in range(lines)), "source": "s"}


def test_passages_are_of_about_one_length_and_end_with_lines():
    rows = [document(60), {"text": "too short"}, document(1)]
    passages = corruptions.passages(rows, 200, 100, seed=0)
    assert len(passages) > 8 and all(100 <= len(p.text.encode()) <= 300 for p in passages)
    assert all(p.text.endswith("happens.") and p.source == "s" for p in passages)


def test_a_line_without_end_is_cut_at_words():
    passages = corruptions.passages([{"text": "word " * 500}], 100, 100, seed=0)
    assert passages and all(set(p.text.split()) == {"word"} and len(p.text) <= 150 for p in passages)


def test_the_draw_is_the_seeds_and_not_the_orders():
    rows = [document(20, of) for of in ("a", "b", "c")]
    one, other, again = (
        corruptions.passages(given, 200, 5, seed) for given, seed in ((rows, 0), (rows, 1), (rows[::-1], 0))
    )
    assert one == again != other and len(one) == 5


def test_shuffled_words_are_the_same_words_in_each_line():
    words_shuffled = corruptions.words_shuffled(TEXT, draw())
    assert words_shuffled != TEXT
    for line, was in zip(words_shuffled.split("\n"), TEXT.split("\n"), strict=True):
        assert Counter(line.split(" ")) == Counter(was.split(" "))


def test_swapped_letters_are_neighbours_in_few_words():
    letters_swapped = corruptions.letters_swapped(TEXT, draw(), 0.2)
    changed = [(a, b) for a, b in zip(letters_swapped.split(), TEXT.split(), strict=True) if a != b]
    assert 1 <= len(changed) <= 4
    for spoilt, was in changed:
        places = [i for i in range(len(was)) if spoilt[i] != was[i]]
        assert len(places) == 2 and places[1] == places[0] + 1 and sorted(spoilt) == sorted(was)


def test_reversed_sentences_stay_whole():
    sentences_reversed = corruptions.sentences_reversed(TEXT, draw())
    assert sentences_reversed.startswith("Then the wind rose.") and sentences_reversed.endswith(
        "The sea was calm that day."
    )


def test_a_repeated_sentence_takes_the_place_of_the_next():
    sentence_repeated = corruptions.sentence_repeated(TEXT, draw())
    assert max(Counter(s.strip() for s in sentence_repeated.replace("\n", " ").split(".") if s.strip()).values()) == 2
    assert abs(len(sentence_repeated) - len(TEXT)) < 40


def test_a_strangers_sentence_stands_in_place_of_the_longest():
    stranger = "Quarterly revenue exceeded all expectations."
    stranger_inserted = corruptions.stranger_inserted(TEXT, draw(), [stranger])
    assert (
        stranger in stranger_inserted and "captain" not in stranger_inserted and "The sea was calm" in stranger_inserted
    )


@pytest.mark.parametrize("strangers", [[], ["Quarterly revenue exceeded all expectations."]])
def test_every_copy_differs_from_its_original(strangers):
    normal = corruptions.passages([document(40)], 200, 10, seed=0)
    found = corruptions.spoilt(normal, seed=0, share=0.05, strangers=strangers)
    assert ("a stranger's sentence" in found) == bool(strangers)
    assert found == corruptions.spoilt(normal, seed=0, share=0.05, strangers=strangers)
    for copies in found.values():
        assert all(copy.split() != normal[i].text.split() for i, copy in copies) and copies


def test_what_cannot_be_changed_is_no_copy():
    found = corruptions.spoilt([corruptions.Passage("one one one one")], seed=0, share=0.5, strangers=[])
    assert found["words shuffled"] == [] and found["a sentence repeated"] == []
