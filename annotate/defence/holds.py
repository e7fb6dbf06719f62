"""The reasons for which a vote is held, in words for whoever cast it: what was seen, and no accusation.

They go on after "this vote is held:", see `annotate.actions.arena.counting`.
"""

from __future__ import annotations

from annotate.models import Hold

WORDS = {
    Hold.UNSOLVED: "the small puzzle that your browser solves by itself did not arrive with the vote",
    Hold.PUZZLE_BROKEN: "our small puzzle could not be checked, which is our fault; the vote is kept",
    Hold.BUSY_VISITOR: "many votes came from you in a short time",
    Hold.BUSY_ADDRESS: "many votes came from one address in a short time; others may share it",
    Hold.REPEAT: "you have voted on this question and these two models before",
    Hold.SAME_ITEM: "this question and these two models came up again and again, at one address or from many sessions",
    Hold.TOLD: "somebody had been told before which model wrote one of these answers, so it may be known",
    Hold.FLOOD: "more votes came at once, from one place, than nearly ever before",
    Hold.PATTERN: "these votes differ from everybody else's by more than taste explains",
    Hold.ADDRESS_PATTERN: "votes from one address, which others may share, differ from all others",
    Hold.ALIKE: "many visitors of one day, or as busy as you, judged one model unlike all others",
}
RELEASED = "Counted again: with what is known by now there is no reason left to hold it."


def words(hold: str, said: str = "") -> str:
    """At most 200 characters, as a status' reason may have. `said` is the reason that a battle brought along."""
    if hold == Hold.NAMED:
        return (said or "a model named itself").removesuffix(".")[:200]
    return WORDS[Hold(hold)]
