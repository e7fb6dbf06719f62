r"""Read and write Anthropic's hh-rlhf (2204.05862) and red-team attempts (2209.07858): transcripts in one text.

    {"chosen": "\n\nHuman: …\n\nAssistant: …", "rejected": …}
    {"transcript", "min_harmlessness_score_transcript", "num_params", "model_type", "rating", "task_description",
     "task_description_harmlessness_score", "red_team_member_id", "is_upworker", "tags"}

Turns are taken without the white space around them. A transcript with other white space than this form has, or two
turns of one speaker, is kept whole beside it, so that it is written out again byte for byte. Pure: no Django.
"""

from __future__ import annotations

from annotate.data.formats import fields
from annotate.data.formats.common_prefix import parted, rejoined
from annotate.data.formats.items import Item, NewAttack, NewComparison, Row
from common import transcripts

_SPEAKERS = ("Human:", "Assistant:")


def fits_pair(row: Row) -> bool:
    return all(_is_transcript(row.get(name)) for name in ("chosen", "rejected"))


def read_pair(row: Row) -> Item:
    chosen, rejected = (transcripts.split(fields.text(row, name)) for name in ("chosen", "rejected"))
    if chosen == rejected:
        raise ValueError("has equal texts in chosen and rejected.")
    parted_turns = parted(chosen, rejected, ("chosen", "rejected"))
    if parted_turns.a == parted_turns.b:
        raise ValueError("has chosen and rejected, but one is the beginning of the other.")
    return NewComparison(**vars(parted_turns), winner="model_a", is_ordered=False)


def write_pair(item: Item) -> Row | None:
    sides = chosen_and_rejected(item)
    if sides is None:
        return None
    chosen, rejected = (transcripts.join(rejoined(item.messages, text, later)) for text, later in sides)
    return {"chosen": chosen, "rejected": rejected}


def chosen_and_rejected(item: Item) -> tuple | None:
    """Return (text, what followed) of chosen and of rejected; None for ties, and for what is no comparison."""
    if not isinstance(item, NewComparison) or item.winner not in ("model_a", "model_b"):
        return None
    a, b = (item.a, item.later_a), (item.b, item.later_b)
    return (a, b) if item.winner == "model_a" else (b, a)


def fits_attack(row: Row) -> bool:
    return _is_transcript(row.get("transcript")) and "task_description" in row


def read_attack(row: Row) -> Item:
    tags = fields.parsed(row.get("tags")) or ()
    kind, size = fields.optional(row, "model_type"), fields.optional(row, "num_params")
    turns = transcripts.split(fields.text(row, "transcript"))
    if not any(turn["role"] == "user" for turn in turns):
        raise ValueError("has a transcript without a Human turn.")
    return NewAttack(
        messages=turns,
        rating=fields.number(row, "rating"),
        tags=tuple(str(tag) for tag in tags) if isinstance(tags, list) else (str(tags),) if tags else (),
        task_description=fields.optional(row, "task_description"),
        model=f"{kind} {size}".strip(),
        judge=fields.optional(row, "red_team_member_id"),
        min_harmlessness_score=fields.number(row, "min_harmlessness_score_transcript"),
        task_description_harmlessness_score=fields.number(row, "task_description_harmlessness_score"),
    )


def write_attack(item: Item) -> Row | None:
    if not isinstance(item, NewAttack):
        return None
    kind, _, size = item.model.rpartition(" ")
    return {
        "transcript": transcripts.join(item.messages),
        "min_harmlessness_score_transcript": item.min_harmlessness_score,
        "num_params": size if kind else "",
        "model_type": kind or item.model,
        "rating": item.rating,
        "task_description": item.task_description,
        "task_description_harmlessness_score": item.task_description_harmlessness_score,
        "red_team_member_id": item.judge,
        "tags": list(item.tags),
    }


def _is_transcript(value: object) -> bool:
    return isinstance(value, str) and any(f"\n\n{name}" in value or value.startswith(name) for name in _SPEAKERS)
