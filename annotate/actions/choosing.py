"""Which item a judge is asked about next. Reads only; `assignments` calls it while it holds the project's lock.

The prompts judged least come first, and in them the items judged least, so that feedback spreads over the whole
project before anything is judged in depth. Ties are broken at random, else all judges would walk in one order.
Before all of these come the items that another app waits for, such as the pairs of a run that people are to brake.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from annotate.models import Assignment, Completion, Project, Prompt, Side, User

RATE, COMPARE = Assignment.Kind.RATE.value, Assignment.Kind.COMPARE.value
FIRST_BATCH = 4  # prompts looked into at a time; doubled while they turn out to have nothing left


@dataclass(frozen=True)
class Item:
    """A completion to rate, or two of one prompt to compare; ids in ascending order."""

    prompt_id: int
    completion_ids: tuple[int, ...]

    @property
    def key(self) -> str:
        kind = RATE if len(self.completion_ids) == 1 else COMPARE
        return ":".join([kind, *map(str, self.completion_ids)])

    def shown_to(self, user: User) -> tuple[int, ...]:
        """In a random order that belongs to this assignment: the same however often it is asked for."""
        order = list(self.completion_ids)
        random.Random(f"{user.pk}:{self.key}").shuffle(order)
        return tuple(order)


@dataclass(frozen=True)
class UrgentPair:
    """Two answers that another app wants compared, or one that it wants rated: first while it `is_open`.

    `is_reserved` answers are asked about in no other company. `places` is how many are to judge it, those who have
    done so included; None: as many as the project asks for.
    """

    prompt_id: int
    completion_ids: tuple[int, ...]
    is_open: bool
    is_reserved: bool = True
    places: int | None = None

    @property
    def item(self) -> Item:
        return Item(self.prompt_id, tuple(sorted(self.completion_ids)))

    def places_in(self, project: Project) -> int:
        return project.overlap if self.places is None else self.places


# Functions of a project, the most urgent pair first. Other apps add theirs: this one knows none of them.
URGENT: list[Callable[[Project], list[UrgentPair]]] = []


def urgent_pairs(project: Project) -> list[UrgentPair]:
    return [pair for pairs in URGENT for pair in pairs(project)]


def taken(project: Project, *, is_simulated: bool) -> QuerySet[Assignment]:
    """Assignments that fill a place of their item: done, or in somebody's hands.

    People and simulations each have places of their own: a simulation never uses up what a person could judge.
    """
    in_hand = Q(state=Assignment.State.OPEN, expires_at__gt=timezone.now())
    return project.assignments.filter(
        in_hand | Q(state=Assignment.State.SUBMITTED), user__is_simulated=is_simulated
    ).order_by()


def choose_urgent(*, pairs: Iterable[UrgentPair], project: Project, user: User, kind: str = COMPARE) -> Item | None:
    """The first open item of that kind that this user may have."""
    size = 1 if kind == RATE else 2
    wanted = [
        (pair.item, pair.places_in(project)) for pair in pairs if pair.is_open and len(pair.completion_ids) == size
    ]
    keys = [item.key for item, _ in wanted]
    if not keys:
        return None
    places = taken(project, is_simulated=user.is_simulated).filter(kind=kind, item__in=keys)
    judged = Counter(places.values_list("item", flat=True))
    served = set(project.assignments.filter(user=user, item__in=keys).values_list("item", flat=True))
    return next((item for item, limit in wanted if judged[item.key] < limit and item.key not in served), None)


def places_of(project: Project, key: str) -> int:
    """How many may judge the item of that key: as many as the project asks for, or as somebody has asked again."""
    asked = [pair.places_in(project) for pair in urgent_pairs(project) if pair.is_open and pair.item.key == key]
    return max([project.overlap, *asked])


def choose(*, project: Project, user: User, kind: str, pairs: Iterable[UrgentPair] = ()) -> Item | None:
    """The next item of `kind` for `user`; None when all is judged, held by others, or was served to them before.

    The reserved answers of urgent `pairs` are left out: they are asked about in their own way.
    """
    reserved = {pk: pair.prompt_id for pair in pairs if pair.is_reserved for pk in pair.completion_ids}
    prompts = _prompts_with_room(project, user, kind, reserved)
    start, size = 0, FIRST_BATCH
    while batch := prompts[start : start + size]:
        for candidates in _free_items(project, user, kind, batch, reserved):
            if candidates:
                return candidates[0]
        start, size = start + size, size * 2
    return None


def _prompts_with_room(project: Project, user: User, kind: str, reserved: dict[int, int]) -> list[int]:
    """Ids of train-side prompts, least judged first. Eval-side votes rank models and come from the arena."""
    prompts = Prompt.objects.filter(project=project, side=Side.TRAIN).order_by()
    sizes = dict(prompts.annotate(n=Count("completions")).values_list("id", "n"))
    for prompt, count in Counter(reserved.values()).items():
        sizes[prompt] -= count
    of_kind = taken(project, is_simulated=user.is_simulated).filter(kind=kind)
    mine: QuerySet[Assignment] = project.assignments.filter(user=user, kind=kind).order_by()
    if reserved:  # what was said of those fills no place of the others
        of_kind, mine = (rows.exclude(completion_a__in=reserved) for rows in (of_kind, mine))
    judged = dict(of_kind.values_list("prompt").annotate(n=Count("id")))
    served = dict(mine.values_list("prompt").annotate(n=Count("id")))

    order: list[tuple[float, float, int]] = []
    for prompt, size in sizes.items():
        items = size if kind == RATE else size * (size - 1) // 2
        if judged.get(prompt, 0) < items * project.overlap and served.get(prompt, 0) < items:
            order.append((judged.get(prompt, 0) / items, random.random(), prompt))
    return [prompt for _, _, prompt in sorted(order)]


def _free_items(
    project: Project, user: User, kind: str, prompts: list[int], reserved: dict[int, int]
) -> Iterator[list[Item]]:
    """For each prompt in turn, the items that this user may have, best first."""
    completions: dict[int, list[tuple[int, str]]] = {prompt: [] for prompt in prompts}
    rows = Completion.objects.filter(prompt__in=prompts).order_by("id")
    for pk, prompt, text in rows.values_list("id", "prompt_id", "text"):
        if pk not in reserved:
            completions[prompt].append((pk, text))
    in_batch = Q(prompt__in=prompts, kind=kind)
    places = taken(project, is_simulated=user.is_simulated).filter(in_batch)
    judged = Counter(places.values_list("item", flat=True))
    served = set(project.assignments.filter(in_batch, user=user).values_list("item", flat=True))

    for prompt in prompts:
        items = _items(prompt, completions[prompt], kind)
        free = [item for item in items if judged[item.key] < project.overlap and item.key not in served]
        seen = Counter(pk for item in items for pk in item.completion_ids for _ in range(judged[item.key]))
        free.sort(key=lambda item: (judged[item.key], sum(seen[pk] for pk in item.completion_ids), random.random()))
        yield free


def _items(prompt: int, completions: list[tuple[int, str]], kind: str) -> list[Item]:
    if kind == RATE:
        return [Item(prompt, (pk,)) for pk, _ in completions]
    # Two answers in the same words are not a pair: nobody could tell which is better.
    return [
        Item(prompt, (a, b))
        for (a, text_a), (b, text_b) in combinations(completions, 2)
        if text_a.strip() != text_b.strip()
    ]
