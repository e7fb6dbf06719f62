"""Which boxes of texts the keyboard must reach."""

from __future__ import annotations

import pytest

from evaluation.templatetags.scrolling import may_scroll


@pytest.mark.parametrize(("text", "is_high"), [(None, False), ("short", False), ("a" * 400, True), ("\n" * 8, True)])
def test_a_text_that_may_be_higher_than_its_box(text, is_high):
    assert may_scroll(text) is is_high
