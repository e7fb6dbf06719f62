"""Tell statements that may wait for what others have locked."""

from __future__ import annotations

_LOCKING = ("FOR UPDATE", "FOR NO KEY UPDATE", "pg_advisory_xact_lock")


def waits_for_locks(sql: str) -> bool:
    return "SKIP LOCKED" not in sql and any(word in sql for word in _LOCKING)
