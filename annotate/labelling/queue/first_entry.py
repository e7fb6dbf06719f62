"""Ask for the first entry of the queue: most of the time its prompt has an item for whoever asks.

On Postgres what is there of its prompt is asked for with it, in one trip. Which prompt that is, only the server knows
by then: the entry's statement notes it in a setting of the transaction, and those behind it read it there. Each of them
sees what was committed before the entry was locked.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

from django.db.models import (
    BigIntegerField,
    Count,
    F,
    Func,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    TextField,
    Value,
)
from django.db.models.expressions import RawSQL
from django.db.models.functions import Cast, Coalesce

from annotate.core.db.prepared import Asked, Prepared, Slot
from annotate.labelling.queue.assigned_items import COMPARE, WRITE
from annotate.labelling.queue.positions import leads_on
from annotate.models import Assignment, Completion, Project, QueueEntry, User
from annotate.models.queue import Levels

NOT_ALL = Q(served__lt=F("items"))
PLACE = ("item", "user_id", "state", "purpose", "is_review", "user__is_simulated")
_NOTED = "NULLIF(current_setting('assay.prompt', true), '')::bigint"


def level_column(user: User) -> str:
    return Levels.SIMULATED if user.is_simulated else Levels.PEOPLE


def question_of_first(project: Project, user: User, kind: str, languages: Sequence[str]) -> Asked:
    """Return the question for the first entry with something for this person, in one of these languages or in none."""
    return _asked_first(project, user, kind, languages, is_locking=False)


def questions_of_first(project: Project, user: User, kind: str, languages: Sequence[str]) -> list[Asked]:
    """Return what `choosing.choose_together` asks, on Postgres: for the first such entry that nobody has locked, which
    is then locked; and of its prompt for the places, for an id of a new assignment with the prompt's own, for the
    answers but where one is to be written, and for the leads between their models where two are compared."""
    questions = [_asked_first(project, user, kind, languages, is_locking=True), _noted_places.asked(kind=kind), _NEW_ID]
    if kind != WRITE:
        questions.append(_noted_answers.asked())
    if kind == COMPARE:
        questions.append(leads_on(project, user, _NOTED))
    return questions


def waiting(level: str, *, project: Any, user: Any, kind: Any, overlap: Any) -> QuerySet[QueueEntry]:
    """Return the entries with room, each with how much of it this person was `served`, the least annotated first."""
    own_assignments = Assignment.objects.filter(user=user, kind=kind, prompt=OuterRef("prompt"))
    served_counts = (
        own_assignments.exclude(purpose=Assignment.Purpose.REPEAT).order_by().values("prompt").annotate(n=Count("pk"))
    )
    served = Subquery(served_counts.values("n"), output_field=IntegerField())
    entries = QueueEntry.objects.filter(project=project, kind=kind, **{f"{level}__lt": overlap})
    return entries.select_related("prompt").annotate(served=Coalesce(served, 0)).order_by(level, "lot")


def in_languages(entries: QuerySet[QueueEntry], languages: Sequence[Any], size: int) -> QuerySet[QueueEntry]:
    """Return the first of the entries in one of these languages or in none.

    The index is read in the order of the queue for each language apart: however many entries of other languages come
    before, none is looked at. Each part is a query of its own within, as SQLite allows no limit in a union's.
    """
    firsts = [entries.filter(language=language).values("pk")[:size] for language in ("", *languages)]
    parts = [QueueEntry.objects.filter(pk__in=first).order_by().values("pk") for first in firsts]
    found = QueueEntry.objects.filter(pk__in=parts[0].union(*parts[1:], all=True))
    return found.select_related("prompt").order_by(*entries.query.order_by)[:size]


def _asked_first(project: Project, user: User, kind: str, languages: Sequence[str], is_locking: bool) -> Asked:
    slots = {"project": project.pk, "user": user.pk, "kind": kind, "overlap": project.overlap}
    named = {f"language_{n}": language for n, language in enumerate(languages)}
    return _first(level_column(user), len(languages), is_locking).asked(**slots, **named)


# What is asked at every annotation, put together once.
@cache
def _first(level: str, n_languages: int, is_locking: bool) -> Prepared:
    return Prepared(partial(_first_in, level, n_languages, is_locking))


def _first_in(level: str, n_languages: int, is_locking: bool) -> QuerySet[QueueEntry]:
    slots = {name: Slot(name) for name in ("project", "user", "kind", "overlap")}
    entries = waiting(level, **slots).filter(NOT_ALL)
    if is_locking:
        entries = entries.select_for_update(skip_locked=True, of=("self",), no_key=True)
    if n_languages:
        entries = in_languages(entries, [Slot(f"language_{n}") for n in range(n_languages)], 1)
    else:
        entries = entries[:1]
    return entries.annotate(noted=_noting()) if is_locking else entries


def _noting() -> Func:
    prompt = Cast("prompt_id", TextField())
    return Func(Value("assay.prompt"), prompt, Value(True), function="set_config", output_field=TextField())


def _answers(prompt: Any) -> QuerySet[Completion]:
    return Completion.objects.filter(prompt=prompt).order_by("id")


def _places(prompt: Any) -> QuerySet[Assignment, tuple]:
    return Assignment.objects.filter(prompt=prompt, kind=Slot("kind")).order_by().values_list(*PLACE)


def _noted_prompt() -> RawSQL:
    return RawSQL(_NOTED, [], BigIntegerField())


answers_to = Prepared(lambda: _answers(Slot("prompt")))
places_of = Prepared(lambda: _places(Slot("prompt")))
_noted_answers = Prepared(lambda: _answers(_noted_prompt()))
_noted_places = Prepared(lambda: _places(_noted_prompt()))
_NEW_ID = Asked(f"SELECT nextval(pg_get_serial_sequence('annotate_assignment', 'id')), {_NOTED}", [])
