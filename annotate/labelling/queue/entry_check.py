"""Compare the kept queue of a project with what its assignments say, and change nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.db import transaction

from annotate.labelling.queue import entries as queue
from annotate.models import Project, QueueChange, QueueEntry

_SAID = ("items", "language", "level", "level_simulated")


@dataclass(frozen=True)
class EntryDifference:
    """An entry that differs from the assignments: what it says, and what it should say; None where there is none."""

    prompt: int
    kind: str
    entry: tuple | None
    assignments: tuple | None

    def __str__(self) -> str:
        kept, right = (_describe(values) for values in (self.entry, self.assignments))
        return f"kept: {kept}; from the assignments: {right}"


def differences(project: Project, reserved: Iterable[int] = ()) -> Iterator[EntryDifference]:
    """Yield entries that differ. Prompts whose changes wait to be taken in are passed over."""
    left_out = set(reserved)
    for prompts in queue.blocks_of_prompts(project):
        with transaction.atomic():
            project.lock()  # entries change under it alone
            right = _by_place(queue.computed(project, prompts, left_out))
            kept = _by_place(QueueEntry.objects.filter(project=project, prompt__in=prompts))
            differing = [place for place in sorted(kept.keys() | right.keys()) if not _agree(place, kept, right)]
            # Read last: a change since is listed in the transaction that made it.
            waiting = _waiting(project) if differing else set()
        yield from (
            EntryDifference(*place, kept.get(place), right.get(place)) for place in differing if place[0] not in waiting
        )


Place = tuple[int, str]


def _by_place(entries: Iterable[QueueEntry]) -> dict[Place, tuple]:
    return {(e.prompt_id, e.kind): tuple(getattr(e, name) for name in _SAID) for e in entries}


def _agree(place: Place, kept: dict[Place, tuple], right: dict[Place, tuple]) -> bool:
    one, other = kept.get(place), right.get(place)
    if one is None or other is None:
        return one is other
    return one[:2] == other[:2] and all(abs(a - b) < 1e-6 for a, b in zip(one[2:], other[2:], strict=True))


def _waiting(project: Project) -> set[int]:
    changes = QueueChange.objects.filter(project=project).values_list("prompts", flat=True)
    return {prompt for prompts in changes for prompt in prompts}


def _describe(values: tuple | None) -> str:
    if values is None:
        return "no entry"
    return ", ".join(f"{name} {value!r}" for name, value in zip(_SAID, values, strict=True))
