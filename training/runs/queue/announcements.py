"""Wake the pages that show a run. With Redis at once; without it they look at the database by themselves."""

from __future__ import annotations

import logging

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings

log = logging.getLogger(__name__)


def group_of(run_id: int) -> str:
    return f"run-{run_id}"


def announce(run_id: int) -> None:
    if not settings.CHANNEL_LAYERS:
        return
    try:
        async_to_sync(get_channel_layer().group_send)(group_of(run_id), {"type": "run.changed"})
    except Exception as error:  # a page that is a second late is no reason to stop a run
        log.warning("Redis did not take the news of run %s: %s", run_id, error)
