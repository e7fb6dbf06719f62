"""Keep in the database which workers and background workers live, for whoever watches the installation.

Runs do not depend on it: they have leases. A worker without a run has nothing else that shows it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db import Error, connection

from annotate.core.db.connections import database_now
from annotate.core.metrics.readings import Reading
from annotate.core.periodic_tasks import PeriodicTask
from annotate.models import ProcessHeartbeat

EVERY_SECONDS = 10.0
ALIVE_SECONDS = 45.0  # after its last beat
_KEPT = timedelta(days=1)
_END_SECONDS = 5.0
log = logging.getLogger("assay.heartbeat")


class Heartbeat:
    """Say for one process that it lives. A database that is away stops nobody: it is said again later."""

    def __init__(self, name: str, kind: str) -> None:
        self._name, self._kind = name[:120], kind
        self._due_at = 0.0
        self._is_written = False

    def beat(self) -> None:
        """Say that this process lives, if it has not said so just now."""
        if time.monotonic() < self._due_at:
            return
        self._due_at = time.monotonic() + EVERY_SECONDS
        try:
            self._write()
        except Error as error:
            log.warning("The database does not take that %s lives: %s", self._name, error)

    def stop(self) -> None:
        """Take the process away, as it ends in good order."""
        try:
            if self._is_written:
                ProcessHeartbeat.objects.filter(name=self._name).delete()
        except Error as error:
            log.warning("The database does not take that %s ends: %s", self._name, error)
        self._due_at, self._is_written = 0.0, False

    def _write(self) -> None:
        now = database_now()
        fields = {"kind": self._kind, "beat_at": now}
        if not self._is_written or not ProcessHeartbeat.objects.filter(name=self._name).update(**fields):
            ProcessHeartbeat.objects.update_or_create(name=self._name, defaults=fields)
        if not self._is_written:
            ProcessHeartbeat.objects.filter(beat_at__lt=now - _KEPT).delete()
        self._is_written = True


@contextmanager
def beating(name: str, kind: str) -> Iterator[None]:
    """Say that this process lives for as long as the block lasts, from a thread of its own."""
    ending, heartbeat = threading.Event(), Heartbeat(name, kind)

    def beat() -> None:
        while not ending.is_set():
            heartbeat.beat()
            connection.close()
            ending.wait(EVERY_SECONDS)
        heartbeat.stop()
        connection.close()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(_END_SECONDS)  # a database that hangs holds up no end: what is silent counts as gone


def alive(kind: str) -> list[str]:
    """Return the names of the processes of a kind that live."""
    since = database_now() - timedelta(seconds=ALIVE_SECONDS)
    return list(ProcessHeartbeat.objects.filter(kind=kind, beat_at__gte=since).values_list("name", flat=True))


def background_readings() -> Iterator[Reading]:
    """Yield how many background workers live."""
    count = len(alive(ProcessHeartbeat.Kind.BACKGROUND))
    yield Reading("assay_background_workers", "Background workers that live.", (), {(): count})


def periodic_task() -> PeriodicTask:
    """Return the task by which a background worker shows that it gets on with its tasks."""
    name = f"background@{os.uname().nodename[:80]}:{os.getpid()}"
    heartbeat = Heartbeat(name, ProcessHeartbeat.Kind.BACKGROUND)

    def do() -> bool:
        heartbeat.beat()
        return False

    return PeriodicTask("heartbeat", do, every=EVERY_SECONDS, end=heartbeat.stop)
