"""Which scripts answers are written in, and how much of them the parent would not write."""

from __future__ import annotations

import subprocess
import sys

import pytest

from training.recipes.common.fluency import COMMON, SYMBOL, UNKNOWN, foreign_share, script_shares

ENGLISH = ["The cat sat, 3 times.", "Café society — “quite” fine…"]


def test_english_with_accents_dashes_and_digits_is_latin_and_common():
    assert set(script_shares(ENGLISH)) == {"LATIN", COMMON}


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("кот", "CYRILLIC"), ("猫", "CJK"), ("ねこ", "HIRAGANA"), ("ネコー", "KATAKANA"), ("고양이", "HANGUL"),
        ("قطة", "ARABIC"), ("बिल्ली", "DEVANAGARI"), ("٣", "ARABIC"), ("😀🎉", SYMBOL), ("👩‍🚀", SYMBOL), ("❤️", SYMBOL),
        ("→≈", SYMBOL), ("\ufffd", SYMBOL), ("𝐛𝐨𝐥𝐝", "MATHEMATICAL"), ("ｗｉｄｅ", "FULLWIDTH"), ("\ue000", UNKNOWN),
    ],
)  # fmt: skip
def test_each_letter_is_of_its_script(text: str, script: str):
    assert script_shares([text]) == {script: 1.0}


def test_shares_are_of_all_visible_characters_and_add_up_to_one():
    shares = script_shares(["ab 猫!", "😀\n\t"])
    assert shares == {"LATIN": 2 / 5, "CJK": 1 / 5, COMMON: 1 / 5, SYMBOL: 1 / 5}


def test_an_accent_that_stands_alone_is_no_script():
    assert script_shares(["e\u0301"]) == {"LATIN": 1.0}


def test_nothing_written_is_in_no_script():
    assert script_shares([]) == script_shares(["", " \n"]) == {}
    assert foreign_share(["  "], script_shares(ENGLISH)) == 0


def test_the_parents_own_answers_are_not_foreign():
    mixed = [*ENGLISH, "a 😀"]
    assert foreign_share(ENGLISH, script_shares(ENGLISH)) == 0
    assert foreign_share(mixed, script_shares(mixed)) == 0


def test_emoji_and_other_scripts_are_foreign_to_an_english_parent():
    assert foreign_share(["ab😀猫"], script_shares(ENGLISH)) == pytest.approx(0.5)


def test_more_of_what_the_parent_seldom_writes_counts_by_its_excess():
    parent = {"LATIN": 0.97, SYMBOL: 0.03}
    assert foreign_share(["aaa😀"], parent) == pytest.approx(0.25 - 0.03)


def test_a_script_that_the_parent_uses_is_not_foreign_however_much_of_it_there_is():
    assert foreign_share(["кот"], {"LATIN": 0.7, "CYRILLIC": 0.3}) == 0


def test_digits_and_punctuation_belong_to_every_script():
    assert foreign_share(["12:30 !!!"], {"LATIN": 1.0}) == 0


def test_it_needs_neither_torch_nor_django():
    code = "import sys, training.recipes.common.fluency; assert not {'torch', 'django'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
