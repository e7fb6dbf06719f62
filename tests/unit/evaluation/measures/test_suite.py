"""The suite that ships: what a machine can check of what people wrote."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from annotate.data.rows.choice_items import ChoiceItem
from evaluation.recipes import suite
from evaluation.recipes.common.choice_items import read_items
from training.configs.evaluate import EvaluateConfig

PARTS = ("agreement", "arithmetic", "commonsense", "coreference", "instructions", "negation")


@pytest.fixture(scope="module")
def parts() -> dict[str, list[ChoiceItem]]:
    choice_items: dict[str, list[ChoiceItem]] = defaultdict(list)
    for item in read_items(suite.rows(), 10_000).chosen:
        choice_items[item.group].append(item)
    return choice_items


def test_every_line_is_an_item_of_its_part(parts):
    assert {name: len(items) for name, items in parts.items()} == dict.fromkeys(PARTS, 33)
    assert len({item.id for items in parts.values() for item in items}) == 33 * len(PARTS)


def test_a_run_as_it_comes_asks_all_of_it(parts):
    config = EvaluateConfig()
    assert config.suite == suite.NAME and config.limit >= sum(map(len, parts.values()))


@pytest.mark.parametrize("part", PARTS)
def test_no_place_is_the_right_one_more_often(parts, part):
    items = parts[part]
    places = Counter(item.answer for item in items)
    assert set(places) == set(range(len(items[0].candidates))) and max(places.values()) - min(places.values()) <= 1


@pytest.mark.parametrize("part", PARTS)
def test_neither_the_longest_nor_the_shortest_is_a_good_guess(parts, part):
    """Within what 33 throws of a fair die give: two standard errors above chance."""
    items = parts[part]
    chance = 1 / len(items[0].candidates)
    allowed = chance + 2 * (chance * (1 - chance) / len(items)) ** 0.5
    for sign in (1, -1):
        assert sum(extreme(item, sign) for item in items) / len(items) <= allowed


def extreme(item: ChoiceItem, sign: int) -> float:
    """The point for always taking the longest (or with -1 the shortest); equal lengths share it."""
    lengths = [sign * len(candidate) for candidate in item.candidates]
    return (lengths[item.answer] == max(lengths)) / lengths.count(max(lengths))


def test_no_item_stands_twice(parts):
    texts = [(item.context, frozenset(item.candidates), item.suffix) for items in parts.values() for item in items]
    assert len(texts) == len(set(texts))


def test_candidates_end_alike(parts):
    """A full stop on one candidate alone would give it away."""
    for items in parts.values():
        for item in items:
            ends = {candidate[-1] in ".?!," for candidate in item.candidates}
            assert len(ends) == 1, item.id
