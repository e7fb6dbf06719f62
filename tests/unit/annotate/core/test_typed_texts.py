"""What people type into one field."""

from __future__ import annotations

import pytest

from annotate.core.errors import Refused
from annotate.core.typed_texts import checked_name


@pytest.mark.parametrize("name", ["", "  ", "x" * 61, "a\x00b", "half of a pair \ud800", None, 7, ["a"]])
def test_a_name_that_cannot_be_kept_is_refused(name):
    with pytest.raises(Refused) as refused:
        checked_name(name, 60, purpose="; it is shown to all")
    assert refused.value.errors == {"name": "Enter a name of 1 to 60 characters; it is shown to all."}


@pytest.mark.parametrize("name", [" tea ", "x" * 60, "日本\n語"])
def test_a_name_is_kept_without_the_blanks_around_it(name):
    assert checked_name(name, 60) == name.strip()
