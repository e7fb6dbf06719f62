"""Keep the queue: compute entries again from the assignments, prompt by prompt, whenever one changes.

Whoever changes what is judged, or what there is to judge, calls `changed` in the transaction of that change; it waits
for nobody. Whoever hands out next takes the changes in, under the project's lock.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef

from annotate.data.imports import bulk_insert
from annotate.labelling.queue.assigned_items import KINDS, WRITE, Item, items_of, level_of
from annotate.models import (
    Assignment,
    Completion,
    Demonstration,
    Project,
    Prompt,
    QueueChange,
    QueueEntry,
    ReservedPrompt,
    Split,
)
from annotate.models.queue import Levels
from common.languages.language_tags import primary

Answers = list[tuple[int, str]]
AT_ONCE = 25  # prompts taken in by one who waits for an item; the background worker does the rest
_MANY = 200  # entries
_COLUMNS = ("project_id", "prompt_id", "kind", "language", "items", "level", "level_simulated", "lot")


def changed(project_id: int, prompts: Iterable[int]) -> None:
    """Note that what is annotated of these prompts, or what there is to annotate, has changed."""
    QueueChange.note(project_id, prompts)


def take_in(project: Project, reserved: Iterable[int], limit: int = AT_ONCE) -> bool:
    """Bring the queue up to date with the oldest changes; return whether there were any. Hold the project's lock.

    `reserved` answers are asked about in their own way and are no part of the queue.
    """
    prompts: set[int] = set()
    change_ids: list[int] = []
    for pk, changed_prompts in (
        QueueChange.objects.filter(project=project).order_by("pk").values_list("pk", "prompts")[:limit]
    ):
        if prompts and len(prompts) + len(changed_prompts) > limit:
            break
        prompts.update(changed_prompts)
        change_ids.append(pk)
    if not change_ids:
        return False
    refresh(project, prompts, reserved)
    QueueChange.objects.filter(pk__in=change_ids).delete()
    return True


def refresh(project: Project, prompts: Iterable[int], reserved: Iterable[int] = ()) -> None:
    """Compute the entries of these prompts again. Hold the project's lock."""
    prompt_ids = sorted(prompts)
    entries = computed(project, prompt_ids, reserved)
    stale = QueueEntry.objects.filter(prompt__in=prompt_ids)
    stale.delete()
    _store(entries)


def _store(entries: list[QueueEntry]) -> None:
    """Store new entries: those of a few prompts, for which somebody may wait, by one statement, many by COPY."""
    if len(entries) < _MANY:
        QueueEntry.objects.bulk_create(entries)
        return
    bulk_insert.insert(QueueEntry, _COLUMNS, [tuple([getattr(entry, name) for name in _COLUMNS]) for entry in entries])


def computed(project: Project, prompts: Iterable[int], reserved: Iterable[int] = ()) -> list[QueueEntry]:
    """Return the entries of these prompts as their assignments say, none of them stored."""
    prompt_ids = sorted(prompts)
    standing = Prompt.objects.filter(pk__in=prompt_ids, project=project, side=Split.TRAIN, out_since=None)
    kept_for_some = ReservedPrompt.objects.exclusive().filter(prompt=OuterRef("pk"))
    standing = standing.filter(~Exists(kept_for_some))  # they are handed out by `reserved` alone
    languages = {pk: primary(tag) for pk, tag in standing.values_list("pk", "language")}
    standing_ids = sorted(languages)
    answers = answers_to(standing_ids, set(reserved))
    counts_by_kind = {
        is_simulated: judged_in(standing_ids, is_simulated=is_simulated) for is_simulated in (False, True)
    }
    entries = []
    for prompt in standing_ids:
        for kind in KINDS:
            if items := items_of(prompt, kind, answers[prompt]):
                levels = {name: level_of(items, counts_by_kind[name == Levels.SIMULATED]) for name in Levels.ALL}
                entries.append(_entry(project, prompt, kind, items, language=languages[prompt], **levels))
    return entries


def answers_to(prompts: Iterable[int], reserved: set[int]) -> dict[int, Answers]:
    """Return (id, text) of the answers to each prompt, in ascending order, without reserved ones."""
    answers: dict[int, Answers] = defaultdict(list)
    rows = Completion.objects.filter(prompt__in=list(prompts)).order_by("id").values_list("prompt_id", "id", "text")
    for prompt, pk, text in rows:
        if pk not in reserved:
            answers[prompt].append((pk, text))
    return answers


def judged_in(prompts: Iterable[int], *, is_simulated: bool) -> dict[str, int]:
    """Return how many places of each item are filled: in somebody's hands, or done. See `assigned_items.taken`."""
    rows = Assignment.objects.filling(is_simulated=is_simulated).filter(prompt__in=list(prompts))
    counts_by_item: dict[str, int] = defaultdict(int)
    for item in rows.order_by().values_list("item", flat=True):
        counts_by_item[item] += 1
    for item, n in written_elsewhere(prompts, is_simulated=is_simulated).items():
        counts_by_item[item] += n
    return counts_by_item


def written_elsewhere(prompts: Iterable[int], *, is_simulated: bool) -> dict[str, int]:
    """Return demonstrations that came without an item, such as imported ones: they answer a prompt just as well."""
    judge = "simulation" if is_simulated else "person"
    rows = Demonstration.objects.counted().by(judge).filter(prompt__in=list(prompts))  # type: ignore[attr-defined]
    counts: dict[str, int] = defaultdict(int)
    for prompt in rows.exclude(assignment__kind=WRITE).order_by().values_list("prompt_id", flat=True):
        counts[Item(prompt).key] += 1
    return counts


def recount(project: Project, reserved: Iterable[int] = ()) -> int:
    """Compute the whole queue again; return how many prompts. For `manage.py recount_queue`, and for doubts."""
    count = 0
    for prompts in blocks_of_prompts(project):
        with transaction.atomic():
            project.lock()
            refresh(project, prompts, reserved)
        count += len(prompts)
    return count


def blocks_of_prompts(project: Project) -> Iterator[list[int]]:
    """Yield the prompts of the train split, as many at a time as may be computed under the project's lock."""
    last = 0
    rows = Prompt.objects.filter(project=project, side=Split.TRAIN).order_by("pk").values_list("pk", flat=True)
    while block := list(rows.filter(pk__gt=last)[: QueueChange.MOST_PROMPTS]):
        last = block[-1]
        yield block


def _entry(project: Project, prompt: int, kind: str, items: list[Item], **fields: Any) -> QueueEntry:
    return QueueEntry(project=project, prompt_id=prompt, kind=kind, items=len(items), lot=random.random(), **fields)
