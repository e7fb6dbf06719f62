"""Lock a project alone, or together with others who each take another entry of its queue.

On Postgres two locks make that possible: its own row, which whoever is alone has, and an advisory lock, which they have
alone and the others share. On SQLite every transaction is BEGIN IMMEDIATE, which is lock enough: nobody shares.

Whoever sends an item holds its assignment, and with a gold item their membership, while they wait for the project. So
that no two wait for each other, locks have one order:

1. Open assignments, by id, and the membership of one person, before the project: `lock_alone` with that person.
2. The project.
3. Prompts, then annotations by table (`forms.storage.TABLES`) and id, then assignments that are done.

Whoever has the project or a prompt does not wait for an open assignment: `AssignmentQuerySet.close_free` and `free`
pass over one that somebody else changes at the moment. Rows are locked FOR NO KEY UPDATE where others may add rows that
point at them: those check it when they commit.
"""

from __future__ import annotations

from django.db import connection

_PROJECT, _USER = 0x41535331 << 31, 0x41535332 << 31  # above any id: two numbers that nothing else here locks
# What `annotate.labelling.queue.locked_look` locks together with others, and undoes with `give_back`.
SAVEPOINT = "SAVEPOINT together"
SHARE = "SELECT pg_advisory_xact_lock_shared(%s), pg_advisory_xact_lock(%s)"

_OF_PERSON = (
    "SELECT id FROM annotate_assignment WHERE project_id = %s AND user_id = %s AND state = 'open' "
    "ORDER BY id FOR NO KEY UPDATE",
    "SELECT id FROM annotate_membership WHERE project_id = %s AND user_id = %s FOR NO KEY UPDATE",
)


def lock_alone(project_id: int, person_id: int | None = None) -> None:
    """Wait until nobody else has the project, alone or together, and keep it until the transaction ends. With a person,
    wait first until what they are sending there is stored."""
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        for rows in _OF_PERSON if person_id else ():
            cursor.execute(rows, [project_id, person_id])
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
