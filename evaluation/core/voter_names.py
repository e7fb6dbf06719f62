"""Name who cast a vote, so that votes of one voter are found together."""

from __future__ import annotations


def voter_name(author: int | None, visitor: str, vote: int | None = None) -> str:
    """Return one name for each voter: an account is one, whatever sessions it votes from. Whoever left neither is
    somebody of their own by the number of the `vote`; without that they are "", nobody."""
    if author is not None:
        return f"account {author}"
    return f"visitor {visitor}" if visitor else "" if vote is None else f"vote {vote}"
