"""PandaLM's test set (2306.05087): `instruction, input, response1, response2` and what each of several people said,
`annotator1, annotator2, …`: 1, 2 or, for a tie, 0. `cmp_key` names the two models.

A row is one comparison for each of its people, who are called as their columns. Pure: no Django.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from annotate.data.formats import fields
from annotate.data.formats.common_prefix import text_of
from annotate.data.formats.items import Item, NewComparison, Row

NAME = "pandalm"
_PERSON = re.compile(r"annotator\d+")
_WINNER = {0: "tie", 1: "model_a", 2: "model_b"}
_NUMBER = {"tie": 0, "both_bad": 0, "model_a": 1, "model_b": 2}


def fits(row: Row) -> bool:
    return {"instruction", "response1", "response2"} <= set(row) and bool(_people(row))


def read(row: Row, line: int) -> list[Item]:
    people = [name for name in _people(row) if fields.number(row, name) is not None]
    if not people:
        raise ValueError("has no annotation (annotator1, annotator2, …).")
    instruction, optional = fields.as_text(row, "instruction"), fields.optional(row, "input")
    models = fields.optional(row, "cmp_key").split("_")
    model_a, model_b = models if len(models) == 2 else ("", "")
    used_columns = {"instruction", "response1", "response2", *people}
    extra = {name: value for name, value in row.items() if name not in used_columns}
    extra |= {name: row[name] for name in ("response1", "response2") if not isinstance(row[name], str)}
    items: list[Item] = []
    for name in people:
        preference = fields.whole(row, name, 0, 2)
        assert preference is not None
        item = NewComparison(
            messages=fields.question(f"{instruction}\n\n{optional}" if optional else instruction),
            a=fields.as_text(row, "response1"), b=fields.as_text(row, "response2"),
            winner=_WINNER[preference], model_a=model_a, model_b=model_b, judge=name,
            source_id=fields.optional(row, "idx"), format=NAME, extra=extra,
        )  # fmt: skip
        items.append(item)
    return items


def write(items: Sequence[Item]) -> list[Row]:
    """Return a row for all that was said of one pair, each person in a column: annotator1 unless they have such a
    name."""
    rows: dict[tuple, Row] = {}
    for item in items:
        if not isinstance(item, NewComparison):
            continue
        extra = item.extra if item.format == NAME else {}
        text = text_of(item.messages)
        key = (text, item.a, item.b, item.source_id, item.model_a, item.model_b)
        row = rows.setdefault(key, _begin_row(item, text, extra))
        row[_column(item.judge, row)] = _NUMBER[item.winner]
    return list(rows.values())


def _begin_row(item: NewComparison, text: str, extra: Row) -> Row:
    input_text = extra.get("input") or ""
    instruction = text.removesuffix(f"\n\n{input_text}") if input_text else text
    row = {"idx": item.source_id, "cmp_key": "_".join(filter(None, (item.model_a, item.model_b)))}
    defaults = {} if extra else row | {"input": ""}
    texts = {"instruction": instruction, "response1": item.a, "response2": item.b}
    return defaults | texts | extra


def _column(judge: str, row: Row) -> str:
    if _PERSON.fullmatch(judge) and judge not in row:
        return judge
    return next(f"annotator{n}" for n in range(1, len(row) + 2) if f"annotator{n}" not in row)


def _people(row: Row) -> list[str]:
    return sorted((name for name in row if _PERSON.fullmatch(name)), key=lambda name: int(name[9:]))
