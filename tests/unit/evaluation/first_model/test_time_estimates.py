"""How long a step will take, before it begins."""

from __future__ import annotations

import pytest

from evaluation.first_model.time_estimates import (
    BY_DEMO,
    BY_EARLIER,
    START_SECONDS,
    EarlierRun,
    in_words,
    of_annotating,
    of_run,
)


def test_the_demo_is_the_guide_where_nothing_has_run():
    estimate = of_run("sample", 740, parameters=135e6)
    assert estimate.seconds == pytest.approx(160) and estimate.basis == BY_DEMO


def test_time_grows_with_parameters_and_tokens():
    small = of_run("sample", 100, parameters=135e6).seconds - START_SECONDS
    assert of_run("sample", 100, parameters=270e6, tokens=128).seconds - START_SECONDS == pytest.approx(4 * small)


def test_an_earlier_run_of_the_kind_counts_for_more_than_the_demo():
    earlier = EarlierRun(seconds=START_SECONDS + 50, items=100, parameters=1e9, tokens=64)
    estimate = of_run("sample", 200, parameters=2e9, tokens=32, earlier=[earlier])
    assert estimate.seconds == pytest.approx(START_SECONDS + 100) and estimate.basis == BY_EARLIER


def test_one_earlier_run_under_load_does_not_decide():
    earlier = [EarlierRun(seconds=START_SECONDS + s, items=100, parameters=1e9) for s in (50, 700, 60)]
    estimate = of_run("sample", 100, parameters=1e9, earlier=[*earlier, EarlierRun(seconds=9, items=0, parameters=1)])
    assert estimate.seconds == pytest.approx(START_SECONDS + 60)
    assert estimate.basis == "by the median of 3 earlier runs of this kind here"


def test_an_earlier_run_that_took_less_than_a_start_makes_no_negative_time():
    earlier = EarlierRun(seconds=4, items=10, parameters=1e5)
    assert of_run("dpo", 1000, parameters=1e5, earlier=[earlier]).seconds == pytest.approx(4)


def test_a_model_of_unknown_size_is_taken_for_a_small_one():
    assert of_run("dpo", 10, parameters=None).seconds == of_run("dpo", 10, parameters=135e6).seconds


def test_a_pair_and_a_thumb_are_reckoned_in_forward_passes_of_sft():
    """Three for what is learnt and one for its reference; a thumb has another answer and its reference beside it."""
    example, pair, thumb = (of_run(kind, 300, parameters=1e9).seconds - START_SECONDS for kind in ("sft", "dpo", "kto"))
    assert pair == pytest.approx(2 * 4 / 3 * example) and thumb == pytest.approx(2 * example)


def test_annotating_takes_the_median_of_what_it_took_here():
    assert of_annotating(10, [4, 6, 500]).seconds == 60
    assert of_annotating(10, []).seconds == 300


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3, "less than a minute"),
        (70, "about 1 minute"),
        (400, "about 7 minutes"),
        (1700, "about 30 minutes"),
        (3 * 3600, "about 3 hours"),
        (5 * 86400, "about 5 days"),
    ],
)
def test_rough_times_in_words(seconds, words):
    assert in_words(seconds) == words
