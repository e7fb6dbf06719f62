"""Choose which item an annotator is asked about next. `assigning` calls it while it holds the project's lock.

The prompts judged least come first, and in them the items judged least, so that feedback spreads over the whole
project before anything is judged in depth. Ties are broken at random, else all annotators would walk in one order.
Before all of these come the items that another app waits for, see `urgent_items`; and most of the time those about
which a reward model is unsure, see `priorities`.

The queue says where to look; the assignments of that prompt say whether there is room. So a queue that is behind costs
time and never a place.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from django.db.models import Count, F, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from annotate.core.db.prepared import Asked, Prepared, Slot, ask
from annotate.core.db.prepared_writes import next_id
from annotate.labelling.queue import entries as queue
from annotate.labelling.queue.assigned_items import COMPARE, WRITE, Item, items_of, level_of
from annotate.labelling.queue.positions import Leads, leads_on
from annotate.labelling.queue.urgent_items import UrgentPair, reserved_in
from annotate.models import Assignment, Completion, Project, QueueEntry, User
from annotate.models.queue import Levels
from annotate.projects.wellbeing import actions as harm_budget

LARGEST_BATCH = 64  # prompts looked into at a time, from 1 on, four times as many while they have nothing left
_PLACE = ("item", "user_id", "state", "purpose", "is_review", "user__is_simulated")
_FILLS = (Assignment.State.OPEN, Assignment.State.SUBMITTED)


@dataclass(frozen=True)
class Choice:
    """An item, and the level of its prompt in the queue after it is handed out."""

    item: Item
    entry: QueueEntry
    level: float
    answers: dict[int, Completion]
    new_id: int | None = None  # for its assignment, where others choose meanwhile
    leads: Leads | None = None  # between the models of its answers, where they were read with them


def choose(
    *, project: Project, user: User, kind: str, pairs: Sequence[UrgentPair] = (), languages: Sequence[str] = ()
) -> Choice | None:
    """Return the next item of `kind` for `user`, in one of these languages or in none; None when all items are done,
    held by others, or were served to them before. Without `languages` all are theirs."""
    left_out = reserved_in(pairs)
    # What they were served of reserved answers says nothing of the others to the same prompt.
    apart = {pair.prompt_id for pair in pairs if pair.is_reserved}
    seen_prompts: list[int] = []
    size = 1
    while entries := _with_room(project, user, kind, languages, apart, seen_prompts, size):
        if found := _first_choice(entries, project, user, kind, left_out):
            return found
        seen_prompts += [entry.prompt_id for entry in entries]
        size = min(size * 4, LARGEST_BATCH)
    return None


def choose_together(
    *,
    project: Project,
    user: User,
    kind: str,
    languages: Sequence[str],
    entries: Sequence[QueueEntry] | None = None,
) -> Choice | None:
    """Return what `choose` would, of the first entry that no other transaction has locked: it is then locked here, and
    with it all places of its items. None where it does not do. Hold the project's lock together with others. `entries`
    answer `question_of_first`, where that was asked."""
    if entries is None:
        (entries,) = ask(question_of_first(project, user, kind, languages))
    if not entries or entries[0].prompt.harm:
        return None
    return _first_choice(entries, project, user, kind, set(), is_together=True)


def question_of_first(
    project: Project, user: User, kind: str, languages: Sequence[str], is_locking: bool = True
) -> Asked:
    """Return the question whose answer is `entries` of `choose_together`."""
    slots = {"project": project.pk, "user": user.pk, "kind": kind, "overlap": project.overlap}
    named = {f"language_{n}": language for n, language in enumerate(languages)}
    return _least_judged(level_column(user), len(languages), is_locking).asked(**slots, **named)


def _first_choice(
    entries: Sequence[QueueEntry],
    project: Project,
    user: User,
    kind: str,
    left_out: set[int],
    is_together: bool = False,
) -> Choice | None:
    prompts = [entry.prompt_id for entry in entries]
    beside = _asked_together(project, user, kind, prompts[0]) if is_together else []
    rows, places, *more = _answers_and_places(prompts, kind, beside)
    answers = _by_prompt(rows, left_out)
    filled = _filled(places, prompts, kind, user)
    for entry in entries:
        prompt_answers = answers.get(entry.prompt_id, {})
        items = items_of(entry.prompt_id, kind, [(pk, answer.text) for pk, answer in prompt_answers.items()])
        if best := _best(entry, items, filled, project, user):
            level = level_of(items, filled.judged + Counter([best.key]))
            return Choice(best, entry, level, prompt_answers, *more)
    return None


def _asked_together(project: Project, user: User, kind: str, prompt: int) -> list[Asked]:
    return [next_id(Assignment), *([leads_on(project, user, prompt)] if kind == COMPARE else [])]


def _answers_and_places(prompts: list[int], kind: str, beside: Sequence[Asked] = ()) -> list[Any]:
    """Return the answers in ascending order of ids, none where one is to be written, all assignments of that kind, and
    the one answer to each question that is to be asked `beside` those of a single prompt."""
    is_written = kind == WRITE
    if len(prompts) == 1:
        answers = [] if is_written else [_answers_to.asked(prompt=prompts[0])]
        found = ask(*answers, _of_prompt.asked(prompt=prompts[0], kind=kind), *beside)
        rows, assignments, *more = [[], *found] if is_written else found
        return [rows, assignments, *(answer for (answer,) in more)]
    places = Assignment.objects.filter(prompt__in=prompts, kind=kind).order_by().values_list(*_PLACE)
    if is_written:
        return [[], list(places)]
    return [list(Completion.objects.filter(prompt__in=prompts).order_by("id")), list(places)]


def _by_prompt(answers: Iterable[Completion], left_out: set[int]) -> dict[int, dict[int, Completion]]:
    """Return the answers by prompt and id, in ascending order of ids."""
    completions: dict[int, dict[int, Completion]] = {}
    for answer in answers:
        if answer.pk not in left_out:
            completions.setdefault(answer.prompt_id, {})[answer.pk] = answer
    return completions


@dataclass(frozen=True)
class _Filled:
    judged: Counter[str]
    served: set[str]


def level_column(user: User) -> str:
    return Levels.SIMULATED if user.is_simulated else Levels.PEOPLE


def _with_room(
    project: Project,
    user: User,
    kind: str,
    languages: Sequence[str],
    apart: set[int],
    seen_prompts: list[int],
    size: int,
) -> list[QueueEntry]:
    """Return prompts of which this person has not been served everything, least annotated first, from the index
    alone."""
    if not apart and not seen_prompts:
        (first,) = ask(question_of_first(project, user, kind, languages, is_locking=False))
        if not any(entry.prompt.harm for entry in first):
            return first
    entries = _queue(level_column(user), project=project, user=user, kind=kind, overlap=project.overlap)
    entries = harm_budget.within(entries, project, user).exclude(prompt__in=seen_prompts)
    entries = entries.filter(_NOT_ALL | Q(prompt__in=apart) if apart else _NOT_ALL)
    return list(_in_languages(entries, languages, size) if languages else entries[:size])


_NOT_ALL = Q(served__lt=F("items"))


def _queue(level: str, *, project: Any, user: Any, kind: Any, overlap: Any) -> QuerySet[QueueEntry]:
    own_assignments = Assignment.objects.filter(user=user, kind=kind, prompt=OuterRef("prompt"))
    served_counts = (
        own_assignments.exclude(purpose=Assignment.Purpose.REPEAT).order_by().values("prompt").annotate(n=Count("pk"))
    )
    served = Subquery(served_counts.values("n"), output_field=IntegerField())
    entries = QueueEntry.objects.filter(project=project, kind=kind, **{f"{level}__lt": overlap})
    return entries.select_related("prompt").annotate(served=Coalesce(served, 0)).order_by(level, "lot")


def _in_languages(entries: QuerySet[QueueEntry], languages: Sequence[Any], size: int) -> QuerySet[QueueEntry]:
    """Return the first of the entries in one of these languages or in none.

    The index is read in the order of the queue for each language apart: however many entries of other languages come
    before, none is looked at. Each part is a query of its own within, as SQLite allows no limit in a union's.
    """
    firsts = [entries.filter(language=language).values("pk")[:size] for language in ("", *languages)]
    parts = [QueueEntry.objects.filter(pk__in=first).order_by().values("pk") for first in firsts]
    found = QueueEntry.objects.filter(pk__in=parts[0].union(*parts[1:], all=True))
    return found.select_related("prompt").order_by(*entries.query.order_by)[:size]


def _first_in(level: str, n_languages: int, is_locking: bool) -> QuerySet[QueueEntry]:
    slots = {name: Slot(name) for name in ("project", "user", "kind", "overlap")}
    entries = _queue(level, **slots).filter(_NOT_ALL)
    if is_locking:
        entries = entries.select_for_update(skip_locked=True, of=("self",), no_key=True)
    if not n_languages:
        return entries[:1]
    return _in_languages(entries, [Slot(f"language_{n}") for n in range(n_languages)], 1)


# Most of the time the first prompt in the queue has an item for this person: what is asked of it, put together once.
@cache
def _least_judged(level: str, n_languages: int, is_locking: bool) -> Prepared:
    return Prepared(partial(_first_in, level, n_languages, is_locking))


_answers_to = Prepared(lambda: Completion.objects.filter(prompt=Slot("prompt")).order_by("id"))
_of_prompt = Prepared(
    lambda: Assignment.objects.filter(prompt=Slot("prompt"), kind=Slot("kind")).order_by().values_list(*_PLACE)
)


def _filled(places: Iterable[tuple], prompts: list[int], kind: str, user: User) -> _Filled:
    """Return what of these prompts is filled, and what this person was served of them."""
    filled = _Filled(Counter(), set())
    for item, owner, state, purpose, is_review, is_simulated in places:
        if owner == user.pk and purpose != Assignment.Purpose.REPEAT:
            filled.served.add(item)
        is_work = purpose == Assignment.Purpose.WORK and not is_review
        if is_work and state in _FILLS and is_simulated == user.is_simulated:
            filled.judged[item] += 1
    if kind == WRITE:
        filled.judged.update(queue.written_elsewhere(prompts, is_simulated=user.is_simulated))
    return filled


def _best(entry: QueueEntry, items: list[Item], filled: _Filled, project: Project, user: User) -> Item | None:
    """Return the least annotated of the items that this person may have, and whose answers were seen least."""
    counts_by_item = filled.judged
    free = [item for item in items if counts_by_item[item.key] < project.overlap and item.key not in filled.served]
    if not free:
        _correct(entry, items, filled, user)
        return None
    times_seen = Counter(pk for item in items for pk in item.completion_ids for _ in range(counts_by_item[item.key]))
    return min(
        free, key=lambda i: (counts_by_item[i.key], sum(times_seen[pk] for pk in i.completion_ids), random.random())
    )


def _correct(entry: QueueEntry, items: list[Item], filled: _Filled, user: User) -> None:
    """Correct an entry of the queue that was behind, so that the next to look need not look here again."""
    if not items:
        entry.delete()
        return
    level = level_of(items, filled.judged)
    if (entry.items, getattr(entry, level_column(user))) != (len(items), level):
        QueueEntry.objects.filter(pk=entry.pk).update(items=len(items), **{level_column(user): level})
