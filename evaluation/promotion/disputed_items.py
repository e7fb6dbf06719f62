"""List what to ask next: items on which annotators disagree with each other or the reward model, the widest first.

On the train split they can go back to annotators, first in the queue, until enough others have judged them. What the
eval split disagrees about is shown and stays in the arena: nothing of it leaves its split.

How wide: people give points (a win 1, a tie ½, a loss 0; stars from 1 to 5), and the variance of these is set against
the largest there can be, an even split. A split of two votes says less than one of ten: it counts n/(n + 1) of its
width. Where the reward model foresaw a share p of votes and people gave q, the width is (p − q)², likewise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import transaction

from annotate.core.db.prepared import Asked, Prepared, Slot
from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.labelling.queue.assigned_items import COMPARE, RATE, Item
from annotate.labelling.queue.urgent_items import UrgentPair
from annotate.models import Assignment, Completion, Project, Prompt, Split, User
from common.whole_numbers import row_ids
from evaluation.models import AskedAgain
from evaluation.promotion.disagreements import (
    Disagreement,
    between_judges,
    over_stars,
    with_a_run_that_asked,
    with_reward_models,
)

MOST = 50
MOST_AT_ONCE = 200
MORE_JUDGES = 3


@dataclass(frozen=True)
class Dispute:
    """One item and how far opinions of it lie apart. `width` is 0 for one mind and near 1 for an even split."""

    prompt: Prompt
    completions: tuple[Completion, ...]
    between: str
    width: float
    judged: int
    reason: str

    @property
    def key(self) -> str:
        return Item(self.prompt.pk, tuple(sorted(c.pk for c in self.completions))).key

    @property
    def question(self) -> str:
        return str(self.prompt.messages[-1]["content"])


def disputes(project: Project, side: str, judge: str, most: int = MOST) -> list[Dispute]:
    """Return the disputed items, the widest first; an item once, for the wider of its reasons."""
    found_disputes = [*between_judges(project, side, judge), *over_stars(project, side, judge)]
    found_disputes += [*with_a_run_that_asked(project, side, judge), *with_reward_models(project, side, judge)]
    widest: dict[tuple[int, ...], Disagreement] = {}
    for one in sorted(found_disputes, key=lambda one: -one.width):
        widest.setdefault(one.completions, one)
    chosen = [one for one in widest.values() if one.width > 0][:most]
    prompts = Prompt.objects.in_bulk({one.prompt for one in chosen})
    answers = Completion.objects.in_bulk({pk for one in chosen for pk in one.completions})
    return [
        Dispute(
            prompts[one.prompt],
            tuple(answers[pk] for pk in one.completions),
            one.between,
            one.width,
            one.judged,
            one.reason,
        )
        for one in chosen
    ]


# --- asking again ---


@transaction.atomic
def ask_again(*, project: Project, keys: Iterable[str], by: User, more: int | str = MORE_JUDGES) -> list[AskedAgain]:
    """Put items of the train split first in the queue, for `more` judges each beyond those who have judged them.

    An item is named as in the queue: compare:<id>:<id> or rate:<id>, smaller id first. Refused in the eval split.
    """
    require(by, "research", project)
    Project.objects.select_for_update(no_key=True).filter(pk=project.pk).values_list("pk").first()  # one row an item
    items = [_item(project, key) for key in dict.fromkeys(keys)]
    if not 1 <= len(items) <= MOST_AT_ONCE:
        raise Refused(400, chosen=f"Choose 1 to {MOST_AT_ONCE} items.")
    if not isinstance(more, int) or isinstance(more, bool) or not 1 <= more <= 100:
        raise Refused(400, more="Enter how many more annotators each item needs, from 1 to 100.")
    return [_ask(project, item, by, more) for item in items]


_open = Prepared(lambda: AskedAgain.objects.filter(project=Slot("project"), is_open=True))


def pairs_first(project: Project) -> Asked:
    """Ask, for the queue, what was asked again and has not enough annotations yet, the latest first."""
    return _open.asked(project=project.pk).then(_pairs)


def _pairs(rows: list[AskedAgain]) -> list[UrgentPair]:
    return [
        UrgentPair(row.prompt_id, item_of(row).completion_ids, is_open=True, is_reserved=False, places=row.places)
        for row in rows
    ]


def waiting(project: Project) -> int:
    """Return how many of the items asked again still wait for an annotator; those that have enough are closed."""
    rows = list(AskedAgain.objects.filter(project=project, is_open=True))
    judge_counts = _annotator_counts(project, [item_of(request).key for request in rows])
    enough = [request.pk for request in rows if judge_counts[item_of(request).key] >= request.places]
    if enough:
        AskedAgain.objects.filter(pk__in=enough).update(is_open=False)
    return len(rows) - len(enough)


def periodic_task() -> bool:
    """Do the periodic task: what has been judged often enough is no burden on the queue."""
    for project in Project.objects.filter(asked_again__is_open=True).distinct():
        waiting(project)
    return False


def item_of(request: AskedAgain) -> Item:
    ids = (request.completion_a_id, request.completion_b_id)
    return Item(request.prompt_id, tuple(sorted(pk for pk in ids if pk is not None)))


def _ask(project: Project, item: Item, by: User, more: int) -> AskedAgain:
    annotators_in_all = _annotator_counts(project, [item.key])[item.key] + more
    a, b = (*item.completion_ids, None)[:2]
    fields = {"project": project, "prompt_id": item.prompt_id, "completion_a_id": a, "completion_b_id": b}
    request = AskedAgain.objects.filter(**fields).order_by("pk").last()  # rounds may have asked for it, too
    if request is None:
        return AskedAgain.objects.create(**fields, places=annotators_in_all, by=by)
    if request.places < annotators_in_all or not request.is_open:
        request.places, request.is_open = max(request.places, annotators_in_all), True
        request.save(update_fields=["places", "is_open"])
    return request


def _annotator_counts(project: Project, keys: Iterable[str]) -> dict[str, int]:
    """Count by how many people each item is annotated; simulations have places of their own."""
    counts: dict[str, int] = defaultdict(int)
    done = project.assignments.filter(item__in=list(keys), state=Assignment.State.SUBMITTED, user__is_simulated=False)
    for key in done.values_list("item", flat=True):
        counts[key] += 1
    return counts


def _item(project: Project, key: str) -> Item:
    kind, *ids = str(key).split(":")
    numbers = tuple(sorted(row_ids(ids)))
    if kind not in (RATE, COMPARE) or not len(ids) == len(numbers) == (1 if kind == RATE else 2):
        raise Refused(400, chosen=f"{str(key)[:60]!r} is not an item; use compare:12:15 or rate:12.")
    answers = list(Completion.objects.filter(pk__in=numbers, prompt__project=project).select_related("prompt"))
    if len(answers) != len(numbers) or len({answer.prompt_id for answer in answers}) != 1:
        raise Refused(400, chosen=f"{project} has no such answers to one prompt: {key}.")
    prompt = answers[0].prompt
    if prompt.side != Split.TRAIN:
        raise Refused(
            400, chosen=f"{key} is in the eval split, which annotators do not get; choose items of the train split."
        )
    is_asked_for = project.asks_ratings if kind == RATE else project.asks_comparisons
    if not is_asked_for:
        raise Refused(409, chosen=f"{project} does not ask for {'ratings' if kind == RATE else 'comparisons'}.")
    return Item(prompt.pk, numbers)
