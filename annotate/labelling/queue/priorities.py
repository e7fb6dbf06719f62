"""Put first what teaches most: pairs about which a reward model is unsure, where one has scored them.

Another app says which those are (`UNCERTAINTY`); without one, or where all such pairs are judged, the prompts
judged least come first. One item in five is always taken from there: else the corner where one model is unsure would
eat all the work, and nobody would find out where it is wrong and sure.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from annotate.core.hooks import Hook
from annotate.labelling.queue import entries as queue
from annotate.labelling.queue.assigned_items import COMPARE, RATE, Item
from annotate.labelling.queue.urgent_items import reserved_in, urgent_pairs
from annotate.models import Assignment, ItemPriority, Project, QueueEntry, User
from annotate.projects import member_languages
from annotate.projects.wellbeing import actions as harm_budget

COVERAGE_SHARE = 0.2
MOST_KEPT = 5000
_LOOKED_AT = 8
_AT_ONCE = 250
_lot = random.SystemRandom()


@dataclass(frozen=True)
class Uncertain:
    """A pair, or one answer to rate. `uncertainty` is 1 where the model is undecided, 0 where it is sure."""

    prompt_id: int
    completion_ids: tuple[int, ...]
    uncertainty: float
    why: str

    @property
    def item(self) -> Item:
        return Item(self.prompt_id, tuple(sorted(self.completion_ids)))


def of_probability(p: float) -> float:
    """Return how unsure a model is that gives one of two answers the probability p of being better."""
    return 1 - abs(2 * p - 1)


Source = Callable[[Project], Iterable[Uncertain]]
UNCERTAINTY: Hook[Source] = Hook(
    "uncertainty",
    "Called with a project every few minutes; returns the items that a model is unsure of. Without it coverage alone "
    "counts.",
    most=1,
)


def renew(project: Project) -> int:
    """Ask the registered sources again and keep their most uncertain items; return how many wait now."""
    candidates: dict[str, Uncertain] = {}
    for source in UNCERTAINTY.values():
        for candidate in source(project):
            if candidate.uncertainty > 0 and candidate.item.key not in candidates:
                candidates[candidate.item.key] = candidate
    most_uncertain = sorted(candidates.values(), key=lambda candidate: -candidate.uncertainty)[:MOST_KEPT]
    rows = [
        ItemPriority(
            project=project,
            prompt_id=candidate.prompt_id,
            kind=RATE if len(candidate.completion_ids) == 1 else COMPARE,
            item=candidate.item.key,
            uncertainty=candidate.uncertainty,
            why=candidate.why[:200],
        )
        for candidate in most_uncertain
    ]
    _replace(project, rows)
    return len(rows)


def _replace(project: Project, rows: list[ItemPriority]) -> None:
    """Replace the rows, a few in each transaction, so that an item is never without its priority."""
    kept_items = {row.item for row in rows}
    standing = ItemPriority.objects.filter(project=project).values_list("pk", "item")
    obsolete = [pk for pk, item in standing if item not in kept_items]
    for start in range(0, len(obsolete), _AT_ONCE):
        ItemPriority.objects.filter(pk__in=obsolete[start : start + _AT_ONCE]).delete()
    for start in range(0, len(rows), _AT_ONCE):
        ItemPriority.objects.bulk_create(
            rows[start : start + _AT_ONCE],
            update_conflicts=True,
            unique_fields=["project", "item"],
            update_fields=["prompt", "kind", "uncertainty", "why", "is_open"],
        )


def choose_uncertain(project: Project, user: User, kind: str, languages: Sequence[str] = ()) -> Item | None:
    """Return the item of `kind` about which a model is least sure, that this person may have; now and then, by lot,
    None. Without `languages` all are theirs.

    Hold the project's lock. What has been judged as often as the project asks for is closed on the way.
    """
    if _lot.random() < COVERAGE_SHARE:
        return None
    while rows := list(_open_to(project, user, kind, languages)[:_LOOKED_AT]):
        counts_by_item = _annotation_counts(project, [row.item for row in rows], user)
        full = [row.pk for row in rows if counts_by_item[row.item] >= project.overlap]
        for row in rows:
            if row.pk not in full:
                return Item.of_key(row.prompt_id, row.item)
        if user.is_simulated:  # people have places of their own; theirs stay open
            return None
        ItemPriority.objects.filter(pk__in=full).update(is_open=False)
    return None


@dataclass(frozen=True)
class Coming:
    """An item near the head of the queue, and why it is there."""

    kind: str
    prompt_id: int
    item: str
    why: str


def coming_next(project: Project, limit: int = 10) -> list[Coming]:
    """Return what people will be asked first, and why, for managers. By lot among equals, so the order may differ."""
    with transaction.atomic():  # what nobody has asked for yet is not in the queue
        project.lock()
        queue.take_in(project, reserved_in(urgent_pairs(project)))
    rows = _in_queue(ItemPriority.objects.filter(project=project, is_open=True)).order_by("-uncertainty")[:limit]
    coming = [Coming(row.kind, row.prompt_id, row.item, row.why) for row in rows]
    for kind in project.asked_kinds:
        entries = QueueEntry.objects.filter(project=project, kind=kind, level__lt=project.overlap)
        for entry in entries.order_by("level", "lot")[: max(1, limit // 4)]:
            times = int(entry.level)
            coming.append(Coming(kind, entry.prompt_id, "", f"least annotated: {times} of {project.overlap} times"))
    return coming


def _in_queue(rows: QuerySet[ItemPriority]) -> QuerySet[ItemPriority]:
    return rows.filter(Exists(QueueEntry.objects.filter(prompt=OuterRef("prompt"), kind=OuterRef("kind"))))


def _open_to(project: Project, user: User, kind: str, languages: Sequence[str]) -> QuerySet[ItemPriority]:
    served = Assignment.objects.filter(user=user, item=OuterRef("item"))
    rows = ItemPriority.objects.filter(project=project, kind=kind, is_open=True).filter(~Exists(served))
    rows = member_languages.within(_in_queue(rows), languages)
    return harm_budget.within(rows, project, user).order_by("-uncertainty")


def _annotation_counts(project: Project, items: list[str], user: User) -> Counter[str]:
    rows = project.assignments.filling(is_simulated=user.is_simulated).filter(item__in=items)
    return Counter(rows.order_by().values_list("item", flat=True))
