"""The first free name: the stem, or a number behind it, never too long."""

from __future__ import annotations

from common.texts import first_free


def test_a_name_that_is_free_stays_and_another_gets_the_first_number_that_is():
    taken = {"tidy", "tidy (2)", "tidy-2"}
    assert first_free("short", taken.__contains__) == "short"
    assert first_free("tidy", taken.__contains__) == "tidy (3)"
    assert first_free("tidy", taken.__contains__, "{}-{}") == "tidy-3"


def test_numbers_begin_at_one_where_the_stem_alone_will_not_do():
    taken = {"train prompts 1"}
    assert first_free("eval prompts", taken.__contains__, "{} {}", is_numbered=True) == "eval prompts 1"
    assert first_free("train prompts", taken.__contains__, "{} {}", is_numbered=True) == "train prompts 2"


def test_a_stem_is_cut_for_its_number_and_may_hold_braces():
    taken = {"x" * 120, *(f"{'x' * 116} ({n})" for n in range(2, 10))}
    assert first_free("x" * 120, taken.__contains__) == f"{'x' * 115} (10)"
    assert first_free("{0}", {"{0}"}.__contains__, longest=8) == "{0} (2)"
