"""Find the rows that stand already, hundreds at a time: prompts by their hash, completions by their text's, annotations
by name.

On Postgres each is looked up by itself: it has no statistics of rows that came a moment ago, takes a project for small
and would scan all of it. Names go there as one text: a parameter for each costs more than looking it up.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection, models

from annotate.models import Prompt

_AT_ONCE = 900  # values in one query: SQLite bounds its variables
_PROMPT = ("text_hash", "id", "messages", "category", "language", "side")
_COMPLETION = "id, prompt_id, named_model, model_id, text_hash"


def prompts(project: int, hashes: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return (hash, key, messages, category, language, side) of each prompt that stands."""
    if connection.vendor != "postgresql":
        rows = Prompt.objects.filter(project=project).order_by().values_list(*_PROMPT)
        return [row for some in _portions(hashes) for row in rows.filter(text_hash__in=some)]
    found = _rows(
        f"SELECT found.* FROM unnest(%s::text[]) AS wanted(hash), LATERAL (SELECT {', '.join(_PROMPT)} "
        "FROM annotate_prompt WHERE project_id = %s AND text_hash = wanted.hash OFFSET 0) AS found",
        [_array(hashes), project],
    )
    return [(name, pk, json.loads(messages), *more) for name, pk, messages, *more in found]


def completions(pairs: Sequence[tuple[int, str]], source: str) -> list[tuple[Any, ...]]:
    """Return (key, prompt, named model, model, hash) of the source's completions, by prompt and hash, oldest first."""
    if not pairs:
        return []
    if connection.vendor == "postgresql":
        return _rows(
            "SELECT found.* FROM unnest(%s::bigint[], %s::text[]) AS wanted(prompt, hash), "
            f"LATERAL (SELECT {_COMPLETION} FROM annotate_completion "
            "WHERE prompt_id = prompt AND text_hash = hash AND source = %s OFFSET 0) AS found ORDER BY id",
            [_array(str(prompt) for prompt, _ in pairs), _array(hash for _, hash in pairs), source],
        )
    rows: list[tuple[Any, ...]] = []
    for some in _portions(pairs, _AT_ONCE // 2):
        values = ", ".join(["(%s, %s)"] * len(some))
        condition = f"(prompt_id, text_hash) IN (VALUES {values}) AND source = %s"
        parameters = [*(value for pair in some for value in pair), source]
        rows += _rows(f"SELECT {_COMPLETION} FROM annotate_completion WHERE {condition} ORDER BY id", parameters)
    return rows


def annotations_named(table: type[models.Model], names: Sequence[str]) -> set[str]:
    """Return those of the names that annotations have."""
    if not names:
        return set()
    if connection.vendor != "postgresql":
        rows = table._default_manager.order_by().values_list("idempotency_key", flat=True)
        return {name for some in _portions(names) for name in rows.filter(idempotency_key__in=some)}
    found = _rows(
        "SELECT found.* FROM unnest(%s::text[]) AS wanted(name), LATERAL (SELECT idempotency_key "
        f'FROM "{table._meta.db_table}" WHERE idempotency_key = wanted.name OFFSET 0) AS found',
        [_array(names)],
    )
    return {name for (name,) in found}


def _rows(statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()


def _array(values: Iterable[str]) -> str:
    """Return the text of an array of hashes, numbers or names of ours, which have no sign that is to be quoted."""
    return "{" + ",".join(values) + "}"


def _portions(values: Sequence[Any], size: int = _AT_ONCE) -> Iterable[Sequence[Any]]:
    return (values[start : start + size] for start in range(0, len(values), size))
