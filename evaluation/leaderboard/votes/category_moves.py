"""Move the counted votes on a prompt to its new category as soon as somebody changes it.

A vote is counted in the category that its prompt has when it is folded. In the transaction that changes the category,
with the cursor's lock held, all that was folded of the prompt is taken from the one row of counts and given to the
other; whoever has read votes meanwhile to fold them reads them again.
"""

from __future__ import annotations

import logging
import uuid

from annotate.models import Prompt, Split
from evaluation.leaderboard.votes import ledger
from evaluation.leaderboard.votes.alike import alike
from evaluation.leaderboard.votes.counts import CountsDiffer, Key, Sums, add, cursor_locked, forget, missing, summed
from evaluation.models import VoteCounts, VoteCursor

log = logging.getLogger(__name__)


def move(prompt: Prompt, before: str) -> None:
    """Count the prompt's votes in its category, and no longer in the one `before`. Call it in the transaction that
    changes the prompt."""
    if prompt.side != Split.EVAL:
        return
    cursor = cursor_locked()
    cursor.categories = uuid.uuid4().hex
    cursor.save(update_fields=["categories"])
    try:
        for (project, judge), sums in _folded(cursor, prompt).items():
            if before:
                add(Key(project, judge, VoteCounts.Part.CATEGORY, before), _negative(sums))
            if prompt.category:
                add(Key(project, judge, VoteCounts.Part.CATEGORY, prompt.category), sums)
    except CountsDiffer as error:  # an earlier version left such votes where they were
        log.warning("%s They are made anew from the ledger.", error)
        forget()


def _folded(cursor: VoteCursor, prompt: Prompt) -> dict[tuple[int, str], Sums]:
    """Return what was folded of the prompt's votes, by project and kind of annotator."""
    votes = ledger.everything(cursor.last_comparison_id, missing(cursor, "votes"), prompt.pk)
    changes = ledger.all_changes(cursor.last_status_change_id, missing(cursor, "changes"), prompt.pk)
    sums_by_key = summed(alike(votes), changes)
    return {(key.project, key.judge): sums for key, sums in sums_by_key.items() if key.part == VoteCounts.Part.ALL}


def _negative(sums: Sums) -> Sums:
    negative = Sums([votes._replace(times=-votes.times) for votes in sums.votes])
    negative.left_out.subtract(sums.left_out)
    return negative
