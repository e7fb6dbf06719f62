"""Lock a project alone, or together with others who each take another entry of its queue.

On Postgres two locks make that possible: its own row, which whoever is alone has, and an advisory lock, which they have
alone and the others share. On SQLite every transaction is BEGIN IMMEDIATE, which is lock enough: nobody shares.
"""

from __future__ import annotations

from typing import Any

from django.db import connection

_PROJECT, _USER = 0x41535331 << 31, 0x41535332 << 31  # above any id: two numbers that nothing else here locks
_TOGETHER = "SAVEPOINT together; SELECT pg_advisory_xact_lock_shared(%(_project)s), pg_advisory_xact_lock(%(_user)s); "


def lock_alone(project_id: int) -> None:
    """Wait until nobody else has the project, alone or together, and keep it until the transaction ends."""
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        # One statement: the row first. Its FOR NO KEY UPDATE leaves others free to add rows that point at the project.
        cursor.execute(
            "SELECT pg_advisory_xact_lock(%s) FROM annotate_project WHERE id = %s FOR NO KEY UPDATE",
            [_PROJECT + project_id, project_id],
        )


def lock_together(project_id: int, user_id: int, query: str = "SELECT 1", **values: Any) -> tuple[Any, ...] | None:
    """Wait until nobody has the project alone, and no other transaction hands out to this user. Return the first row of
    `query`, which sees what they have committed.

    Whoever wants the project alone afterwards must call `give_back` first: two who waited for each other would wait for
    ever. All in one trip to the database; it runs with each annotation.
    """
    values |= {"_project": _PROJECT + project_id, "_user": _USER + user_id}
    with connection.cursor() as cursor:
        cursor.execute(_TOGETHER + query, values)
        cursor.nextset(), cursor.nextset()
        return cursor.fetchone()


def give_back() -> None:
    """Undo what was done since `lock_together`, and let others have the project alone."""
    with connection.cursor() as cursor:
        cursor.execute("ROLLBACK TO SAVEPOINT together")


def can_lock_together() -> bool:
    return connection.vendor == "postgresql"
