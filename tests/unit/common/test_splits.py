"""The hash of a prompt's text: it names rows that stand already, so that it may never change."""

from __future__ import annotations

import hashlib
import json
import unicodedata

import pytest

from common import splits

ASCII = [" plain\n\tWords \x1c end\x1f", 'a "quote" and a \\', "\x7f\x01", ""]
OTHERS = ["Straße ﬁ İ ΑΣ", "😀\u2028x"]


def normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


@pytest.mark.parametrize("text", ASCII + OTHERS)
def test_a_hash_is_that_of_its_normalised_turns_as_json(text):
    assert splits.normalise(text) == normal(text)
    for texts in ([text], [text, "more", text]):
        turns = [('r"', normal(each)) for each in texts]
        as_json = json.dumps(turns, ensure_ascii=False)
        messages = [{"role": 'r"', "content": each} for each in texts]
        assert splits.text_hash(messages) == hashlib.sha256(as_json.encode()).hexdigest()


def test_hash_and_split_are_what_each_is_alone():
    hello = [{"role": "user", "content": "Hello,  World"}]
    long = [{"role": "system", "content": "Be  kind."}, *hello, {"role": "user", "content": "Who ARE you? ſ"}]
    for messages in (hello, long, [*hello, {"role": "assistant", "content": ""}]):
        for percent in (0, 50, 100):
            together = splits.hash_and_split(messages, percent)
            assert together == (splits.text_hash(messages), splits.split_of(messages, percent))
