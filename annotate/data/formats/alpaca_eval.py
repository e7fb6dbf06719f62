"""alpaca_eval's annotations: `instruction, output_1, generator_1, output_2, generator_2, annotator, preference`.

A preference is 1, 2 or, for a tie, 1.5 or 0; between them it is 1 + the probability that the second is better, and
between 0 and 1 that probability itself. The number is kept where it is none of the first three. Pure: no Django.
"""

from __future__ import annotations

from annotate.data.formats import fields
from annotate.data.formats.common_prefix import prompt_of, text_of
from annotate.data.formats.items import Item, NewComparison, Row

_NUMBER = {"model_a": 1.0, "model_b": 2.0, "tie": 1.5, "both_bad": 1.5}


def fits(row: Row) -> bool:
    return {"instruction", "output_1", "output_2", "preference"} <= set(row)


def read(row: Row) -> Item:
    return NewComparison(
        messages=prompt_of(fields.as_text(row, "instruction")),
        a=fields.as_text(row, "output_1"),
        b=fields.as_text(row, "output_2"),
        winner=winner(fields.number(row, "preference")),
        model_a=fields.optional(row, "generator_1"),
        model_b=fields.optional(row, "generator_2"),
        judge=fields.optional(row, "annotator"),
        category=fields.optional(row, "dataset"),
    )


def winner(preference: float | None) -> str:
    if preference is None:
        raise ValueError("has no preference.")
    if not 0 <= preference <= 2:
        raise ValueError(f"has the preference {preference:g}; use 1, 2, 1.5 or a number between 0 and 2.")
    if preference in (0, 0.5, 1.5):
        return "tie"
    if preference < 1:
        return "model_b" if preference > 0.5 else "model_a"
    return "model_b" if preference > 1.5 else "model_a"


def write(item: Item) -> Row | None:
    if not isinstance(item, NewComparison):
        return None
    return {
        "instruction": text_of(item.messages),
        "output_1": item.a,
        "generator_1": item.model_a,
        "output_2": item.b,
        "generator_2": item.model_b,
        "dataset": item.category,
        "annotator": item.judge,
        "preference": _NUMBER[item.winner],
    }
