"""Load one adapter at its base's server, or take one out: the server first, then the rows.

A loaded child of a base with an endpoint has that endpoint, the key (sealed for the same address) and a name of its own
there; when it is taken out, its row has none of them again, so that nobody asks for what is not there and bulk sampling
reads the weights instead.
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from annotate.models import LanguageModel, ServedAdapter
from training.serving.connection import connected
from training.serving.dialects import detection, vllm
from training.serving.dialects.exchange import Adapter, Loaded, NotLoaded
from training.serving.served_names import adapter_of

log = logging.getLogger("assay.serving")
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0  # seconds until a failed one is tried again
State = ServedAdapter.State


def load(row: ServedAdapter) -> NotLoaded | None:
    """Load a child that this process has claimed, and write what came of it; return a server's refusal."""
    assert row.base is not None, "what has no base is never waiting"
    began = time.monotonic()
    try:
        with connected(row.base) as send:
            dialect = detection.dialect_of(send)
            adapter = adapter_of(row.model, row.base, dialect)
            loaded: Loaded | None = detection.module_of(dialect).load(send, adapter)
    except NotLoaded as refused:
        _write_failed(row, refused)
        return refused
    _write_loaded(row, dialect, adapter, loaded, time.monotonic() - began)
    return None


@transaction.atomic
def _write_loaded(row: ServedAdapter, dialect: str, adapter: Adapter, loaded: Loaded | None, seconds: float) -> None:
    row = ServedAdapter.objects.select_for_update(of=("self",)).select_related("model", "base").get(pk=row.pk)
    assert row.base is not None
    if row.state != State.LOADED or row.loaded_at is None:  # else it was only looked up again
        row.loaded_at = None if loaded is None else timezone.now()
        row.load_seconds = None if loaded is None else seconds
        log.info("%s is served at its base's server (%s, %.1f s).", row.model, dialect, seconds)
    row.state = State.ON_DEMAND if loaded is None else State.LOADED
    row.server_url, row.dialect, row.problem, row.tries = row.base.server_url, dialect, "", 0
    row.save()
    _write_requests(row, adapter.name, loaded or Loaded())


@transaction.atomic
def write_fields(row: ServedAdapter, loaded: Loaded) -> None:
    """Write how requests pick an adapter, where its server says it otherwise than when it was loaded: llama.cpp numbers
    its adapters anew at each start."""
    row = ServedAdapter.objects.select_for_update(of=("self",)).select_related("model", "base").get(pk=row.pk)
    if row.state == State.LOADED:
        _write_requests(row, row.model.served_name, loaded)


def _write_requests(row: ServedAdapter, name: str, loaded: Loaded) -> None:
    assert row.base is not None
    if row.base.endpoint:
        point_at(row.model, row.base, name, dict(loaded.request_fields))
        row.base.request_fields = dict(loaded.base_fields)
        row.base.save(update_fields=["request_fields"])


def point_at(model: LanguageModel, base: LanguageModel, name: str, request_fields: dict[str, Any]) -> None:
    """Have the model asked where its base is, by its own name there."""
    model.endpoint, model.sealed_key = base.endpoint, base.sealed_key
    model.served_name, model.request_fields = name, request_fields
    model.concurrency = base.concurrency
    model.save(update_fields=["endpoint", "sealed_key", "served_name", "request_fields", "concurrency"])


def _write_failed(row: ServedAdapter, refused: NotLoaded) -> None:
    """Note why, and when it is tried again: after a pause that doubles."""
    pause = min(FIRST_PAUSE * 2 ** min(row.tries, 10), LONGEST_PAUSE)
    log.warning("%s was not loaded: %s (%s)", row.model, refused, refused.detail)
    ServedAdapter.objects.filter(pk=row.pk).update(
        state=State.FAILED,
        problem=str(refused)[:1000],
        tries=min(row.tries + 1, 1000),
        due_at=timezone.now() + timedelta(seconds=pause),
    )


def unload(row: ServedAdapter, state: State, reason: str) -> None:
    """Take a child out of its server's memory, and have nobody ask for it there any more.

    The rows first, so that no battle draws it meanwhile. A server that cannot be reached has forgotten it, or does when
    it is started again: that is logged and no error."""
    assert row.base is not None
    adapter, dialect = _as_loaded(row), row.dialect or vllm.NAME
    _write_unloaded(row, state, reason)
    try:
        with connected(row.base) as send:
            detection.module_of(dialect).unload(send, adapter)
    except NotLoaded as refused:
        log.warning("%s may still be in its server's memory: %s (%s)", row.model, refused, refused.detail)


def _as_loaded(row: ServedAdapter) -> Adapter:
    assert row.base is not None
    return adapter_of(row.model, row.base, row.dialect)


@transaction.atomic
def _write_unloaded(row: ServedAdapter, state: State, reason: str) -> None:
    ServedAdapter.objects.filter(pk=row.pk).update(
        state=state, problem=reason, unloaded_at=timezone.now(), due_at=timezone.now()
    )
    model = LanguageModel.objects.select_for_update().get(pk=row.model_id)
    if model.endpoint and model.endpoint == row.server_url:  # not what somebody has given it since
        model.endpoint = model.sealed_key = model.served_name = ""
        model.request_fields = {}
        model.save(update_fields=["endpoint", "sealed_key", "served_name", "request_fields"])
