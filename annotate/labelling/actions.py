"""Store annotations of an item, change and withdraw them. Rows are added and change status; none is edited.

A ranking is one annotation: its pairs change status with it, and never alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from annotate.core.db.connections import within_transaction
from annotate.core.errors import Refused
from annotate.core.events import announce
from annotate.core.hooks import Hook
from annotate.core.metrics.counters import ANNOTATION, VOTES, counted_refusals
from annotate.core.permissions import require
from annotate.labelling.assignment_lifecycle import refuse_closed, reopen, require_owner, submit_with
from annotate.labelling.forms.storage import STANDING, TABLES, is_one_row, rows_of, sent_with, standing_rows, write
from annotate.labelling.forms.submission_facts import Facts, facts_of
from annotate.labelling.forms.validation import Checked, Submission, check, check_key
from annotate.labelling.gold import scoring as gold
from annotate.labelling.prerequisites import actions as prerequisites
from annotate.labelling.queue import entries as queue
from annotate.models import Assignment, Comparison, Demonstration, Project, Ranking, Status, StatusChange, User
from annotate.models.feedback import Feedback
from common.texts import NOT_STORABLE, is_storable

UNDO_REASON, REVISED_REASON = "undo", "revised"
MOST_CHANGES_TOLD = 100
SET_BY_MANAGERS = (Status.COUNTED, Status.HELD, Status.EXCLUDED)  # nobody could take a withdrawal back

ON_SUBMIT: Hook[Callable[[Assignment, Checked], None]] = Hook(
    "submissions",
    "Called with each submission, inside its transaction, after gold is checked and before it is announced. Not called "
    "for what is revised: the first answer counts.",
)


def submit(*, assignment: Assignment, by: User, idempotency_key: str | None = None, **fields: Any) -> Feedback:
    """Store an annotation, an answer of one's own, or both; return the annotation, else the answer.

    `fields` are those of `forms.validation.Submission`. Sent twice with one key, it is stored once and the second
    caller gets the first row.
    """
    return prepare(assignment=assignment, by=by, idempotency_key=idempotency_key, **fields)()


def prepare(
    *,
    assignment: Assignment,
    by: User,
    idempotency_key: str | None = None,
    goes_on: bool = False,
    **fields: Any,
) -> Callable[[], Feedback]:
    """Check a submission, and return what stores it: `submit` in two steps, the first of which needs no transaction.

    The second notices by itself that the item was closed, or the key used, between the two. Whoever `goes_on` asks for
    the next item in the same transaction: only with that a row may be stored, and have its id, or be refused.
    """
    with counted_refusals(ANNOTATION):
        require_owner(assignment, by)
        check_key(idempotency_key)
        facts = facts_of(assignment, idempotency_key)
        require(by, _right_for(assignment), assignment.project, role=facts.role)
        if facts.is_key_used and (earlier := sent_before(assignment, idempotency_key)):
            return lambda: earlier
        if assignment.state != Assignment.State.OPEN or assignment.expires_at <= timezone.now():
            refuse_closed(assignment)
        checked = check(_submission(fields), assignment, has_scales=facts.has_scales)
        return partial(_store, assignment, checked, idempotency_key, facts, goes_on)


def _store(
    assignment: Assignment, checked: Checked, idempotency_key: str | None, facts: Facts, goes_on: bool
) -> Feedback:
    with counted_refusals(ANNOTATION):
        is_callers = connection.in_atomic_block
        try:
            with within_transaction():
                with_next = goes_on and is_one_row(checked) and not facts.has_webhooks
                close_with = partial(submit_with, assignment, with_next=with_next)
                version = facts.guideline_version
                rows = write(assignment, checked, idempotency_key, version, create_first=close_with)
                _tell_queue(assignment, rows)
                gold.check_answer(assignment, checked)
                for step in ON_SUBMIT.values():
                    step(assignment, checked)
                if facts.has_webhooks:
                    _announce_submission(assignment, rows)
                transaction.on_commit(VOTES.labels(ANNOTATION, "accepted").inc)
                return rows[0]
        except (Refused, IntegrityError):
            # Two requests at once: the other one was first. It is the same annotation when it has the same key. Within
            # a transaction of the caller's, which ends now, the caller looks for what the other has done.
            if not is_callers and (earlier := sent_before(assignment, idempotency_key)):
                return earlier
            raise


def revise(*, assignment: Assignment, by: User, idempotency_key: str | None = None, **fields: Any) -> Feedback:
    """Replace the annotation of an item while it may still be changed: earlier rows are withdrawn, new ones stand.

    What was held stays held with its reason, so that a change does not set it free.
    """
    require_owner(assignment, by)
    check_key(idempotency_key)
    facts = facts_of(assignment, idempotency_key)
    require(by, _right_for(assignment), assignment.project, role=facts.role)
    if facts.is_key_used and (earlier := sent_before(assignment, idempotency_key)):
        return earlier
    checked = check(_submission(fields), assignment, has_scales=facts.has_scales)
    try:
        with transaction.atomic():
            assignment.project.lock()
            require_changeable(assignment=assignment, by=by)
            earlier_rows = standing_rows(assignment)
            held_row = next((row for row in earlier_rows if row.status == Status.HELD), None)
            status, reason = (Status.HELD, held_row.status_reason) if held_row else (Status.COUNTED, "")
            change_status(earlier_rows, Status.WITHDRAWN, REVISED_REASON, by)
            rows = write(assignment, checked, idempotency_key, facts.guideline_version, status=status, reason=reason)
            _tell_queue(assignment, rows)
            _announce_submission(assignment, rows)
            return rows[0]
    except (Refused, IntegrityError):
        if earlier := sent_before(assignment, idempotency_key):
            return earlier
        raise


def undo(*, assignment: Assignment, by: User) -> Assignment:
    """Withdraw an annotation, or a skip, and return the item to its annotator."""
    require_owner(assignment, by)
    prerequisites.check_pause(assignment.project, prerequisites.member_of(assignment.project, by))
    _refuse_lesson(assignment)
    with transaction.atomic():
        assignment.project.lock()
        assignment.refresh_from_db()
        _require_fresh(assignment, (Assignment.State.SUBMITTED, Assignment.State.SKIPPED))
        if any(row.status == Status.HELD for row in standing_rows(assignment)):
            raise Refused(
                409, assignment="Your annotation is held for review, so you cannot undo it. You can change it instead."
            )
        withdraw(assignment=assignment, reason=UNDO_REASON, by=by)
        reopen(assignment)
    return assignment


def withdraw(*, assignment: Assignment, reason: str, by: User | None) -> int:
    """Withdraw all annotations of the item; return how many rows. Call it with the project's lock held."""
    return change_status(standing_rows(assignment), Status.WITHDRAWN, reason, by)


def require_changeable(*, assignment: Assignment, by: User) -> None:
    """Raise Refused, with the reason, where `revise` would."""
    require_owner(assignment, by)
    assignment.refresh_from_db()
    _require_fresh(assignment, (Assignment.State.SUBMITTED,))
    _refuse_lesson(assignment)


def _refuse_lesson(assignment: Assignment) -> None:
    if assignment.purpose == Assignment.Purpose.TUTORIAL:
        raise Refused(409, assignment="You have seen the right answer of this item. Continue with the next item.")


def may_change(assignment: Assignment) -> bool:
    """Return whether the project's time for changing it has not run out; a frozen dataset may still stand in the
    way."""
    window = timedelta(minutes=assignment.project.edit_minutes)
    return assignment.closed_at is not None and assignment.closed_at > timezone.now() - window


def set_status(*, rows: Iterable[Feedback], status: str, reason: str, by: User | None) -> int:
    """Change what counts, and write down who did it and why; returns how many rows changed.

    `by` is a manager of each row's project, or None when the software itself decides. Rankings take their pairs along;
    a pair without its ranking is refused. A manager withdraws nothing, and brings back nothing that was withdrawn:
    another may stand in its place.
    """
    rows = _with_pairs(list(rows))
    if status not in Status.values:
        raise Refused(status=f"{status!r} is unknown; use one of {', '.join(Status.values)}.")
    reason = reason.strip()
    if not reason or len(reason) > 200:
        raise Refused(reason="Enter a reason of 1 to 200 characters; the ledger records it.")
    if not is_storable(reason):
        raise Refused(reason=NOT_STORABLE)
    projects = sorted({row.project for row in rows}, key=lambda project: project.pk) if by is not None else []
    if by is not None:
        for project in projects:
            require(by, "manage", project)
        if status not in SET_BY_MANAGERS:
            raise Refused(status="Only its annotator can withdraw it; exclude it instead, which can be taken back.")
    with transaction.atomic():
        for project in projects:  # its annotator may be changing it at this moment
            project.lock()
        if by is not None and any(_is_withdrawn(row) for row in rows):
            raise Refused(409, status="It was withdrawn: it was changed, taken back or sent back, and counts no more.")
        changed = change_status(rows, status, reason, by)
        _settle_places({row.assignment_id for row in rows if row.assignment_id})
        return changed


def _is_withdrawn(row: Feedback) -> bool:
    """Return whether it is by now, whatever it was when it was read."""
    return type(row).objects.filter(pk=row.pk, status=Status.WITHDRAWN).exists()


def _right_for(assignment: Assignment) -> str:
    """Return what one must be allowed to do: who decides for others, or looks again, must be so still."""
    is_reviewers = assignment.is_review or assignment.purpose == Assignment.Purpose.ADJUDICATION
    return "review" if is_reviewers else "judge"


def _submission(fields: dict[str, Any]) -> Submission:
    """Return the submission; a field left out and a field that is None are the same."""
    return Submission(**{name: value for name, value in fields.items() if value is not None})


def _with_pairs(rows: list[Any]) -> list[Any]:
    rankings = {row.pk for row in rows if isinstance(row, Ranking)}
    for row in rows:
        if isinstance(row, Comparison) and row.ranking_id and row.ranking_id not in rankings:
            raise Refused(
                409, comparison=f"It is a pair of ranking {row.ranking_id}; change the status of the ranking."
            )
    plain_rows = [row for row in rows if not (isinstance(row, Comparison) and row.ranking_id)]
    return [*plain_rows, *Comparison.objects.filter(ranking__in=rankings).select_related("project")]


def _require_fresh(assignment: Assignment, states: tuple[str, ...]) -> None:
    """Check that the item was closed in one of these states, not long ago, and is in no dataset."""
    rows = rows_of(assignment)
    if assignment.state == Assignment.State.EXCLUDED or any(row.status == Status.EXCLUDED for row in rows):
        raise Refused(
            409, assignment="A manager has excluded your annotation of this item. Continue with the next item."
        )
    if assignment.state not in states:
        raise Refused(409, assignment="You have not submitted this item, so there is nothing to undo or change.")
    if not may_change(assignment):
        minutes = assignment.project.edit_minutes
        raise Refused(
            409,
            assignment=f"In {assignment.project} you can change an annotation for {minutes} minutes. This time is "
            "over; ask a manager to exclude it.",
        )
    if any(row.datasets.exists() for row in rows):
        raise Refused(409, assignment="It is in a frozen dataset now; ask a manager to exclude it.")


def _settle_places(assignments: set[int]) -> None:
    """Give an item without standing annotations to somebody else, and one that counts again its place back."""
    for pk in sorted(assignments):
        is_standing = any(table.objects.filter(assignment=pk, status__in=STANDING).exists() for table in TABLES)
        old_state, new_state = Assignment.State.SUBMITTED, Assignment.State.EXCLUDED
        if is_standing:
            old_state, new_state = new_state, old_state
        if Assignment.objects.filter(pk=pk, state=old_state).update(state=new_state):
            queue.changed(*_where(pk))


def _where(assignment: int) -> tuple[int, list[int]]:
    project, prompt = Assignment.objects.values_list("project_id", "prompt_id").get(pk=assignment)
    return project, [prompt]


def sent_before(assignment: Assignment, key: str | None) -> Feedback | None:
    """Return the row that this key stored, annotation before answer; refuses a key that was used for something else."""
    row = sent_with(key) if key else None
    if row is not None and row.assignment_id != assignment.pk:
        raise Refused(409, idempotency_key="This key was used for another submission; use a new one for each.")
    return row


def _tell_queue(assignment: Assignment, rows: list[Feedback]) -> None:
    """Tell the queue of a text that came with an item of another kind: it fills a place of those who write to its
    prompt."""
    if assignment.kind != Assignment.Kind.WRITE and any(isinstance(row, Demonstration) for row in rows):
        queue.changed(assignment.project_id, [assignment.prompt_id])


def _announce_submission(assignment: Assignment, rows: list[Feedback]) -> None:
    summaries = [{"kind": row._meta.model_name, "id": row.pk} for row in rows]
    data = {
        "assignment": assignment.pk,
        "kind": assignment.kind,
        "prompt": assignment.prompt_id,
        "judgements": summaries,
    }
    announce(project=assignment.project, event="judgement.submitted", data=data)


def _lock_order(row: Any) -> tuple[int, int]:
    return TABLES.index(type(row)) if type(row) in TABLES else len(TABLES), row.pk


def change_status(rows: list[Any], status: str, reason: str, by: User | None) -> int:
    """Change the status of rows, and write each change down; return how many changed. Call it in a transaction."""
    changed: dict[Project, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=_lock_order):
        table = type(row)
        # Read again under the lock, so that the ledger's "before" is true.
        old_status = table.objects.select_for_update().values_list("status", flat=True).get(pk=row.pk)
        if old_status == status:
            continue
        table.objects.filter(pk=row.pk).update(status=status, status_reason=reason)
        StatusChange.objects.create(
            kind=table._meta.model_name, feedback_id=row.pk, before=old_status, after=status, reason=reason, by=by
        )
        row.status, row.status_reason = status, reason
        if table is Demonstration:  # one that came without an item fills a place of its prompt while it counts
            queue.changed(row.project_id, [row.prompt_id])
        changed[row.project].append(
            {"kind": table._meta.model_name, "id": row.pk, "before": old_status, "after": status}
        )
    for project, summaries in changed.items():
        for start in range(0, len(summaries), MOST_CHANGES_TOLD):
            data = {"reason": reason, "changes": summaries[start : start + MOST_CHANGES_TOLD]}
            announce(project=project, event="judgement.status", data=data)
    return sum(map(len, changed.values()))
