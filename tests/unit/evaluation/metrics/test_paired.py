"""Two models on the same items: differences, their intervals, tests, and corrections for many."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.metrics import definitions as families
from evaluation.metrics import paired_tests
from evaluation.metrics.definitions import METRICS

GOLDEN = json.loads((Path(__file__).parents[4] / "tests/support/golden" / "paired.json").read_text())
ACCURACY, PERPLEXITY, BLEU, ROUGE = (METRICS[name] for name in ("accuracy", "perplexity", "BLEU", "ROUGE-L"))


def scores(values) -> np.ndarray:
    return np.stack([np.asarray(values, float), np.ones(len(values))], axis=1)


def ends(found: paired_tests.Difference) -> tuple[float, float]:
    assert found.lower is not None
    assert found.upper is not None
    return found.lower, found.upper


def test_the_difference_is_the_second_minus_the_first():
    difference = paired_tests.difference(ACCURACY, scores([1, 0, 0, 0]), scores([1, 1, 1, 0]))
    assert (difference.first, difference.second, difference.value, difference.n, difference.differing) == (
        0.25,
        0.75,
        0.5,
        4,
        2,
    )
    assert difference.p == 0.5  # two items, both the one way: 2 * (1/2)^2


@pytest.mark.parametrize("case", GOLDEN["mcnemar"])
def test_mcnemar_agrees_with_statsmodels(case):
    assert paired_tests.mcnemar(case["gained"], case["lost"]) == pytest.approx(case["p"], rel=1e-9)


@pytest.mark.parametrize("case", GOLDEN["permutation"])
def test_swaps_agree_with_scipys_paired_permutation_test(case):
    difference = paired_tests.difference(ROUGE, scores(case["first"]), scores(case["second"]))
    assert difference.p == pytest.approx(case["p"], abs=case["within"])
    assert difference.value == pytest.approx(case["difference"])


@pytest.mark.parametrize("case", GOLDEN["t"])
def test_the_interval_of_a_mean_is_students(case):
    difference = paired_tests.difference(ROUGE, scores(case["first"]), scores(case["second"]))
    assert ends(difference) == pytest.approx((case["lower"], case["upper"]), rel=2e-4)
    assert difference.standard_error == pytest.approx(case["standard_error"])


@pytest.mark.parametrize("case", GOLDEN["corrections"])
def test_corrections_agree_with_statsmodels(case):
    assert paired_tests.holm(case["p"]) == pytest.approx(case["holm"])


def test_a_resampled_interval_agrees_with_scipys():
    """BLEU of two systems: scipy's BCa on the same statistic, other random numbers."""
    case = GOLDEN["bootstrap"]
    first, second = np.array(case["first"], float), np.array(case["second"], float)
    difference = paired_tests.difference(BLEU, first, second, draws=10_000)
    assert difference.value == pytest.approx(case["difference"])
    assert ends(difference) == pytest.approx((case["lower"], case["upper"]), abs=0.25)
    assert difference.standard_error == pytest.approx(case["standard_error"], rel=0.05)


def test_the_same_seed_gives_the_same_interval_and_another_one_another():
    random = np.random.default_rng(0)
    first, second = random.integers(1, 9, size=(2, 30, 10)).astype(float)
    one, again, other = (paired_tests.difference(BLEU, first, second, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one.lower != other.lower


def test_pairing_sees_what_two_separate_intervals_do_not():
    random = np.random.default_rng(1)
    tokens = random.integers(20, 60, 80).astype(float)
    hard = random.normal(3, 1, 80)
    first = np.stack([tokens * hard, tokens], 1)
    second = np.stack([tokens * (hard - 0.05 + random.normal(0, 0.02, 80)), tokens], 1)
    difference = paired_tests.difference(PERPLEXITY, first, second)
    assert ends(difference)[1] < 0, "clearly lower"
    assert difference.gain > 0, "and lower is better"
    assert difference.p < 0.01


def test_two_models_that_answer_alike_differ_by_nothing_known_for_certain():
    same = scores([1] * 30 + [0] * 10)
    difference = paired_tests.difference(ACCURACY, same, same)
    assert (difference.value, difference.p, difference.differing) == (0.0, 1.0, 0)
    assert ends(difference)[0] < 0 < ends(difference)[1], "forty equal answers do not prove that all are equal"


def test_items_that_all_moved_by_as_much_give_no_interval_without_width():
    difference = paired_tests.difference(ROUGE, scores([1.0] * 5), scores([0.5] * 5))
    assert (difference.value, difference.p) == (-0.5, 2 / 32)
    assert (difference.standard_error, difference.lower, difference.upper) == (None, None, None)


def test_ratios_are_swapped_with_their_units():
    """By hand: losses 1 and 3 on 1 token, then 2 and 2 on 2 tokens; of four swaps two reach the gap that was found."""
    first, second = np.array([[1.0, 1], [2, 2]]), np.array([[3.0, 1], [2, 2]])
    difference = paired_tests.difference(METRICS["bits per byte"], first, second)
    assert (difference.p, difference.test) == (1.0, "swaps, all 2")


@pytest.mark.slow
def test_intervals_hold_the_truth_and_tests_err_at_their_rate():
    """500 pairs of models without a difference, 40 items each."""
    random = np.random.default_rng(3)
    held = alarms = 0
    for seed in range(500):
        hard = random.beta(2, 2, 40)
        first, second = (np.clip(hard + random.normal(0, 0.1, 40), 0, 1) for _ in range(2))
        difference = paired_tests.difference(ROUGE, scores(first), scores(second), draws=400, seed=seed)
        held += ends(difference)[0] <= 0 <= ends(difference)[1]
        alarms += difference.p < 0.05
    assert 0.92 <= held / 500 <= 0.98
    assert 0.02 <= alarms / 500 <= 0.08


def test_intervals_of_right_and_wrong_hold_the_truth():
    """1,000 pairs of models that are right on 70 and 75 % of all items, mostly the same ones; 60 items each."""
    random = np.random.default_rng(8)
    held = 0
    for _ in range(1000):
        luck, other = random.random(60), random.random(60)
        first = luck < 0.7
        second = np.where(random.random(60) < 0.7, luck < 0.75, other < 0.75)  # 30 % of its luck is its own
        lower, upper = ends(paired_tests.difference(ACCURACY, scores(first), scores(second)))
        held += lower <= 0.05 <= upper
    assert 0.93 <= held / 1000 <= 0.98


def test_other_items_are_refused_by_name():
    first = {"a": "1", "b": "2", "c": "3"}
    with pytest.raises(
        paired_tests.NotTheSameItems, match=r"1 were asked in other words \(b\).*1 stand in the first alone"
    ):
        paired_tests.check_same(first, {"a": "1", "b": "9"})
    with pytest.raises(paired_tests.NotTheSameItems, match="second alone"):
        paired_tests.check_same({"a": "1"}, first)
    paired_tests.check_same(first, dict(reversed(first.items())))


def test_different_numbers_of_items_are_refused():
    with pytest.raises(paired_tests.NotTheSameItems):
        paired_tests.difference(ACCURACY, scores([1, 0]), scores([1]))


def test_too_few_items_have_no_interval():
    difference = paired_tests.difference(BLEU, np.ones((3, 10)), np.ones((3, 10)))
    assert (difference.lower, difference.upper, difference.standard_error) == (None, None, None)


def test_what_each_item_makes_of_a_mean_adds_up_to_its_difference():
    pulls = paired_tests.pull(ACCURACY, scores([1, 0, 0, 0]), scores([1, 1, 0, 1]))
    assert pulls.tolist() == [0.0, 0.25, 0.0, 0.25]


def test_verdicts_go_by_the_corrected_p_and_the_metrics_direction():
    lower_loss = paired_tests.difference(
        PERPLEXITY, np.array([[2.0, 1]] * 20 + [[2.1, 1]]), np.array([[1.9, 1]] * 20 + [[2.0, 1]])
    )
    assert paired_tests.verdict(lower_loss, 0.01) == "better"
    assert paired_tests.verdict(lower_loss, 0.06) == "undecided"
    assert paired_tests.verdict(paired_tests.difference(ACCURACY, scores([1] * 9), scores([0] * 9)), 0.01) == "worse"


def test_items_to_settle_shrink_with_the_square_of_the_difference():
    random = np.random.default_rng(4)
    noise = random.normal(0, 0.1, 100)
    noise -= noise.mean()
    items = [
        paired_tests.items_to_settle(
            paired_tests.difference(ROUGE, scores(np.full(100, 0.5)), scores(0.5 + gap + noise))
        )
        for gap in (0.01, 0.02)
    ]
    assert items[0] and items[1]
    assert items[0] / items[1] == pytest.approx(4, rel=0.02)
    assert (
        paired_tests.items_to_settle(paired_tests.difference(families.find("win rate"), scores([1, 0]), scores([1, 0])))
        is None
    )
