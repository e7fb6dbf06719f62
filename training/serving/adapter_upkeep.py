"""Keep what servers hold as the rows want it: the background worker's task, a few adapters at a time.

Loads what waits, unloads what is retired, follows a base that has moved, and finds out after a server's restart that it
has forgotten everything. Several background workers may run: a row is claimed before its server is asked.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.utils import timezone

from annotate.core.periodic_tasks import PeriodicTask
from annotate.models import LanguageModel, ServedAdapter
from training.serving import eviction, hot_loading, served_children
from training.serving.connection import LOAD_SECONDS, connected
from training.serving.dialects import detection, transformers_serve
from training.serving.dialects.exchange import Adapter, Loaded, NotLoaded, Send
from training.serving.served_names import adapter_of

log = logging.getLogger("assay.serving")
State = ServedAdapter.State
CHECK_SECONDS = 15.0  # between two looks at what the servers hold
TURN_SECONDS = 300.0  # so long at least those stay that compete for fewer places


def periodic_tasks() -> list[PeriodicTask]:
    return [
        PeriodicTask("adapters to be loaded", load_next, every=0.5),
        PeriodicTask("adapters to be unloaded", unload_retired, every=2.0),
        PeriodicTask("adapters that servers have forgotten", check_servers, every=CHECK_SECONDS),
        PeriodicTask("adapters that take turns", take_turns, every=TURN_SECONDS),
        PeriodicTask("children that no signal reached", enter_missing, every=CHECK_SECONDS),
    ]


def load_next() -> bool:
    """Load the adapter that has waited longest. Return whether another may be waiting."""
    row = _claimed()
    if row is None:
        return False
    if row.model.endpoint and row.model.endpoint != row.server_url:
        ServedAdapter.objects.filter(pk=row.pk).update(
            state=State.COLD, problem="The model has its own endpoint, which serves it."
        )
        return True
    assert row.base is not None
    eviction.make_room(row.base, for_row=row)
    refused = hot_loading.load(row)
    if refused is not None and refused.is_full:
        eviction.make_room(row.base, for_row=row, one_more=True)
        hot_loading.load(row)
    return True


def enter_missing() -> bool:
    """Enter children of earlier versions, and of a worker that ended before it could say so."""
    return served_children.enter_missing() > 0


def _claimed() -> ServedAdapter | None:
    """Return a row that is due, in this process's name until its time is over; None when nothing waits."""
    now = timezone.now()
    due = ServedAdapter.objects.filter(
        state__in=[State.WAITING, State.FAILED, State.LOADING],
        due_at__lte=now,
        model__retired_at=None,
        base__isnull=False,
    )
    for row in due.select_related("model", "base").order_by("due_at")[:5]:
        claim = ServedAdapter.objects.filter(pk=row.pk, state=row.state, due_at=row.due_at)
        if claim.update(state=State.LOADING, due_at=now + timedelta(seconds=3 * LOAD_SECONDS)):
            return row
    return None


def unload_retired() -> bool:
    """Unload what is retired, and have what was brought back wait again. Return False: all of it was done."""
    retired = ServedAdapter.objects.exclude(model__retired_at=None).exclude(state__in=[State.COLD, State.UNLOADED])
    for row in retired.select_related("model", "base"):
        hot_loading.unload(row, State.UNLOADED, "The model is retired.")
    for row in ServedAdapter.objects.filter(state=State.UNLOADED, model__retired_at=None):
        row.ask()
    return False


def take_turns() -> bool:
    """Have one child of each base loaded again that competes and made room for others, where the arena goes on."""
    bases = LanguageModel.objects.filter(served_children__state=State.EVICTED).distinct()
    for base in bases:
        if (row := eviction.whose_turn(base)) is not None:
            row.ask()
    return False


def check_servers() -> bool:
    """Have those loaded again that a server has forgotten, or whose base is asked elsewhere now."""
    rows = ServedAdapter.objects.filter(state=State.LOADED).select_related("model", "base").order_by("base", "pk")
    rows = rows.exclude(dialect=transformers_serve.NAME)  # it lets go what is idle, and loads it again when asked
    by_base: dict[int, list[ServedAdapter]] = {}
    for row in rows:
        by_base.setdefault(row.base_id or 0, []).append(row)
    for group in by_base.values():
        _check(group)
    return False


def _check(rows: list[ServedAdapter]) -> None:
    base = rows[0].base
    assert base is not None
    moved = [row for row in rows if row.server_url != base.server_url]
    for row in moved:
        hot_loading.unload(row, State.WAITING, "")
    staying = [row for row in rows if row not in moved]
    _copy_key(staying, base)
    if not staying:
        return
    try:
        with connected(base) as send:
            adapters = {row.pk: adapter_of(row.model, base, row.dialect) for row in staying}
            there = _present(send, staying, adapters)
    except NotLoaded as refused:
        log.info("The server of %s was not asked what it holds: %s (%s)", base, refused, refused.detail)
        return
    for row in staying:
        found = there.get(adapters[row.pk].name)
        if found is None:
            _load_again(row)
        elif base.endpoint and dict(found.request_fields) != row.model.request_fields:
            hot_loading.write_fields(row, found)


def _present(send: Send, rows: list[ServedAdapter], adapters: dict[int, Adapter]) -> dict[str, Loaded]:
    """Return those of a server's adapters that it holds: its list is asked for once."""
    there: dict[str, Loaded] = detection.module_of(rows[0].dialect).present(send, adapters.values())
    return there


def _load_again(row: ServedAdapter) -> None:
    log.warning("The server of %s no longer holds %s; loading it again.", row.base, row.model)
    ServedAdapter.objects.filter(pk=row.pk, state=State.LOADED).update(
        state=State.WAITING, due_at=timezone.now(), asked_at=timezone.now()
    )


def _copy_key(rows: list[ServedAdapter], base: LanguageModel) -> None:
    """Give the children the key that their base has now, sealed for the same address."""
    stale = [row.model_id for row in rows if base.endpoint and row.model.sealed_key != base.sealed_key]
    LanguageModel.objects.filter(pk__in=stale, endpoint=base.endpoint).update(sealed_key=base.sealed_key)
