import random
from dataclasses import replace

import pytest

from training.rl.guards import (
    Behaviour,
    Bounds,
    distinct_in_groups,
    distinct_pairs,
    distinct_share,
    drift,
    pairs_error,
    share_error,
)

PARENT = Behaviour(length=60, distinct=1.0, distinct_2=0.9)
BOUNDS = Bounds(kl=8.0, shortest=0.5, longest=2.0, distinct=0.6)


@pytest.mark.parametrize(
    ("now", "code", "used"),
    [
        (Behaviour(60, 1.0, 0.9, kl=4.0), "kl_limit", 0.5),
        (Behaviour(4, 1.0, 0.9, kl=1.0), "length_collapse", (1 - 4 / 60) / 0.5),
        (Behaviour(150, 1.0, 0.9), "length_runaway", 1.5),
        (Behaviour(60, 0.2, 0.9), "answers_alike", 2.0),
        (Behaviour(60, 1.0, 0.45), "answers_alike", 1.25),
    ],
)
def test_the_nearest_bound_is_named_with_the_share_of_it_used_up(now: Behaviour, code: str, used: float):
    found = drift(now, PARENT, BOUNDS)
    assert found.code == code
    assert found.used == pytest.approx(used)


def test_the_parent_itself_has_used_up_nothing():
    assert drift(PARENT, PARENT, BOUNDS).used == 0


def test_a_bound_on_kl_can_be_switched_off():
    assert drift(Behaviour(60, 1.0, 0.9, kl=99), PARENT, Bounds(None, 0.5, 2.0, 0.6)).used == 0


def test_one_word_answers_of_the_first_trial_are_out_of_bounds():
    assert drift(Behaviour(4, 0.3, 0.0, kl=6), Behaviour(44, 1.0, 0.9), BOUNDS).used > 1


def test_a_parent_of_single_words_has_no_pairs_to_compare():
    assert drift(Behaviour(1, 1.0, 0.0), Behaviour(1, 1.0, 0.0), BOUNDS).used == 0


def test_texts_that_differ_in_case_and_space_are_one():
    assert distinct_share(["A b", "a  B ", "c"]) == pytest.approx(2 / 3)


def test_word_pairs_are_counted_over_all_texts():
    assert distinct_pairs(["a b c", "a b d"]) == pytest.approx(3 / 4)
    assert distinct_pairs(["one", ""]) == 0


# --- chance


def test_a_difference_that_chance_explains_uses_up_nothing():
    parent = Behaviour(54.5, 1.0, 0.9, errors={"length": 2.0})
    noisy = Behaviour(48.0, 1.0, 0.9, errors={"length": 3.0})
    assert drift(noisy, parent, BOUNDS).used == 0


def test_what_is_beyond_chance_uses_up_its_excess():
    parent = Behaviour(60, 1.0, 0.9, errors={"length": 3.0})
    now = Behaviour(30, 1.0, 0.9, errors={"length": 4.0})
    assert drift(now, parent, BOUNDS).used == pytest.approx((30 - 2 * 5) / 30)


def test_a_share_of_none_has_an_error_too():
    assert 0.02 < share_error(0.0, 32) < 0.1
    assert share_error(0.5, 10_000) == pytest.approx(0.005, rel=1e-2)


def test_a_batch_with_hardly_a_pair_of_words_is_not_taken_for_sameness():
    parent = Behaviour(16, 1.0, 0.98, errors={"distinct_2": 0.02})
    for texts in (["abc", "def", "ghi"], ["ab c", "def", "ghi"]):
        pairs = distinct_pairs(texts)
        now = Behaviour(16, 1.0, pairs, errors={"distinct_2": pairs_error(pairs, texts)})
        assert drift(now, parent, BOUNDS).used < 1
    assert pairs_error(0.9, ["some five words stand here"] * 100) == pytest.approx(0.03, abs=0.005)


# --- answers that no longer end


ENDS = Bounds(kl=None, shortest=0.5, longest=2.0, distinct=0.6, ends=0.5)


def test_answers_that_are_all_cut_off_are_out_of_bounds_though_they_can_grow_no_longer():
    parent = Behaviour(54.5, 1.0, 0.9, ends=0.28, errors={"ends": share_error(0.28, 64)})
    now = Behaviour(64.0, 1.0, 0.9, ends=0.0, errors={"ends": share_error(0.0, 256)})
    found = drift(now, parent, ENDS)
    assert found.code == "answers_cut_off" and found.used > 1
    assert "0 % of the answers end by themselves where 28 %" in found.message


def test_a_parent_whose_answers_never_end_is_no_measure():
    assert drift(Behaviour(64, 1.0, 0.9, ends=0.0), Behaviour(64, 1.0, 0.9, ends=0.0), ENDS).used == 0


def test_more_answers_that_end_use_up_nothing():
    assert drift(Behaviour(54, 1.0, 0.9, ends=0.9), Behaviour(54, 1.0, 0.9, ends=0.3), ENDS).used == 0


# --- fluency


FLUENT = Behaviour(60, 1.0, 0.9, surprise=2.8, entropy=2.8, foreign=0.0)
FLUENCY = Bounds(None, 0.5, 2.0, 0.6, surprise=0.2, entropy=0.3, lowest_entropy=0.4, foreign=0.05)


@pytest.mark.parametrize(
    ("change", "code", "used"),
    [
        ({"surprise": 3.3}, "surprise_limit", 0.5 / 0.2),
        ({"surprise": 2.9}, "surprise_limit", 0.1 / 0.2),
        ({"entropy": 3.2}, "entropy_runaway", 0.4 / 0.3),
        ({"entropy": 1.0}, "entropy_collapse", 1.8 / (2.8 * 0.6)),
        ({"foreign": 0.2}, "foreign_scripts", 0.2 / 0.05),
    ],
)
def test_answers_that_read_less_well_than_the_parents_are_named(change: dict, code: str, used: float):
    found = drift(replace(FLUENT, **change), FLUENT, FLUENCY)
    assert found.code == code
    assert found.used == pytest.approx(used)


def test_answers_that_surprise_the_parent_less_than_its_own_use_up_nothing():
    assert drift(replace(FLUENT, surprise=2.0), FLUENT, FLUENCY).used == 0


def test_bounds_on_fluency_can_be_switched_off_and_an_older_baseline_has_none():
    worse = replace(FLUENT, surprise=9.0, entropy=9.0, foreign=0.9)
    assert drift(worse, FLUENT, Bounds(None, 0.5, 2.0, 0.6)).used == 0
    assert drift(worse, Behaviour(60, 1.0, 0.9), FLUENCY).used == 0


# --- as many texts


def test_the_share_of_word_pairs_is_compared_among_as_many_texts():
    words = [f"w{i}" for i in range(30)]
    draw = random.Random(3)
    texts = [" ".join(draw.choices(words, k=20)) for _ in range(512)]
    assert distinct_pairs(texts) < 0.6 * distinct_pairs(texts[:8])  # one model's own answers look like a collapse
    few, many = distinct_in_groups(texts[:64], 8), distinct_in_groups(texts, 8)
    assert few == pytest.approx(many, rel=0.02)


@pytest.mark.parametrize(("count", "size"), [(8, 3), (64, 48), (5, 5), (3, 9), (7, 1)])
def test_every_text_is_in_a_group_of_the_same_size(count: int, size: int):
    texts = [f"only {i}" for i in range(count)]
    texts[-1] = texts[-2] = "the same"
    share, pairs = distinct_in_groups(texts, size)
    assert 0 < share <= 1 and 0 < pairs <= 1
    assert (share < 1) == (min(size, count) > 1)  # the two that are the same stand together in a group
