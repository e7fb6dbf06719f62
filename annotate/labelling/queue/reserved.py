"""Choose from what a manager has given to this person, before all other items, and give back what nobody will do.

The prompts of an exclusive package are not in the queue at all while somebody holds them, so that others find their
next item as fast as ever. See `annotate.labelling.work_packages`.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from annotate.core import audit
from annotate.labelling.queue import entries as queue
from annotate.labelling.queue.assigned_items import Item, items_of
from annotate.labelling.queue.urgent_items import UrgentPair
from annotate.models import Assignment, Membership, Project, ReservedPrompt, User, WorkPackage
from annotate.projects.wellbeing import actions as harm_budget

LARGEST_BATCH = 64  # prompts looked into at a time, from 4 on
MOST_SETTLED = 500
_Purpose, _State = Assignment.Purpose, Assignment.State
_COMES_AGAIN = (_State.EXPIRED, _State.TAKEN_OUT)  # what was taken out comes with its prompt, if that is brought back


@dataclass(frozen=True)
class ReservedItem:
    """An item of this person's own. `run_out` is their assignment of it that ran out or was taken out: it is taken up
    again."""

    kind: str
    item: Item
    is_exclusive: bool
    run_out: int | None = None


@dataclass(frozen=True)
class _Work:
    """What is to be done of one prompt. It is finished when nothing is to be done and nothing is in hand."""

    items: list[ReservedItem]
    is_finished: bool


def choose_reserved(
    *, project: Project, user: User, kinds: Sequence[str], asked: Sequence[str], left_out: Collection[int]
) -> ReservedItem | None:
    """Return the next item that is reserved for this person, of the first of `kinds` that there is one of.

    `asked` are all kinds that the project asks for: a prompt is done when nothing of any is left. Hold the project's
    lock.
    """
    last, size = 0, 4
    while rows := _open_rows(project, user, last, size):
        last = rows[-1].pk
        works = _works(_bearable(rows, user), user, asked, left_out)
        _settle(works)
        for kind in kinds:
            if items := [item for work in works.values() for item in work.items if item.kind == kind]:
                first = [each for each in items if each.item.prompt_id == items[0].item.prompt_id]
                return random.choice(first)
        size = min(size * 4, LARGEST_BATCH)
    return None


def settle(project: Project, users: Iterable[User], asked: Sequence[str]) -> None:
    """Note which prompts these people have done, so that figures are true before they ask for their next item."""
    for user in users:
        rows = list(ReservedPrompt.objects.open().filter(user=user, project=project).order_by("id")[:MOST_SETTLED])
        _settle(_works(rows, user, asked, ()))


def without_others(pairs: list[UrgentPair], user: User) -> list[UrgentPair]:
    """Return the urgent pairs without those on prompts that only others may be asked about. Most of the time there are
    none."""
    if not pairs:
        return pairs
    prompts = {pair.prompt_id for pair in pairs}
    exclusive = ReservedPrompt.objects.exclusive().filter(prompt__in=prompts)
    others = set(exclusive.exclude(user=user).values_list("prompt", flat=True))
    own = set(exclusive.filter(user=user).values_list("prompt", flat=True)) if others else set()
    return [pair for pair in pairs if pair.prompt_id not in others - own]


def is_reserved_for(assignment: Assignment) -> bool:
    """Return whether its prompt was given to its person: they have a place of their own."""
    given = ReservedPrompt.objects.filter(user=assignment.user_id, prompt=assignment.prompt_id)
    return given.exclude(state=ReservedPrompt.State.RELEASED).exists()


def give_back() -> bool:
    """End packages whose day has come; release what people hold who left, are paused or may no longer sign in."""
    for package in WorkPackage.objects.filter(ended_at=None, until__lte=timezone.now()):
        with transaction.atomic():
            n = package.reserved.all().close(ReservedPrompt.State.RELEASED)
            WorkPackage.objects.filter(pk=package.pk).update(ended_at=timezone.now())
            audit.record(action="work.ended", about=f"{package.name}: {n} left", by=None, project=package.project)
    at_work = Membership.objects.filter(
        project=OuterRef("project"), user=OuterRef("user"), paused_at=None, user__is_active=True
    )
    gone = ReservedPrompt.objects.open().filter(~Exists(at_work)).order_by().values_list("project", "user").distinct()
    for project, user in list(gone):
        with transaction.atomic():
            n = ReservedPrompt.objects.filter(project=project, user=user).close(ReservedPrompt.State.RELEASED)
            about = f"{User.objects.get(pk=user).username}: {n} prompts, no longer at work here"
            audit.record(action="work.released", about=about, by=None, project=Project.objects.get(pk=project))
    return False


def _open_rows(project: Project, user: User, last: int, size: int) -> list[ReservedPrompt]:
    rows = ReservedPrompt.objects.left().filter(user=user, project=project)
    return list(rows.filter(pk__gt=last).select_related("prompt").order_by("id")[:size])


def _bearable(rows: list[ReservedPrompt], user: User) -> list[ReservedPrompt]:
    """Return the rows that this person may be shown now."""
    if not any(row.prompt.harm for row in rows):
        return rows
    visible = harm_budget.may_see({row.prompt_id for row in rows}, user)
    return [row for row in rows if row.prompt_id in visible]


def _works(
    rows: Sequence[ReservedPrompt], user: User, kinds: Sequence[str], left_out: Collection[int]
) -> dict[int, _Work]:
    """Return what is to be done of each row, by its id, in two queries."""
    prompts = [row.prompt_id for row in rows]
    answers = queue.answers_to(prompts, set(left_out))
    own = Assignment.objects.filter(user=user, prompt__in=prompts).exclude(purpose=_Purpose.REPEAT).order_by()
    states = {
        item: (pk, state, purpose) for pk, item, state, purpose in own.values_list("pk", "item", "state", "purpose")
    }
    works = {}
    for row in rows:
        to_do, in_hand = [], False
        for kind in kinds:
            for item in items_of(row.prompt_id, kind, answers[row.prompt_id]):
                pk, state, purpose = states.get(item.key, (None, None, None))
                in_hand |= state == _State.OPEN
                if state is None or (state in _COMES_AGAIN and purpose == _Purpose.WORK):
                    to_do.append(ReservedItem(kind, item, row.is_exclusive, pk))
        works[row.pk] = _Work(to_do, not to_do and not in_hand)
    return works


def _settle(works: dict[int, _Work]) -> None:
    if finished := [pk for pk, work in works.items() if work.is_finished]:
        ReservedPrompt.objects.filter(pk__in=finished).close(ReservedPrompt.State.DONE)
