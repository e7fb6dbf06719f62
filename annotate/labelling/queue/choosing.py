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
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Q

from annotate.core.db.prepared import ask
from annotate.labelling.queue import entries as queue
from annotate.labelling.queue.assigned_items import WRITE, Item, items_of, level_of
from annotate.labelling.queue.first_entry import (
    NOT_ALL,
    PLACE,
    answers_to,
    in_languages,
    level_column,
    places_of,
    question_of_first,
    questions_of_first,
    waiting,
)
from annotate.labelling.queue.positions import Leads
from annotate.labelling.queue.urgent_items import UrgentPair, reserved_in
from annotate.models import Assignment, Completion, Project, QueueEntry, User
from annotate.projects.wellbeing import actions as harm_budget

LARGEST_BATCH = 64  # prompts looked into at a time, from 1 on, four times as many while they have nothing left
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
        rows, places = _answers_and_places([entry.prompt_id for entry in entries], kind)
        if found := _first_choice(entries, rows, places, project, user, kind, left_out):
            return found
        seen_prompts += [entry.prompt_id for entry in entries]
        size = min(size * 4, LARGEST_BATCH)
    return None


def choose_together(
    *, project: Project, user: User, kind: str, languages: Sequence[str], found: Sequence[list[Any]] = ()
) -> Choice | None:
    """Return what `choose` would, of the first entry that no other transaction has locked: it is then locked here, and
    with it all places of its items. None where it does not do. Hold the project's lock together with others. `found`
    are the answers to `questions_of_first`, where these were asked."""
    found = found or ask(*questions_of_first(project, user, kind, languages))
    entries, places, ((new_id, prompt),), *more = found
    if not entries or entries[0].prompt.harm or entries[0].prompt_id != prompt:
        return None
    answers = [] if kind == WRITE else more.pop(0)
    choice = _first_choice(entries, answers, places, project, user, kind)
    return choice and replace(choice, new_id=new_id, leads=more[0][0] if more else None)


def _first_choice(
    entries: Sequence[QueueEntry],
    rows: Iterable[Completion],
    places: Iterable[tuple],
    project: Project,
    user: User,
    kind: str,
    left_out: Collection[int] = (),
) -> Choice | None:
    answers = _by_prompt(rows, left_out)
    filled = _filled(places, [entry.prompt_id for entry in entries], kind, user)
    for entry in entries:
        prompt_answers = answers.get(entry.prompt_id, {})
        items = items_of(entry.prompt_id, kind, [(pk, answer.text) for pk, answer in prompt_answers.items()])
        if best := _best(entry, items, filled, project, user):
            level = level_of(items, filled.judged + Counter([best.key]))
            return Choice(best, entry, level, prompt_answers)
    return None


def _answers_and_places(prompts: list[int], kind: str) -> list[Any]:
    """Return the answers in ascending order of ids, none where one is to be written, and all assignments of that
    kind."""
    is_written = kind == WRITE
    if len(prompts) == 1:
        answers = [] if is_written else [answers_to.asked(prompt=prompts[0])]
        *rows, places = ask(*answers, places_of.asked(prompt=prompts[0], kind=kind))
        return [rows[0] if rows else [], places]
    assignments = Assignment.objects.filter(prompt__in=prompts, kind=kind).order_by().values_list(*PLACE)
    found = [] if is_written else list(Completion.objects.filter(prompt__in=prompts).order_by("id"))
    return [found, list(assignments)]


def _by_prompt(answers: Iterable[Completion], left_out: Collection[int]) -> dict[int, dict[int, Completion]]:
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
        (first,) = ask(question_of_first(project, user, kind, languages))
        if not any(entry.prompt.harm for entry in first):
            return first
    entries = waiting(level_column(user), project=project, user=user, kind=kind, overlap=project.overlap)
    entries = harm_budget.within(entries, project, user).exclude(prompt__in=seen_prompts)
    entries = entries.filter(NOT_ALL | Q(prompt__in=apart) if apart else NOT_ALL)
    return list(in_languages(entries, languages, size) if languages else entries[:size])


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
