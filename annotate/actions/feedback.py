"""What people say about an item, and how it is taken back. Rows are added and change status; none is edited."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from annotate.actions.assignments import close, lock, refuse_closed, reopen, require_owner
from annotate.actions.judgement import Judgement, check, check_key
from annotate.errors import Refused
from annotate.models import Assignment, Comparison, Completion, Demonstration, Judge, Rating, Status, StatusChange, User
from annotate.models.feedback import Feedback
from annotate.permissions import require

UNDO_MINUTES = 30
UNDO_REASON = "undo"
_TABLES = (Rating, Comparison, Demonstration)
Row = Rating | Comparison | Demonstration


def submit(
    *,
    assignment: Assignment,
    by: User,
    winner: str | None = None,
    strength: int | None = None,
    thumbs: bool | None = None,
    stars: int | None = None,
    aspects: dict[str, int] | None = None,
    text: str | None = None,
    edited_from: Completion | None = None,
    comment: str = "",
    seconds: float | None = None,
    idempotency_key: str | None = None,
) -> Row:
    """Store a judgement, an answer of one's own, or both; returns the judgement, else the answer.

    Sent twice with one key, it is stored once and the second caller gets the first row.
    """
    require_owner(assignment, by)
    require(by, "judge", assignment.project)
    check_key(idempotency_key)
    judgement = Judgement(winner, strength, thumbs, stars, aspects or {}, text, edited_from, comment, seconds)
    if earlier := _sent_before(assignment, idempotency_key):
        return earlier
    if assignment.state != Assignment.State.OPEN or assignment.expires_at <= timezone.now():
        refuse_closed(assignment)
    check(judgement, assignment)
    try:
        with transaction.atomic():
            close(assignment, Assignment.State.SUBMITTED)
            return _write(assignment, judgement, idempotency_key)
    except (Refused, IntegrityError):
        # Two requests at once: the other one was first. It is the same judgement when it has the same key.
        if earlier := _sent_before(assignment, idempotency_key):
            return earlier
        raise


def undo(*, assignment: Assignment, by: User) -> Assignment:
    """Withdraw what was said, or the skip, and put the item back into the judge's hands."""
    require_owner(assignment, by)
    with transaction.atomic():
        lock(assignment.project)
        assignment.refresh_from_db()
        if assignment.state not in (Assignment.State.SUBMITTED, Assignment.State.SKIPPED):
            raise Refused(409, assignment="There is nothing to undo: it is not submitted.")
        if assignment.closed_at is None or assignment.closed_at < timezone.now() - timedelta(minutes=UNDO_MINUTES):
            raise Refused(
                409, assignment=f"Undo works for {UNDO_MINUTES} minutes; ask a manager to exclude it instead."
            )
        rows = [row for table in _TABLES for row in table.objects.filter(assignment=assignment)]
        if any(row.datasets.exists() for row in rows):
            raise Refused(409, assignment="It is part of a frozen dataset by now; ask a manager to exclude it instead.")
        standing = [row for row in rows if row.status in (Status.COUNTED, Status.HELD)]
        _change(standing, Status.WITHDRAWN, UNDO_REASON, by)
        reopen(assignment)
    return assignment


def set_status(*, rows: Iterable[Feedback], status: str, reason: str, by: User | None) -> int:
    """Change what counts, and write down who did it and why; returns how many rows changed.

    `by` is a manager of each row's project, or None when the software itself decides.
    """
    rows = list(rows)
    if status not in Status.values:
        raise Refused(status=f"{status!r} is unknown; use one of {', '.join(Status.values)}.")
    reason = reason.strip()
    if not reason or len(reason) > 200:
        raise Refused(reason="Give the reason in 1 to 200 characters; whoever reads the ledger needs it.")
    if by is not None:
        for project in {row.project for row in rows}:
            require(by, "manage", project)
    with transaction.atomic():
        changed = _change(rows, status, reason, by)
        _settle_places({row.assignment_id for row in rows if row.assignment_id})
        return changed


def _settle_places(assignments: set[int]) -> None:
    """An item of which nothing stands any more goes to somebody else; one that counts again has its place back."""
    for pk in sorted(assignments):
        standing = (Status.COUNTED, Status.HELD)
        stands = any(table.objects.filter(assignment=pk, status__in=standing).exists() for table in _TABLES)
        before, after = Assignment.State.SUBMITTED, Assignment.State.EXCLUDED
        if stands:
            before, after = after, before
        Assignment.objects.filter(pk=pk, state=before).update(state=after)


def judge_of(user: User) -> str:
    return Judge.SIMULATION if user.is_simulated else Judge.PERSON


def _sent_before(assignment: Assignment, key: str | None) -> Row | None:
    """The row that this key stored, judgement before answer; refuses a key that was used for something else."""
    if not key:
        return None
    for table in _TABLES:
        row = table.objects.filter(idempotency_key=key).first()
        if row is not None and row.assignment_id != assignment.pk:
            raise Refused(409, idempotency_key="This key was used for another submission; use a new one for each.")
        if row is not None:
            return row
    return None


def _write(assignment: Assignment, judgement: Judgement, key: str | None) -> Row:
    common = {
        "project": assignment.project,
        "prompt_id": assignment.prompt_id,
        "assignment": assignment,
        "author": assignment.user,
        "judge": judge_of(assignment.user),
        "seconds": judgement.seconds,
        "guideline_version": _guideline_version(assignment),
        "idempotency_key": key or None,
        "comment": judgement.comment,
    }
    rows: list[Row] = []
    if judgement.winner is not None:
        assert assignment.completion_a and assignment.completion_b  # a constraint of comparing assignments
        rows.append(
            Comparison.objects.create(
                completion_a=assignment.completion_a,
                completion_b=assignment.completion_b,
                winner=judgement.winner,
                strength=judgement.strength,
                **common,
            )
        )
    if judgement.is_rating:
        assert assignment.completion_a is not None  # a constraint, too
        rows.append(
            Rating.objects.create(
                completion=assignment.completion_a,
                thumbs=judgement.thumbs,
                stars=judgement.stars,
                aspects=judgement.aspects,
                **common,
            )
        )
    if judgement.text is not None:
        rows.append(Demonstration.objects.create(text=judgement.text, edited_from=judgement.edited_from, **common))
    return rows[0]


def _guideline_version(assignment: Assignment) -> int | None:
    """The version in force when the item was handed out: what its judge can have read."""
    versions = assignment.project.guidelines.filter(created_at__lte=assignment.created_at)
    return versions.order_by("-version").values_list("version", flat=True).first()


def _change(rows: list, status: str, reason: str, by: User | None) -> int:
    changed = 0
    for row in rows:
        table = type(row)
        # Read again under the lock, so that the ledger's "before" is true.
        before = table.objects.select_for_update().values_list("status", flat=True).get(pk=row.pk)
        if before == status:
            continue
        table.objects.filter(pk=row.pk).update(status=status, status_reason=reason)
        StatusChange.objects.create(
            kind=table._meta.model_name, feedback_id=row.pk, before=before, after=status, reason=reason, by=by
        )
        row.status, row.status_reason = status, reason
        changed += 1
    return changed
