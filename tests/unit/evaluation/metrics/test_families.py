"""Metrics as functions of sums: their values, their intervals, and what they refuse."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from common.distributions import student95
from common.intervals import wilson
from evaluation.metrics import classes, resampling
from evaluation.metrics import definitions as families
from evaluation.metrics import figure_intervals as intervals
from evaluation.metrics.definitions import METRICS
from evaluation.metrics.figure_intervals import figure

GOLDEN = json.loads((Path(__file__).parents[4] / "tests/support/golden" / "families.json").read_text())


def scores(values) -> np.ndarray:
    return np.stack([np.asarray(values, float), np.ones(len(values))], axis=1)


def ends(found: intervals.Figure) -> tuple[float, float]:
    assert found.lower is not None
    assert found.upper is not None
    return found.lower, found.upper


def class_counts(case: dict, k: int) -> np.ndarray:
    return np.array([classes.counts(t, f, k) for t, f in zip(case["true"], case["found"], strict=True)])


def test_every_metric_is_a_function_of_any_number_of_totals_at_once():
    random = np.random.default_rng(0)
    for metric in METRICS.values():
        totals = random.integers(1, 50, size=(3, 4, len(metric.counts) or 9)).astype(float)
        together = metric.value(totals)
        assert together.shape == (3, 4), metric.name
        assert metric.value(totals[1, 2]) == pytest.approx(together[1, 2]), metric.name


def test_perplexity_is_the_corpuss_and_not_the_mean_of_its_texts():
    """Two tokens at 1/2 each, eight at 1/4 each."""
    counts = np.array([[2 * math.log(2), 2], [8 * math.log(4), 8]])
    assert figure(METRICS["perplexity"], counts).value == pytest.approx(2**1.8)
    assert figure(METRICS["bits per byte"], counts).value == pytest.approx(1.8)


@pytest.mark.parametrize("case", GOLDEN["classes"], ids=lambda case: str(case["classes"]))
def test_f1_and_mcc_agree_with_scikit_learn(case):
    counts = class_counts(case, case["classes"])
    assert figure(METRICS["macro F1"], counts).value == pytest.approx(case["macro F1"])
    assert figure(METRICS["MCC"], counts).value == pytest.approx(case["MCC"])
    pairs = list(zip(case["true"], case["found"], strict=True))
    for which, expected in enumerate(case["F1"]):
        of_one = np.array([classes.counts_of_one(t, f, which) for t, f in pairs])
        assert intervals.value_of(families.find(f"F1 of {which}"), of_one) == pytest.approx(expected)


def test_mcc_of_one_answer_for_all_is_nothing():
    counts = np.array([classes.counts(t, 0, 2) for t in (0, 1) * 10])
    assert figure(METRICS["MCC"], counts).value == 0


@pytest.mark.parametrize("case", GOLDEN["wilson"])
def test_right_and_wrong_have_wilsons_interval(case):
    found = figure(METRICS["accuracy"], scores([1] * case["right"] + [0] * (case["n"] - case["right"])))
    assert ends(found) == pytest.approx(case["ends"], abs=1e-12)


def test_the_standard_error_of_accuracy_is_lm_evaluation_harnesss():
    """lm_eval.api.metrics.mean_stderr: the sample's deviation over the root of n."""
    marks = [1, 1, 0, 1, 0, 1, 1]
    expected = np.std(marks, ddof=1) / math.sqrt(7)
    assert figure(METRICS["accuracy"], scores(marks)).standard_error == pytest.approx(expected)


@pytest.mark.parametrize("case", GOLDEN["student"])
def test_few_items_widen_the_interval_as_student_says(case):
    assert student95(case["freedom"]) == pytest.approx(case["t"], rel=2e-4)


def test_a_resampled_interval_agrees_with_scipys():
    case = GOLDEN["bootstrap"]
    found = figure(METRICS["MCC"], class_counts(case, 2), draws=5000)
    assert ends(found) == pytest.approx((case["lower"], case["upper"]), abs=0.015)
    assert found.standard_error == pytest.approx(case["standard_error"], rel=0.05)


def test_resampling_depends_on_the_seed_and_not_on_the_counts_nor_on_the_pieces(monkeypatch):
    counts = np.random.default_rng(0).random((50, 2))
    whole = resampling.resampled_totals(counts, 40, seed=3)
    assert resampling.resampled_totals(2 * counts, 40, seed=3) == pytest.approx(2 * whole)
    assert not np.allclose(resampling.resampled_totals(counts, 40, seed=4), whole)
    monkeypatch.setattr(resampling, "_CELLS", 100)  # two samples at a time
    assert resampling.resampled_totals(counts, 40, seed=3) == pytest.approx(whole)


def test_sorts_of_items_are_drawn_as_items_are(monkeypatch):
    counts = np.array([classes.counts(t, f, 2) for t, f in [(0, 0)] * 50 + [(1, 1)] * 30 + [(0, 1)] * 20])
    by_sort = resampling.resampled_totals(counts, 4000, seed=0)
    monkeypatch.setattr(resampling, "_ALIKE", 1000)
    by_item = resampling.resampled_totals(counts, 4000, seed=0)
    assert by_sort.mean(0) == pytest.approx(by_item.mean(0), abs=0.4)
    assert np.cov(by_sort.T) == pytest.approx(np.cov(by_item.T), abs=2.5)


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
    """400 corpora each: a ratio on 30 texts, F1 on 60; the truth from a corpus of a hundred thousand."""
    random = np.random.default_rng(5)

    def texts(n: int) -> np.ndarray:
        tokens = random.integers(5, 60, n).astype(float)
        return np.stack([tokens * random.normal(2, 0.6, n), tokens], 1)

    def labelled(n: int) -> np.ndarray:
        true = random.random(n) < 0.3
        found = np.where(random.random(n) < 0.8, true, ~true)
        return np.array([classes.counts_of_one(int(t), int(f), 1) for t, f in zip(true, found, strict=True)])

    for name, draw, n in (("perplexity", texts, 30), ("F1 of 1", labelled, 60)):
        metric = families.find(name)
        truth = intervals.value_of(metric, draw(100_000))
        held = sum(
            lower <= truth <= upper for lower, upper in (ends(figure(metric, draw(n), 400, i)) for i in range(400))
        )
        assert 0.92 <= held / 400 <= 0.98, name


def test_too_few_items_have_a_value_and_no_interval():
    found = figure(METRICS["BLEU"], np.array([[9.0, 9, 5, 4, 3, 2, 9, 8, 7, 6]] * 4))
    assert found.value > 0
    assert (found.lower, found.upper, found.standard_error) == (None, None, None)
    assert "4 items are too few for an interval; 10 are needed" in found.note


def test_items_that_are_all_alike_prove_nothing():
    perfect = figure(METRICS["macro F1"], np.array([classes.counts(t, t, 2) for t in (0, 1) * 10]))
    assert perfect.value == 1
    assert ends(perfect)[0] == pytest.approx(wilson(20, 20)[0])
    same = figure(METRICS["chrF2"], np.array([[5.0] * 18] * 20))
    assert (same.lower, same.upper) == (None, None)
    assert "all alike" in same.note


@pytest.mark.parametrize("bearing", [2, 5, 20])
def test_a_label_found_each_time_is_as_sure_as_the_few_texts_that_bear_it(bearing):
    """Of a thousand texts; the others say nothing of it."""
    counts = np.array([[1.0, 0, 0]] * bearing + [[0.0, 0, 0]] * (1000 - bearing))
    lower = wilson(bearing, bearing)[0]
    assert ends(figure(families.find("F1 of rare"), counts)) == (pytest.approx(2 * lower / (1 + lower)), 1)


def test_a_label_never_found_may_still_be_found():
    counts = np.array([[0.0, 0, 1]] * 2 + [[0.0, 1, 0]] + [[0.0, 0, 0]] * 997)
    upper = wilson(0, 3)[1]
    assert ends(figure(families.find("F1 of rare"), counts)) == (0, pytest.approx(2 * upper / (1 + upper)))


def test_an_interval_of_a_large_perplexity_ends_at_a_number():
    found = figure(METRICS["word perplexity"], np.array([[900.0, 1], [300.0, 1]]))
    assert ends(found)[0] == 1 and 1e300 < ends(found)[1] < math.inf
    assert found.standard_error == pytest.approx(300 * found.value)


def test_no_interval_is_without_width():
    found = figure(METRICS["MCC"], np.array([classes.counts(t, t, 2) for t in (0, 1) * 6]))
    assert (found.value, found.standard_error, found.lower, found.upper) == (1, None, None, None)


def test_an_interval_stays_within_what_the_metric_can_be():
    assert ends(figure(METRICS["ROUGE-L"], scores([0.99, 1.0, 1.0, 0.4])))[1] == 1
    low = figure(METRICS["perplexity"], np.array([[0.001, 5.0], [2.0, 5.0], [0.0, 5.0]]))
    assert ends(low)[0] >= 1


@pytest.mark.parametrize(
    ("name", "counts", "said"),
    [
        ("accuracy", np.empty((0, 2)), "at least one item"),
        ("accuracy", [[1.0, 1.0, 1.0]], "takes 2 counts of an item, not 3"),
        ("accuracy", [[1.0, 1.0], [float("nan"), 1.0]], "what item 1 counted is not finite"),
        ("perplexity", [[float("inf"), 1.0]], "not finite"),
        ("perplexity", [[1.0, 0.0], [2.0, 0.0]], "is not a number"),
    ],
)
def test_what_gives_no_number_is_refused(name, counts, said):
    with pytest.raises(ValueError, match=said):
        figure(METRICS[name], np.asarray(counts, dtype=float))


def test_an_unknown_metric_is_refused_by_name():
    with pytest.raises(ValueError, match="no metric 'elo'"):
        families.find("elo")


def test_a_class_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="2 classes"):
        classes.counts(0, 2, 2)
