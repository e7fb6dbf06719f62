"""Exclude or restore all annotations of one annotator in a project at once: statuses change, and no row does.

An annotator is a person with an account, or one whom only the file of an import names.

`actions.feedback.set_status` does the same to single rows; the ledger, the places and the events are alike. Who may
ask for it is the caller's to check.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from annotate.core.events import announce
from annotate.labelling.forms.storage import STANDING, TABLES
from annotate.models import Assignment, Attack, Demonstration, Flag, Project, QueueChange, Status, StatusChange, User
from annotate.models.feedback import FeedbackQuerySet
from annotate.models.prompts import JUDGED_HERE

_ALL: tuple[type[Any], ...] = (*TABLES, Flag, Attack)
KINDS: dict[str, type[Any]] = {table._meta.model_name: table for table in _ALL}
AT_ONCE = 400
MOST_TOLD = 100


@dataclass(frozen=True)
class ImportedAnnotator:
    """An annotator named in the file of an import; the same name in another import is another annotator."""

    source: str
    name: str

    def __str__(self) -> str:
        return self.name


Who = User | ImportedAnnotator


def filter_by(annotator: Who, prefix: str = "") -> dict[str, Any]:
    """Return a filter of annotations by their annotator, or of rows that point at them by `prefix`."""
    if isinstance(annotator, ImportedAnnotator):
        return {f"{prefix}source": annotator.source, f"{prefix}source_judge": annotator.name}
    return {f"{prefix}author": annotator, f"{prefix}source__in": JUDGED_HERE}


def find_imported(project: Project, source: str, name: str) -> ImportedAnnotator | None:
    """Return the annotator; None where no annotation of the project was imported from that source under that name."""
    if not name or source in JUDGED_HERE or "\x00" in source + name:
        return None
    annotator = ImportedAnnotator(source, name)
    return annotator if any(rows.exists() for rows in feedback_by(project, annotator).values()) else None


def feedback_by(project: Project, annotator: Who) -> dict[str, FeedbackQuerySet]:
    """Return the annotator's rows by kind; the pairs of rankings are among the comparisons."""
    return {
        kind: table.objects.filter(project=project, **filter_by(annotator)).order_by("pk")
        for kind, table in KINDS.items()
    }


def standing(project: Project, annotator: Who) -> dict[str, list[int]]:
    """Return the ids of rows that count or are held, by kind."""
    rows = feedback_by(project, annotator).items()
    return {
        kind: list(annotations.filter(status__in=STANDING).values_list("pk", flat=True)) for kind, annotations in rows
    }


def change_all(
    *, project: Project, rows: Mapping[str, Iterable[int]], status: str, reason: str, by: User | None
) -> list[StatusChange]:
    """Give all these rows that status and write the ledger; return the changes. Call it inside a transaction."""
    if status not in Status.values:
        raise ValueError(f"{status!r} is no status; use one of {', '.join(Status.values)}.")
    project.lock()
    changes_made: list[StatusChange] = []
    touched: set[int] = set()
    for kind, ids in rows.items():
        ordered = sorted(ids)
        for start in range(0, len(ordered), AT_ONCE):
            changes, assignments = _change(kind, ordered[start : start + AT_ONCE], status, reason, by)
            changes_made += changes
            touched |= assignments
            if KINDS[kind] is Demonstration:
                # One that came without an item fills a place of its prompt while it counts.
                written = Demonstration.objects.filter(pk__in=[change.feedback_id for change in changes])
                QueueChange.note(project.pk, written.order_by().values_list("prompt_id", flat=True))
    _settle(project, touched)
    _announce(project, changes_made, reason)
    return changes_made


def _change(
    kind: str, ids: list[int], status: str, reason: str, by: User | None
) -> tuple[list[StatusChange], set[int]]:
    table = KINDS[kind]
    # Read under the lock, so that the ledger's "before" is true.
    rows = list(
        table.objects.select_for_update()
        .filter(pk__in=ids)
        .exclude(status=status)
        .order_by("pk")
        .values_list("pk", "status", "assignment_id")
    )
    table.objects.filter(pk__in=[pk for pk, _, _ in rows]).update(status=status, status_reason=reason)
    changes = StatusChange.objects.bulk_create(
        StatusChange(kind=kind, feedback_id=pk, before=old_status, after=status, reason=reason, by=by)
        for pk, old_status, _ in rows
    )
    return changes, {assignment for _, _, assignment in rows if assignment is not None}


def _settle(project: Project, assignments: set[int]) -> None:
    """Give items without standing annotations to somebody else, and items that count again their places back."""
    ordered = sorted(assignments)
    prompts: set[int] = set()
    for start in range(0, len(ordered), AT_ONCE):
        batch = ordered[start : start + AT_ONCE]
        standing_ids: set[int] = set()
        for table in TABLES:
            rows = table.objects.filter(assignment__in=batch, status__in=STANDING)
            standing_ids.update(rows.order_by().values_list("assignment_id", flat=True))
        closed = Assignment.objects.filter(pk__in=batch)
        closed.filter(pk__in=standing_ids, state=Assignment.State.EXCLUDED).update(state=Assignment.State.SUBMITTED)
        closed.exclude(pk__in=standing_ids).filter(state=Assignment.State.SUBMITTED).update(
            state=Assignment.State.EXCLUDED
        )
        prompts.update(closed.values_list("prompt_id", flat=True))
    QueueChange.note(project.pk, prompts)


def _announce(project: Project, changes: list[StatusChange], reason: str) -> None:
    fields: list[dict[str, Any]] = [
        {"kind": c.kind, "id": c.feedback_id, "before": c.before, "after": c.after} for c in changes
    ]
    for start in range(0, len(fields), MOST_TOLD):
        data = {"reason": reason, "changes": fields[start : start + MOST_TOLD]}
        announce(project=project, event="judgement.status", data=data)


def last_changes(changes: Iterable[StatusChange]) -> dict[str, dict[str, list[int]]]:
    """Return {status before: {kind: ids}} of rows whose last change is the one given: nobody has decided about them
    since."""
    numbers: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    by_kind: dict[str, dict[int, StatusChange]] = defaultdict(dict)
    for change in changes:
        by_kind[change.kind][change.feedback_id] = change
    for kind, changes_by_id in by_kind.items():
        ordered = sorted(changes_by_id)
        for start in range(0, len(ordered), AT_ONCE):
            batch = ordered[start : start + AT_ONCE]
            rows = StatusChange.objects.filter(kind=kind, feedback_id__in=batch).order_by("pk")
            newest = dict(rows.values_list("feedback_id", "pk"))
            for pk in batch:
                if newest[pk] == changes_by_id[pk].pk:
                    numbers[changes_by_id[pk].before][kind].append(pk)
    return numbers
