"""Keep, skip, reopen, close, expire or put back an assignment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from django.db import transaction
from django.db.models import DateTimeField, Value
from django.db.models.functions import Greatest
from django.utils import timezone

from annotate.core.db.prepared import Asked, stored
from annotate.core.db.prepared_writes import update_then_insert
from annotate.core.errors import Refused
from annotate.labelling.prerequisites import actions as prerequisites
from annotate.labelling.queue import entries as queue
from annotate.labelling.queue import quarantine
from annotate.labelling.queue.assigned_items import taken
from annotate.labelling.queue.positions import count_swapped
from annotate.labelling.queue.reserved import is_reserved_for
from annotate.labelling.queue.urgent_items import places_of
from annotate.models import (
    Assignment,
    Project,
    User,
)
from annotate.models.assignments import AssignmentQuerySet
from annotate.models.feedback import Feedback
from annotate.projects import member_languages
from annotate.projects.wellbeing import actions as harm_budget
from common.texts import NOT_STORABLE

_Purpose = Assignment.Purpose
MAX_REASON_CHARACTERS = 200
LONGEST_KEPT = timedelta(hours=12)  # by somebody who goes on working on it


def skip(*, assignment: Assignment, by: User, reason: str) -> Assignment:
    """Put the item aside for this person, with a reason; others may still be asked about it."""
    require_owner(assignment, by)
    reason = reason.strip()
    if not reason:
        raise Refused(reason="Enter in a few words why you skip it; this helps to find bad prompts.")
    if len(reason) > MAX_REASON_CHARACTERS:
        raise Refused(reason=f"Keep the reason within {MAX_REASON_CHARACTERS} characters; it has {len(reason)}.")
    if "\x00" in reason:
        raise Refused(reason=NOT_STORABLE)
    with transaction.atomic():
        close(assignment, Assignment.State.SKIPPED, skip_reason=reason)
        queue.changed(assignment.project_id, [assignment.prompt_id])
        quarantine.after_skip(assignment)
    return assignment


def again(*, assignment: Assignment, by: User) -> Assignment:
    """Take up an item whose time ran out, if nobody else has been given its place meanwhile."""
    require_owner(assignment, by)
    prerequisites.check_pause(assignment.project, prerequisites.member_of(assignment.project, by))
    with transaction.atomic():
        assignment.project.lock()
        expire_stale(assignment.project)
        assignment.refresh_from_db()
        if assignment.state == Assignment.State.OPEN:
            return assignment
        if assignment.state != Assignment.State.EXPIRED:
            raise Refused(409, assignment=f"This item is already {assignment.state}; ask for the next one.")
        reopen(assignment)
    return assignment


def keep(*, assignment: Assignment, by: User) -> bool:
    """Give the annotator at work on it a full term from now, or leave the longer one that it has; return whether it was
    still theirs. What ran out is not taken up."""
    require_owner(assignment, by)
    now = timezone.now()
    live_rows = Assignment.objects.filter(pk=assignment.pk, created_at__gt=now - LONGEST_KEPT).live()  # type: ignore[attr-defined]
    until = Value(now + timedelta(minutes=assignment.project.assignment_minutes), DateTimeField())
    return bool(live_rows.update(expires_at=Greatest("expires_at", until)))  # what was sent back has days


# What `labelling.actions` needs as well: call it inside a transaction.


def expire_stale(project: Project) -> None:
    _expire(project, project.assignments.filter(expires_at__lte=timezone.now()))


def put_back(project: Project, rows: AssignmentQuerySet) -> int:
    """Give back those of the rows that were handed out ahead and never shown; return how many."""
    return _expire(project, rows.filter(is_ahead=True))


def hand_over(assignment: Assignment, shown_for: timedelta = timedelta()) -> None:
    """Make an item that was handed out ahead like one that is handed out when it is shown."""
    now = timezone.now()
    assignment.is_ahead, assignment.created_at = False, max(now - shown_for, assignment.created_at)
    assignment.expires_at = now + timedelta(minutes=assignment.project.assignment_minutes)
    assignment.save(update_fields=["is_ahead", "created_at", "expires_at"])


def reopen_unseen(project: Project, user: User, kinds: list[str], languages: Sequence[str] = ()) -> Assignment | None:
    """Reopen the first item that was handed out ahead, given back and never shown; None without one. Hold the project's
    lock.

    It does not count as seen, so it comes before all others while its place is free.
    """
    rows = project.assignments.filter(user=user, is_ahead=True, state=Assignment.State.EXPIRED, kind__in=kinds)
    rows = rows.filter(prompt__out_since=None, gold__retired_at=None)
    rows = rows.select_related("project", "user", "prompt", "completion_a", "completion_b").order_by("id")
    for assignment in harm_budget.within(member_languages.within(rows, languages), project, user):
        try:
            reopen(assignment)
        except Refused:
            _let_go(assignment)
        else:
            return assignment
    return None


def _let_go(assignment: Assignment) -> None:
    """Count an item as run out whose place has gone to somebody else, and take back how its sides were counted."""
    Assignment.objects.filter(pk=assignment.pk).update(is_ahead=False)
    if assignment.completion_a and assignment.completion_b:
        count_swapped(assignment.project, assignment.user, assignment.completion_b, assignment.completion_a)


def _expire(project: Project, rows: AssignmentQuerySet) -> int:
    prompts = [prompt for _, prompt in rows.expire()]
    if prompts:
        queue.changed(project.pk, prompts)
    return len(prompts)


def require_owner(assignment: Assignment, by: User) -> None:
    if assignment.user_id != by.pk:
        raise Refused(403, assignment="Somebody else has this item; ask for your next one.")


def close(assignment: Assignment, state: str, **fields: str) -> None:
    """Close an assignment, from live to `state`, in one conditional statement; refuses when it is no longer live."""
    now = timezone.now()
    live = Assignment.objects.filter(pk=assignment.pk).live()  # type: ignore[attr-defined]
    changes = {"state": state, "closed_at": now, "is_ahead": False, **fields}
    if not live.update(**changes):
        refuse_closed(assignment)
    for name, value in changes.items():
        setattr(assignment, name, value)


_SUBMIT = """
UPDATE annotate_assignment SET state = %s, closed_at = %s, is_ahead = %s
WHERE id = %s AND state = %s AND expires_at > %s RETURNING id"""


def submit_with(assignment: Assignment, row: Feedback, *, with_next: bool = False) -> Feedback:
    """Close an assignment as submitted and store the row that it leaves; refuses, and stores nothing, when it is no
    longer live. `with_next` it does so, and refuses, together with what is asked of the database next."""
    now, state = timezone.now(), Assignment.State.SUBMITTED
    moment = stored(now)
    values = [str(state), moment, False, assignment.pk, str(Assignment.State.OPEN), moment]
    update_then_insert(Asked(_SUBMIT, values), row, partial(refuse_closed, assignment), with_next=with_next)
    assignment.state, assignment.closed_at, assignment.is_ahead = state, now, False
    return row


def refuse_closed(assignment: Assignment) -> None:
    assignment.refresh_from_db()
    if assignment.state in (Assignment.State.OPEN, Assignment.State.EXPIRED):
        minutes = assignment.project.assignment_minutes
        raise Refused(
            410,
            assignment=f"Its {minutes} minutes ran out, so somebody else may have it. "
            "Open it again, or ask for the next one.",
        )
    if assignment.state == Assignment.State.TAKEN_OUT:
        raise Refused(
            409,
            assignment=f"Its prompt was retired meanwhile ({assignment.skip_reason}), "
            "so it needs no annotation. Continue with the next item.",
        )
    if assignment.state == Assignment.State.EXCLUDED:
        raise Refused(
            409, assignment="A manager has excluded your annotation of this item. Continue with the next item."
        )
    raise Refused(
        409, assignment=f"You have already {assignment.state} this item. Undo that to change it, or continue."
    )


def reopen(assignment: Assignment, minutes: int | None = None) -> None:
    """Give an assignment back into its owner's hands for a full term, if a place is free. Hold the project's lock."""
    project = assignment.project
    if assignment.purpose == _Purpose.ADJUDICATION:
        _refuse_second_decision(assignment)
    if assignment.purpose == _Purpose.WORK:
        if assignment.prompt.out_since:
            raise Refused(409, assignment="Its prompt was retired. Continue with the next item.")
        others = taken(project, is_simulated=assignment.user.is_simulated).filter(item=assignment.item)
        is_full = others.exclude(pk=assignment.pk).count() >= places_of(project, assignment.item)
        if is_full and not assignment.is_review and not is_reserved_for(assignment):
            raise Refused(409, assignment="Somebody else has this item now. Continue with the next item.")
    assignment.state, assignment.closed_at, assignment.skip_reason = Assignment.State.OPEN, None, ""
    assignment.gold_passed = None
    assignment.expires_at = timezone.now() + timedelta(minutes=minutes or project.assignment_minutes)
    assignment.save(update_fields=["state", "closed_at", "skip_reason", "gold_passed", "expires_at"])
    queue.changed(project.pk, [assignment.prompt_id])


def _refuse_second_decision(assignment: Assignment) -> None:
    others = assignment.project.assignments.filter(item=assignment.item, purpose=_Purpose.ADJUDICATION)
    if others.filter(state__in=["open", "submitted"]).exclude(pk=assignment.pk).exists():
        raise Refused(409, assignment="Another reviewer has decided this item. Continue with another item.")
