"""Ask each part that this process works with whether it answers: *ok*, or why not in a word."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.conf import settings
from django.db import connection
from redis import Redis

from annotate.core.artefacts import local_copies
from annotate.core.db.unapplied_migrations import unapplied_migrations

_OK = "ok"
_SECONDS = 2.0  # for what has a limit of its own


def database() -> str:
    """Return ok when it answers a query. Raise what it raises."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()
    return _OK


class Migrations:
    """Say whether the tables are at least as new as this code, once they are for good: none are taken back.

    An older process serves on beside newer tables, so that an upgrade stops nothing.
    """

    def __init__(self) -> None:
        self._are_applied = False

    def __call__(self) -> str:
        missing = 0 if self._are_applied else self._count()
        self._are_applied = not missing
        return f"{missing} not applied: manage.py migrate" if missing else _OK

    def _count(self) -> int:
        try:
            return len(unapplied_migrations())
        finally:
            connection.close()


def redis() -> str:
    """Return ok when Redis answers, or where the installation has none."""
    if settings.REDIS_URL:
        with Redis.from_url(settings.REDIS_URL, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS) as server:
            server.ping()
    return _OK


def storage() -> str:
    """Return ok when ASSAY_STORAGE answers, or where the installation has none."""
    if local_copies.is_on():
        local_copies.store().files.size_of("manifests")
    return _OK


# Without these no page can be shown. Without the others some things wait, and the rest goes on.
NEEDED: Mapping[str, Callable[[], str]] = {"database": database, "migrations": Migrations()}
PARTS: Mapping[str, Callable[[], str]] = {**NEEDED, "redis": redis, "storage": storage}
