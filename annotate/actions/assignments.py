"""Handing out work: one item to one person for a while, and never to more people than the project asks for."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from annotate.actions.choosing import COMPARE, RATE, Item, choose, choose_urgent, places_of, taken, urgent_pairs
from annotate.errors import Refused
from annotate.models import Assignment, Project, User
from annotate.permissions import require

# Kinds come in short runs when a project asks for both: changing the question each time is tiring.
RUN_OF_ONE_KIND = 5
MAX_REASON_CHARACTERS = 200


def next_for(*, project: Project, user: User, kind: str | None = None) -> Assignment | None:
    """The item that `user` should judge now: the one in their hands, else a new one, else None.

    Raises Refused when the user may not judge here or the project does not ask for `kind`.
    """
    require(user, "judge", project)
    kinds = _kinds(project, user, kind)
    if held := _held(project, user, kinds):
        return held
    with transaction.atomic():
        lock(project)
        if held := _held(project, user, kinds):
            return held
        expire_stale(project)
        pairs = urgent_pairs(project)
        for each in sorted(kinds, key=lambda kind: kind != COMPARE):
            if item := choose_urgent(pairs=pairs, project=project, user=user, kind=each):
                return _hand_out(project, user, each, item)
        for each in kinds:
            if item := choose(project=project, user=user, kind=each, pairs=pairs):
                return _hand_out(project, user, each, item)
    return None


def _hand_out(project: Project, user: User, kind: str, item: Item) -> Assignment:
    shown = item.shown_to(user)
    return Assignment.objects.create(
        project=project,
        user=user,
        kind=kind,
        prompt_id=item.prompt_id,
        completion_a_id=shown[0],
        completion_b_id=shown[1] if len(shown) == 2 else None,
        item=item.key,
        expires_at=_deadline(project),
    )


def skip(*, assignment: Assignment, by: User, reason: str) -> Assignment:
    """Put the item aside for this person, with a reason; others may still be asked about it."""
    require_owner(assignment, by)
    reason = reason.strip()
    if not reason:
        raise Refused(reason="Say in a few words why you skip it; that is how bad prompts are found.")
    if len(reason) > MAX_REASON_CHARACTERS:
        raise Refused(reason=f"Keep the reason within {MAX_REASON_CHARACTERS} characters; it has {len(reason)}.")
    if "\x00" in reason:
        raise Refused(reason="It contains a null character, which cannot be stored; remove it.")
    with transaction.atomic():
        close(assignment, Assignment.State.SKIPPED, skip_reason=reason)
    return assignment


def again(*, assignment: Assignment, by: User) -> Assignment:
    """Take up an item whose time ran out, if nobody else has been given its place meanwhile."""
    require_owner(assignment, by)
    require(by, "judge", assignment.project)
    with transaction.atomic():
        lock(assignment.project)
        expire_stale(assignment.project)
        assignment.refresh_from_db()
        if assignment.state == Assignment.State.OPEN:
            return assignment
        if assignment.state != Assignment.State.EXPIRED:
            raise Refused(409, assignment=f"It has been {assignment.state}; there is nothing to take up again.")
        reopen(assignment)
    return assignment


# --- below: what `feedback` needs as well; call inside a transaction ---


def lock(project: Project) -> None:
    """One at a time per project: the count of places and the handing out must not be torn apart.

    On SQLite every transaction is BEGIN IMMEDIATE, which is lock enough; there this is a plain read.
    """
    Project.objects.select_for_update(no_key=True).filter(pk=project.pk).values_list("pk").first()


def expire_stale(project: Project) -> None:
    stale = project.assignments.filter(state=Assignment.State.OPEN, expires_at__lte=timezone.now())
    stale.update(state=Assignment.State.EXPIRED, closed_at=timezone.now())


def require_owner(assignment: Assignment, by: User) -> None:
    if assignment.user_id != by.pk:
        raise Refused(403, assignment="This item was handed to someone else; ask for your own next one.")


def close(assignment: Assignment, state: str, **fields: str) -> None:
    """From live to `state`, in one conditional statement; refuses when it is no longer live."""
    now = timezone.now()
    live = Assignment.objects.filter(pk=assignment.pk).live()  # type: ignore[attr-defined]
    if not live.update(state=state, closed_at=now, **fields):
        refuse_closed(assignment)
    assignment.refresh_from_db()


def refuse_closed(assignment: Assignment) -> None:
    assignment.refresh_from_db()
    if assignment.state in (Assignment.State.OPEN, Assignment.State.EXPIRED):
        minutes = assignment.project.assignment_minutes
        raise Refused(
            410,
            assignment=f"Its {minutes} minutes ran out, so it may have gone to someone else. "
            "Take it up again, or ask for the next one.",
        )
    if assignment.state == Assignment.State.EXCLUDED:
        raise Refused(409, assignment="A manager has excluded what you said of it; go on with the next one.")
    raise Refused(409, assignment=f"You have {assignment.state} it already; undo that to change it, or go on.")


def reopen(assignment: Assignment) -> None:
    """Back into its owner's hands for a full term, if a place is free. Hold the project's lock."""
    project = assignment.project
    others = taken(project, is_simulated=assignment.user.is_simulated).filter(item=assignment.item)
    if others.exclude(pk=assignment.pk).count() >= places_of(project, assignment.item):
        raise Refused(409, assignment="Someone else has been given this item meanwhile; go on with the next one.")
    assignment.state, assignment.closed_at, assignment.skip_reason = Assignment.State.OPEN, None, ""
    assignment.expires_at = _deadline(project)
    assignment.save(update_fields=["state", "closed_at", "skip_reason", "expires_at"])


def _deadline(project: Project) -> datetime:
    return timezone.now() + timedelta(minutes=project.assignment_minutes)


def _held(project: Project, user: User, kinds: list[str]) -> Assignment | None:
    """The oldest first: an undone one comes before the one that had been handed out after it."""
    mine = project.assignments.live().filter(user=user, kind__in=kinds)
    return mine.select_related("project", "prompt", "completion_a", "completion_b").order_by("id").first()


def _kinds(project: Project, user: User, kind: str | None) -> list[str]:
    """The kinds to try, in order."""
    asked = [k for k, wanted in ((RATE, project.asks_ratings), (COMPARE, project.asks_comparisons)) if wanted]
    if kind is None:
        turn = project.assignments.filter(user=user).count() // RUN_OF_ONE_KIND % 2
        return asked[turn:] + asked[:turn] if len(asked) == 2 else asked
    if kind not in asked:
        raise Refused(
            kind=f"{kind!r} is not asked for in {project.name}; use {' or '.join(asked) or 'another project'}."
        )
    return [kind]
