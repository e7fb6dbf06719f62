"""Check the foreign keys of many new rows at once, where Postgres would check each by itself.

Its check of one key is a query and a lock, nine of them for an imported comparison with its answers and prompt: half of
what the server does in an import. Here one query checks and locks all keys of a table, as Postgres' own does, and
Postgres is told to leave them out. A role may do so that is a superuser, or has been allowed to (`GRANT SET ON
PARAMETER session_replication_role`); without it, and where somebody has added triggers, Postgres checks each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from typing import Any

from django.db import IntegrityError, connection, models

_Model = type[models.Model]
_FEW = 50  # rows below which Postgres checks each key by itself


class KeyChecks:
    """Check keys of rows that are about to be inserted. What was checked, or is new, stays known until `begin`."""

    def __init__(self) -> None:
        self._sound: dict[_Model, set[int]] = defaultdict(set)

    def begin(self) -> None:
        """Forget what is known: a transaction, or a part that can be undone, begins, and locks last no longer."""
        self._sound.clear()

    def note_new(self, model: _Model, keys: Sequence[int]) -> None:
        """Note rows that this transaction has written: nobody else sees them, so nobody can delete them."""
        self._sound[model].update(keys)

    @contextmanager
    def checked(
        self, model: _Model, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], constants: Mapping[str, Any]
    ) -> Iterator[None]:
        """Insert rows inside; raises IntegrityError where a key of theirs points at nothing."""
        if len(rows) < _FEW or not self._is_allowed:
            yield
            return
        for target, keys in _targets(model, columns, rows, constants).items():
            self._check(model, target, keys)
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            yield  # after an error the transaction is undone, and this with it
            cursor.execute("SET LOCAL session_replication_role = origin")

    def _check(self, model: _Model, target: _Model, keys: set[int]) -> None:
        if unknown := keys - self._sound[target]:
            with connection.cursor() as cursor:
                locked = f'SELECT id FROM "{target._meta.db_table}" WHERE id = ANY(%s::bigint[]) FOR KEY SHARE'
                as_text = ",".join(map(str, sorted(unknown)))  # in one text, as in imports.look_ups
                cursor.execute(f"SELECT string_agg(id::text, ',') FROM ({locked}) AS locked", [f"{{{as_text}}}"])
                present = cursor.fetchone()[0] or ""
            if missing := unknown.difference(map(int, present.split(",") if present else ())):
                raise IntegrityError(
                    f"{len(missing)} keys of {model.__name__} point at no {target.__name__}: {sorted(missing)[:5]}."
                )
            self._sound[target] |= unknown

    @cached_property
    def _is_allowed(self) -> bool:
        if connection.vendor != "postgresql":
            return False
        with connection.cursor() as cursor:
            has_right = "current_setting('is_superuser') = 'on'"
            if connection.connection.info.server_version >= 150_000:
                has_right = "has_parameter_privilege('session_replication_role', 'SET')"
            cursor.execute(f"SELECT {has_right} AND NOT EXISTS (SELECT FROM pg_trigger WHERE NOT tgisinternal)")
            return bool(cursor.fetchone()[0])


def _targets(
    model: _Model, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], constants: Mapping[str, Any]
) -> dict[_Model, set[int]]:
    """Return the keys that the rows point at, by the model that they point at."""
    targets: dict[_Model, set[int]] = defaultdict(set)
    for column, target in _foreign_keys(model).items():
        if column in constants:
            targets[target].add(constants[column])
        elif column in columns:
            index = columns.index(column)
            targets[target].update(row[index] for row in rows)
    for keys in targets.values():
        keys.discard(None)  # type: ignore[arg-type]
    return targets


@cache
def _foreign_keys(model: _Model) -> dict[str, Any]:
    return {str(field.column): field.related_model for field in model._meta.concrete_fields if field.is_relation}
