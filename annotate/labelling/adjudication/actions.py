"""Decide where annotators disagree, or send one annotation back to its annotator with a comment.

What a reviewer decides stands in the place of what the annotators said (`FeedbackQuerySet.teaching`); their rows stay
as they are. What is sent back is withdrawn, and its item comes first in its annotator's queue, with the comment.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.permissions import can, require
from annotate.labelling import actions as feedback
from annotate.labelling import assigning as assignments
from annotate.labelling import assignment_lifecycle
from annotate.labelling.forms.storage import standing_rows
from annotate.labelling.queue import entries as queue
from annotate.labelling.queue.assigned_items import COMPARE, RANK, RATE, Item
from annotate.models import Assignment, Membership, Project, Prompt, User

SENT_BACK = "sent back"
DAYS_TO_ANSWER = 3
LONGEST_COMMENT = 2000
_Purpose, _State = Assignment.Purpose, Assignment.State


def take(*, project: Project, key: str, by: User) -> Assignment:
    """Return the item as an assignment of the reviewer, to be submitted like any other; the same one again if they have
    it."""
    require(by, "review", project)
    with transaction.atomic():
        project.lock(person=by)
        assignment_lifecycle.expire_stale(project)  # a decision whose time ran out is nobody's
        work = judged_by(project, key)
        if work.filter(user=by).exists():
            raise Refused(409, item="You annotated this item, so another reviewer must decide it.")
        if work.count() < 2:
            raise Refused(409, item="Fewer than two people have annotated it, so there is nothing to decide.")
        decided = project.assignments.filter(item=key, purpose=_Purpose.ADJUDICATION)
        if other_decision := decided.filter(state__in=[_State.OPEN, _State.SUBMITTED]).exclude(user=by).first():
            clause = "has decided it" if other_decision.state == _State.SUBMITTED else "is deciding it now"
            raise Refused(409, item=f"{other_decision.user} {clause}; continue with another item.")
        own_assignments = project.assignments.filter(user=by, item=key).exclude(purpose=_Purpose.REPEAT)
        earlier = own_assignments.select_related("project", "user", "prompt", "completion_a", "completion_b").first()
        if earlier is None:
            return _new(project, key, by)
        if earlier.purpose != _Purpose.ADJUDICATION and earlier.state == _State.SUBMITTED:
            raise Refused(409, item="You annotated this item, so another reviewer must decide it.")
        if earlier.state == _State.SUBMITTED:
            raise Refused(409, item="You have already decided this item; undo that to change it.")
        return _taken_up(earlier)


def send_back(*, assignment: Assignment, by: User, comment: str) -> Assignment:
    """Withdraw an annotation and return the item to its annotator, before all other items, with the reviewer's
    comment."""
    project = assignment.project
    require(by, "review", project)
    comment = comment.strip()
    if not comment:
        raise Refused(comment="Enter what the annotator should check again; they see it beside the item.")
    if len(comment) > LONGEST_COMMENT or "\x00" in comment:
        raise Refused(comment=f"Keep it within {LONGEST_COMMENT:,} characters, without null characters.")
    with transaction.atomic():
        project.lock()
        assignment.refresh_from_db()
        rows = _check_returnable(assignment, by)
        withdrawn = feedback.withdraw(assignment=assignment, reason=SENT_BACK, by=by)
        _reopen_for_judge(assignment, by, comment)
        audit.record(
            action="judgement.sent back",
            about=f"{assignment.item} of {assignment.user}",
            by=by,
            project=project,
            changes={"judgements": [[f"{row._meta.model_name} {row.pk}" for row in rows], withdrawn]},
            reason=comment,
        )
    return assignment


def note_decision(assignment: Assignment, checked: object) -> None:
    """Record a decision between annotators in the audit trail, with each submission."""
    if assignment.purpose == _Purpose.ADJUDICATION:
        audit.record(action="item.adjudicated", about=assignment.item, by=assignment.user, project=assignment.project)


def judged_by(project: Project, key: str) -> QuerySet[Assignment]:
    """Return the assignments in which the item was annotated as work, and which stand."""
    return project.assignments.filter(item=key, purpose=_Purpose.WORK, state=_State.SUBMITTED).order_by("closed_at")


def _new(project: Project, key: str, by: User) -> Assignment:
    item = Item.of_key(judged_by(project, key).values_list("prompt_id", flat=True)[0], key)
    if item.kind not in (RATE, COMPARE, RANK):
        raise Refused(item="Written answers cannot disagree; rate or compare them instead.")
    return assignments.hand_out(project, by, item.kind, item, purpose=_Purpose.ADJUDICATION)


def _taken_up(earlier: Assignment) -> Assignment:
    """Take up an assignment that was handed out before without an annotation; it now decides."""
    earlier.purpose = _Purpose.ADJUDICATION
    earlier.save(update_fields=["purpose"])
    if earlier.state != _State.OPEN or earlier.expires_at <= timezone.now():
        assignment_lifecycle.reopen(earlier)
    queue.changed(earlier.project_id, [earlier.prompt_id])
    return earlier


def _check_returnable(assignment: Assignment, by: User) -> list:
    """Check that it may be sent back, under the lock; return its standing rows."""
    if assignment.user_id == by.pk:
        raise Refused(409, assignment="This is your own annotation; change it in your history.")
    if assignment.state != _State.SUBMITTED or assignment.purpose != _Purpose.WORK:
        raise Refused(409, assignment="Only annotations that count, and no gold items or repeats, can be sent back.")
    if not can(assignment.user, "judge", assignment.project):
        raise Refused(409, assignment=f"{assignment.user} no longer annotates here; decide the item yourself.")
    if Membership.objects.filter(project=assignment.project, user=assignment.user).exclude(paused_at=None).exists():
        raise Refused(409, assignment=f"{assignment.user} is paused; decide the item yourself.")
    if Prompt.objects.filter(pk=assignment.prompt_id).exclude(out_since=None).exists():
        raise Refused(409, assignment="Its prompt is retired, so it needs no annotation.")
    rows = standing_rows(assignment)
    if any(row.datasets.exists() for row in rows):
        raise Refused(409, assignment="It is in a frozen dataset now; decide the item yourself.")
    return rows


def _reopen_for_judge(assignment: Assignment, by: User, comment: str) -> None:
    assignment.sent_back_by, assignment.sent_back_comment = by, comment
    assignment.save(update_fields=["sent_back_by", "sent_back_comment"])
    assignment_lifecycle.reopen(assignment, minutes=DAYS_TO_ANSWER * 24 * 60)
