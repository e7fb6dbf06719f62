"""Lock a project alone, or together with others who each take another entry of its queue.

On Postgres two locks make that possible: its own row, which whoever is alone has, and an advisory lock, which they have
alone and the others share. On SQLite every transaction is BEGIN IMMEDIATE, which is lock enough: nobody shares.
"""

from __future__ import annotations

from django.db import connection

_PROJECT, _USER = 0x41535331 << 31, 0x41535332 << 31  # above any id: two numbers that nothing else here locks
# What `annotate.labelling.queue.locked_look` locks together with others, and undoes with `give_back`.
SAVEPOINT = "SAVEPOINT together"
SHARE = "SELECT pg_advisory_xact_lock_shared(%s), pg_advisory_xact_lock(%s)"


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


def shared_keys(project_id: int, user_id: int) -> list[int]:
    """Return what `SHARE` locks: the project together with others, and its user alone."""
    return [_PROJECT + project_id, _USER + user_id]


def give_back() -> None:
    """Undo what was done since the savepoint, and let others have the project alone."""
    with connection.cursor() as cursor:
        cursor.execute("ROLLBACK TO SAVEPOINT together")


def can_lock_together() -> bool:
    return connection.vendor == "postgresql"
