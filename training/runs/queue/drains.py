"""Keep workers from new runs, for maintenance: a mark in the database, which each worker reads by its own names.

A mark names workers (`--name`), a host, or a worker at a host, `gpu@node-3`. It outlives the worker: one that is
started anew takes no run either, until the mark is taken back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from training.models import Attempt, Drain
from training.runs.queue.worker_names import forms_of, host_of


@dataclass(frozen=True)
class Drained:
    """A mark, and how many runs the workers that it names still carry out."""

    name: str
    runs: int

    @property
    def state(self) -> str:
        return "draining" if self.runs else "drained"


def drain(name: str, *, gives_back: bool = False) -> Drain:
    """Mark the workers of that name: they take no new run; with `gives_back` theirs go back into the queue."""
    return Drain.objects.update_or_create(name=name, defaults={"gives_back": gives_back})[0]


def undo(name: str) -> bool:
    """Take a mark back; return whether there was one."""
    return bool(Drain.objects.filter(name=name).delete()[0])


def drain_of(worker: str) -> Drain | None:
    """Return the mark that holds for a worker, by its identity; of several one that gives runs back."""
    names = _names_of(worker)
    return next((mark for mark in Drain.objects.order_by("-gives_back") if forms_of(mark.name) & names), None)


def draining_among(workers: Iterable[str]) -> list[str]:
    """Return those of these workers, by their identities, that a mark keeps from new runs."""
    marks = {form for name in Drain.objects.values_list("name", flat=True) for form in forms_of(name)}
    return [worker for worker in workers if marks & _names_of(worker)]


def drained_workers() -> list[Drained]:
    """Return each mark with what its workers still have at work."""
    marks = list(Drain.objects.order_by("name").values_list("name", flat=True))
    running = Attempt.objects.filter(state=Attempt.State.RUNNING).values_list("worker", flat=True) if marks else ()
    names = [_names_of(worker) for worker in running]
    return [Drained(mark, sum(bool(forms_of(mark) & one) for one in names)) for mark in marks]


def _names_of(worker: str) -> set[str]:
    name, host = worker.partition("@")[0], host_of(worker)
    return {worker, name, *([host, f"{name}@{host}"] if host else [])}
