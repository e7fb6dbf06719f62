"""Exclude an annotator, or withdraw all of one's own annotations, and undo either.

Only statuses change, in one act that is remembered with every line of the ledger it wrote. What models have learnt
stays learnt: their lineage says how many of the annotations in them no longer count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.labelling.bulk_status import (
    AT_ONCE,
    ImportedAnnotator,
    Who,
    change_all,
    last_changes,
    standing,
)
from annotate.models import (
    Comparison,
    Membership,
    Project,
    QueueChange,
    StatusChange,
    User,
)
from evaluation.annotator_quality.exclusion_effects import in_hand, touched_by
from evaluation.models import Exclusion

EXCLUDED, WITHDRAWN = Exclusion.Status.EXCLUDED, Exclusion.Status.WITHDRAWN
LONGEST_REASON = 160  # the ledger's 200 less the number of the act


def exclude(*, project: Project, person: Who, reason: str, by: User, pauses: bool = True) -> Exclusion:
    """Exclude a person: nothing that they said in the project counts any more. By a manager it is excluded, by
    themselves withdrawn.

    What did not count before stays what it was. Items in their hands go to others, and a manager may have them get no
    new ones until the act is undone.
    """
    account = None if isinstance(person, ImportedAnnotator) else person
    is_own = by == account
    require(by, "judge" if is_own else "manage", project)
    reason = _checked_reason(reason)
    status = WITHDRAWN if is_own else EXCLUDED
    touched = touched_by(project, person)  # before the transaction: it fits ratings with them and without
    if not touched.total:
        raise Refused(409, person=f"No annotation of {person} counts in {project}, so there is nothing to change.")
    try:
        with transaction.atomic():
            project.lock(person=account)
            act = Exclusion.objects.create(
                project=project,
                person=account,
                **({} if account else {"source": person.source, "source_judge": person.name}),  # type: ignore[union-attr]
                status=status,
                reason=reason,
                touched=touched.as_json(),
                by=by,
                pauses=pauses and not is_own and account is not None and _pause(project, account, reason),
            )
            changes = change_all(
                project=project, rows=standing(project, person), status=status, reason=_noted(act, reason), by=by
            )
            act.changes.add(*changes)
            _free_hands(project, person)
            _record(act, "person.withdrawn" if is_own else "person.excluded", touched.changing, by, reason)
    except IntegrityError as error:
        raise Refused(409, person=f"{person} is already excluded in {project}; undo that first.") from error
    return act


def undo(*, act: Exclusion, reason: str, by: User) -> Exclusion:
    """Bring back what the act took out, and only that: what somebody decided about since stays as they decided.

    Whoever did it may undo it, and every manager; a manager does not undo what a person withdrew.
    """
    if act.status == WITHDRAWN and by.pk != act.person_id:
        raise Refused(403, act=f"{act.name} withdrew their own annotations; only they can undo this.")
    require(by, "judge" if act.status == WITHDRAWN else "manage", act.project)
    reason = _checked_reason(reason)
    with transaction.atomic():
        act.project.lock(person=act.person)
        act = Exclusion.objects.select_for_update(of=("self",)).select_related("project").get(pk=act.pk)
        if act.undone_at is not None:
            raise Refused(409, act=f"This was already undone on {act.undone_at:%d %B %Y}.")
        back: Counter[str] = Counter()
        for status, rows in last_changes(act.changes.all()).items():
            noted = _noted(act, reason, "undone")
            changes = change_all(project=act.project, rows=rows, status=status, reason=noted, by=by)
            back.update(_annotations(changes))
        act.undone_at, act.undone_by, act.undone_reason, act.brought_back = timezone.now(), by, reason, dict(back)
        act.save(update_fields=["undone_at", "undone_by", "undone_reason", "brought_back"])
        if act.pauses and act.person:
            # Paused again since, for another reason, they stay so.
            paused_members = _membership(act.project, act.person).filter(paused_reason=_paused_reason(act.reason))
            paused_members.update(paused_at=None, paused_reason="")
        _record(act, f"person.{act.status}.undone", dict(back), by, reason)
    return act


def acts(project: Project) -> Any:
    return project.exclusions.select_related("person", "by", "undone_by")


def standing_act(project: Project, annotator: Who) -> Exclusion | None:
    """Return the act that holds now, where there is one."""
    named = (
        {"source": annotator.source, "source_judge": annotator.name} if isinstance(annotator, ImportedAnnotator) else {}
    )
    account = None if isinstance(annotator, ImportedAnnotator) else annotator
    return acts(project).filter(person=account, undone_at=None, **named).first()


def _checked_reason(reason: object) -> str:
    text = reason.strip() if isinstance(reason, str) else ""
    if not text or len(text) > LONGEST_REASON or "\x00" in text:
        raise Refused(reason=f"Enter a reason of 1 to {LONGEST_REASON} characters; the ledger records it.")
    return text


def _noted(act: Exclusion, reason: str, detail: str = "") -> str:
    return f"{reason} (act {act.pk}{f', {detail}' if detail else ''})"


def _annotations(changes: Sequence[StatusChange]) -> Iterator[str]:
    """Yield the kind of each annotation that changed: the pairs of a ranking changed with it, and are none."""
    for start in range(0, len(changes), AT_ONCE):
        part = changes[start : start + AT_ONCE]
        comparisons = [change.feedback_id for change in part if change.kind == "comparison"]
        pairs = set(Comparison.objects.filter(pk__in=comparisons).exclude(ranking=None).values_list("pk", flat=True))
        yield from (change.kind for change in part if change.kind != "comparison" or change.feedback_id not in pairs)


def _membership(project: Project, person: User) -> Any:
    return Membership.objects.filter(project=project, user=person)


def _pause(project: Project, person: User, reason: str) -> bool:
    """Pause the person; return whether this act did: who is paused already stays so whatever becomes of the act."""
    free = _membership(project, person).filter(paused_at=None)
    return bool(free.update(paused_at=timezone.now(), paused_reason=_paused_reason(reason)))


def _paused_reason(reason: str) -> str:
    return f"Excluded: {reason}"[:200]


def _free_hands(project: Project, annotator: Who) -> None:
    found = in_hand(project, annotator).expire()
    QueueChange.note(project.pk, [prompt for _, prompt in found])


def _record(act: Exclusion, action: str, numbers: dict[str, int], by: User, reason: str) -> None:
    changes: dict[str, list[Any]] = {kind: [n, 0] for kind, n in numbers.items()}
    if action.endswith("undone"):
        changes = {kind: [0, n] for kind, n in numbers.items()}
    if act.pauses:
        changes["paused"] = [action.endswith("undone"), not action.endswith("undone")]
    about = act.person or f"{act.source_judge} of {act.source}"
    audit.record(action=action, about=about, by=by, project=act.project, changes=changes, reason=reason)
