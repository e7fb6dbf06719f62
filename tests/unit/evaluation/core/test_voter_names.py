"""Votes of one voter bear one name."""

from __future__ import annotations

from evaluation.core.voter_names import voter_name


def test_an_account_is_one_voter_and_who_is_not_named_is_somebody_of_their_own():
    assert voter_name(7, "tab one") == voter_name(7, "tab two", 3) == voter_name(7, "")
    named = [
        voter_name(7, "7"),
        voter_name(8, "7"),
        voter_name(None, "7"),
        voter_name(None, "8"),
        voter_name(None, "", 7),
    ]
    assert len(set(named)) == len(named) and voter_name(None, "", 7) != voter_name(None, "", 8)
    assert voter_name(None, "") == ""
