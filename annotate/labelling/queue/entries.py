"""Keeping the queue: entries are made anew from the assignments themselves, prompt by prompt, whenever one changes.

Whoever changes what is judged, or what there is to judge, calls `changed` in the transaction of that change; it waits
for nobody. Whoever hands out next takes the changes in, under the project's lock.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable

from django.db import transaction
from django.db.models import Q

from annotate.labelling.queue.assigned_items import KINDS, WRITE, Item, items_of, level_of
from annotate.models import (
    Assignment,
    Completion,
    Demonstration,
    Project,
    Prompt,
    QueueChange,
    QueueEntry,
    Split,
)
from annotate.models.queue import Levels

Answers = list[tuple[int, str]]
AT_ONCE = 25  # prompts taken in by one who waits for an item; the background worker does the rest


def changed(project_id: int, prompts: Iterable[int]) -> None:
    """What is judged of these prompts, or what there is to judge, is not what it was."""
    QueueChange.note(project_id, prompts)


def take_in(project: Project, reserved: Iterable[int], most: int = AT_ONCE) -> bool:
    """Bring the queue up to date with the oldest changes; whether there were any. Hold the project's lock.

    `reserved` answers are asked about in their own way and are no part of the queue.
    """
    prompts: set[int] = set()
    done: list[int] = []
    for pk, changed_prompts in (
        QueueChange.objects.filter(project=project).order_by("pk").values_list("pk", "prompts")[:most]
    ):
        if prompts and len(prompts) + len(changed_prompts) > most:
            break
        prompts.update(changed_prompts)
        done.append(pk)
    if not done:
        return False
    refresh(project, prompts, reserved)
    QueueChange.objects.filter(pk__in=done).delete()
    return True


def refresh(project: Project, prompts: Iterable[int], reserved: Iterable[int] = ()) -> None:
    """Make the entries of these prompts anew. Hold the project's lock."""
    wanted = sorted(prompts)
    standing = Prompt.objects.filter(pk__in=wanted, project=project, side=Split.TRAIN, out_since=None)
    here = sorted(standing.values_list("pk", flat=True))
    answers = answers_to(here, set(reserved))
    judged = {is_simulated: judged_in(here, is_simulated=is_simulated) for is_simulated in (False, True)}
    entries = []
    for prompt in here:
        for kind in KINDS:
            if items := items_of(prompt, kind, answers[prompt]):
                levels = {name: level_of(items, judged[name == Levels.SIMULATED]) for name in Levels.ALL}
                entries.append(_entry(project, prompt, kind, items, levels))
    stale = QueueEntry.objects.filter(prompt__in=wanted)
    stale.delete()
    QueueEntry.objects.bulk_create(entries, batch_size=500)


def answers_to(prompts: Iterable[int], reserved: set[int]) -> dict[int, Answers]:
    """Return (id, text) of the answers to each, in ascending order, without those that are asked about in their own
    way."""
    answers: dict[int, Answers] = defaultdict(list)
    rows = Completion.objects.filter(prompt__in=list(prompts)).order_by("id").values_list("prompt_id", "id", "text")
    for prompt, pk, text in rows:
        if pk not in reserved:
            answers[prompt].append((pk, text))
    return answers


def judged_in(prompts: Iterable[int], *, is_simulated: bool) -> dict[str, int]:
    """Return how many places of each item are filled: what is in somebody's hands, or done. See `choosing.taken`."""
    fills = Q(state=Assignment.State.OPEN) | Q(state=Assignment.State.SUBMITTED)
    rows = Assignment.objects.filter(fills, prompt__in=list(prompts), purpose=Assignment.Purpose.WORK)
    judged: dict[str, int] = defaultdict(int)
    for item in rows.filter(user__is_simulated=is_simulated).order_by().values_list("item", flat=True):
        judged[item] += 1
    for item, n in written_elsewhere(prompts, is_simulated=is_simulated).items():
        judged[item] += n
    return judged


def written_elsewhere(prompts: Iterable[int], *, is_simulated: bool) -> dict[str, int]:
    """Demonstrations that did not come by an item of their own, such as imported ones, answer a prompt just as well."""
    judge = "simulation" if is_simulated else "person"
    rows = Demonstration.objects.counted().by(judge).filter(prompt__in=list(prompts))  # type: ignore[attr-defined]
    counts: dict[str, int] = defaultdict(int)
    for prompt in rows.exclude(assignment__kind=WRITE).order_by().values_list("prompt_id", flat=True):
        counts[Item(prompt).key] += 1
    return counts


def recount(project: Project, reserved: Iterable[int] = ()) -> int:
    """Make the whole queue anew; returns how many prompts that were. For `manage.py recount_queue`, and for doubts."""
    prompts = list(Prompt.objects.filter(project=project, side=Split.TRAIN).order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(prompts), QueueChange.MOST_PROMPTS):
        with transaction.atomic():
            Project.objects.select_for_update(no_key=True).filter(pk=project.pk).values_list("pk").first()
            refresh(project, prompts[start : start + QueueChange.MOST_PROMPTS], reserved)
    return len(prompts)


def _entry(project: Project, prompt: int, kind: str, items: list[Item], levels: dict[str, float]) -> QueueEntry:
    return QueueEntry(project=project, prompt_id=prompt, kind=kind, items=len(items), lot=random.random(), **levels)
