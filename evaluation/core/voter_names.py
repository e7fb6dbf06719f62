"""Name who casts votes: one voter, so that their votes are found together, and the voters of a kind in sentences."""

from __future__ import annotations

from annotate.models import AnnotatorKind


def voter_name(author: int | None, visitor: str, vote: int | None = None) -> str:
    """Return one name for each voter: an account is one, whatever sessions it votes from. Whoever left neither is
    somebody of their own by the number of the `vote`; without that they are "", nobody."""
    if author is not None:
        return f"account {author}"
    return f"visitor {visitor}" if visitor else "" if vote is None else f"vote {vote}"


def voters_of(kind: str) -> str:
    """Return how sentences name the annotators of a kind."""
    return "people" if kind == AnnotatorKind.PERSON else "simulated annotators"
