"""The reasons for which a vote is held, in words for whoever cast it: what was seen, and no accusation."""

from __future__ import annotations

from annotate.models import Hold

WORDS = {
    Hold.UNSOLVED: "Held for a look: the small puzzle that your browser solves by itself did not arrive with the vote.",
    Hold.PUZZLE_BROKEN: "Held for a look: our small puzzle could not be checked. The fault is ours; the vote is kept.",
    Hold.BUSY_VISITOR: "Held for a look: many votes came from you in a short time.",
    Hold.BUSY_ADDRESS: "Held for a look: many votes came from one address in a short time; others may share it.",
    Hold.REPEAT: "Held: you have voted on this question and these two models before, and the first vote counts.",
    Hold.SAME_ITEM: "Held for a look: this pair of answers came up very often at one address, which others may share.",
    Hold.FLOOD: "Held for a look: more votes came at once, from one place, than nearly ever before.",
    Hold.PATTERN: "Held for a look: these votes differ from everybody else's by more than taste explains.",
    Hold.ADDRESS_PATTERN: "Held for a look: votes from one address, which others may share, differ from all others.",
    Hold.ALIKE: "Held for a look: many visitors of one day, or as busy as you, judged one model unlike all others.",
}
RELEASED = "Counted again: with what is known by now there is no reason left to hold it."


def words(hold: str, said: str = "") -> str:
    """At most 200 characters, as a status' reason may have. `said` is the reason that a battle brought along."""
    if hold == Hold.NAMED:
        return f"Held for a look: {said}"[:200] if said else "Held for a look: a model named itself."
    return WORDS[Hold(hold)]
