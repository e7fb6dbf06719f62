"""Choose which adapter makes room: those outside of every arena first, then the one used least recently."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db.models import Max, QuerySet

from annotate.models import Battle, Completion, Contestant, LanguageModel, ServedAdapter
from training.serving import hot_loading
from training.serving.dialects import llama_cpp
from training.serving.served_names import settings_of

State = ServedAdapter.State
_IN_MEMORY = (State.LOADED, State.LOADING)


def make_room(base: LanguageModel, *, for_row: ServedAdapter, one_more: bool = False) -> None:
    """Unload as many of the base's adapters as the limit of its server asks for, before another one is loaded.

    `one_more`: the server itself has said that it is full, whatever the limit here."""
    rows = loaded_rows(base).exclude(pk=for_row.pk)
    limit = settings_of(base).limit
    surplus = rows.count() + 1 - limit
    surplus = max(surplus, 1) if one_more else surplus
    for row in least_used(list(rows))[: max(surplus, 0)]:
        # Which one took it is not said: it may be another project's.
        reason = f"Another adapter was loaded instead: the server keeps {limit} adapters at a time."
        hot_loading.unload(row, State.EVICTED, reason)


def loaded_rows(base: LanguageModel) -> QuerySet[ServedAdapter]:
    """Return the base's adapters in memory; not llama.cpp's, which hold theirs from start to end."""
    rows = ServedAdapter.objects.filter(base=base, state__in=_IN_MEMORY).exclude(dialect=llama_cpp.NAME)
    return rows.select_related("model", "base")


def least_used(rows: Sequence[ServedAdapter]) -> list[ServedAdapter]:
    """Return the rows, the one to go first at the front. Answers, battles and loading count as use."""
    used, competing = last_used(rows), _competing(rows)
    return sorted(rows, key=lambda row: (row.model_id in competing, used[row.pk], row.pk))


def last_used(rows: Sequence[ServedAdapter]) -> dict[int, datetime]:
    """Return when each was used last, by the row's number: its newest answer or battle, else when it was loaded."""
    models = [row.model_id for row in rows]
    found: dict[int, datetime] = {}
    for objects, field in ((Completion.objects, "model"), (Battle.objects, "model_a"), (Battle.objects, "model_b")):
        newest = objects.filter(**{f"{field}__in": models}).order_by().values_list(field).annotate(Max("created_at"))
        for model, moment in newest:
            found[model] = max(moment, found.get(model, moment))
    return {
        row.pk: max(found.get(row.model_id, row.loaded_at or row.asked_at), row.loaded_at or row.asked_at)
        for row in rows
    }


def _competing(rows: Sequence[ServedAdapter]) -> set[int]:
    models = [row.model_id for row in rows]
    return set(Contestant.objects.filter(model__in=models, left_at=None).values_list("model", flat=True))


def whose_turn(base: LanguageModel) -> ServedAdapter | None:
    """Return the child that competes, made room longest ago, and whose arena went on since; None when none waits so.

    Else one that made room would have no more battles, and its rank would never be known."""
    rows = ServedAdapter.objects.filter(base=base, state=State.EVICTED, model__retired_at=None)
    evicted = list(rows.order_by("unloaded_at"))
    competing = _competing(evicted)
    waiting = [row for row in evicted if row.model_id in competing]
    loaded = list(loaded_rows(base))
    if not waiting or not loaded or waiting[0].unloaded_at is None:
        return None
    return waiting[0] if max(last_answers(loaded), default=waiting[0].unloaded_at) > waiting[0].unloaded_at else None


def last_answers(rows: Sequence[ServedAdapter]) -> list[datetime]:
    """Return when each was used last, of those that were used since they were loaded."""
    used = last_used(rows)
    return [used[row.pk] for row in rows if used[row.pk] != (row.loaded_at or row.asked_at)]


def failed_rows(base: LanguageModel) -> QuerySet[ServedAdapter]:
    return ServedAdapter.objects.filter(base=base, state=State.FAILED)
