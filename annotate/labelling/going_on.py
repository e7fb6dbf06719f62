"""Store an annotation and draw the next item together: the annotator's page and programs go on this way.

On Postgres the one goes there with the question for the other (`annotate.core.db.prepared.ask_with_next`), and both are
committed once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import IntegrityError, transaction

from annotate.core.errors import Refused
from annotate.core.metrics.counters import ANNOTATION, VOTES
from annotate.labelling import actions as feedback
from annotate.labelling import assigning
from annotate.labelling.forms.submission_facts import facts_in
from annotate.models import Assignment, User
from annotate.models.feedback import Feedback


@dataclass(frozen=True)
class Step:
    """What was stored, and the next item; `refused` says why none is given out at the moment."""

    row: Feedback
    following: Assignment | None = None
    refused: Refused | None = None


def store_and_draw(store: Callable[[], Feedback], draw: Callable[[], Assignment | None]) -> Step:
    """Do what `feedback.prepare` gave and draw the next item, in the transaction of the caller. What was sent is kept
    also where none is given out: a pause, or new guidelines to read. Raises Refused where it cannot be stored."""
    row = store()
    try:
        return Step(row, draw())
    except Refused as refused:
        if row.pk is None:  # what was sent is refused, which goes to the database with the question for the next item
            VOTES.labels(ANNOTATION, "refused").inc()
            raise
        return Step(row, refused=refused)


def draw_next(assignment: Assignment, by: User, kind: str | None) -> Callable[[], Assignment | None]:
    """Return what draws the item after this one, which was read with its facts."""
    languages = facts_in(assignment).languages
    return partial(assigning.next_for, project=assignment.project, user=by, kind=kind, languages=languages)


def submit_and_draw(*, assignment: Assignment, by: User, kind: str | None, **fields: Any) -> Step:
    """Do as `feedback.submit`, and draw the next item with it. Sent twice with one key, both draw."""
    draw = draw_next(assignment, by, kind)
    store = feedback.prepare(assignment=assignment, by=by, goes_on=True, **fields)
    try:
        with transaction.atomic():
            return store_and_draw(store, draw)
    except (Refused, IntegrityError):
        # A twin was first. Its row is known now that the transaction has ended.
        earlier = feedback.sent_before(assignment, fields.get("idempotency_key"))
        if earlier is None:
            raise
        return store_and_draw(lambda: earlier, draw)
