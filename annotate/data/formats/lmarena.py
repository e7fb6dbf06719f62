"""Read and write LMArena's votes, in both shapes.

    {"model_a", "model_b", "winner", "conversation_a": [{role, content}…], "conversation_b", "judge", "turn", "anony",
     "language", "tstamp", "question_id", …}
    id, model_a, model_b, prompt, response_a, response_b, winner_model_a, winner_model_b, winner_tie     (55k, CSV)

Read are all spellings of both bad: "tie (bothbad)", "both_bad", "bothbad"; the first is written. A vote after several
turns is kept as one on the first answers, with what followed in each conversation beside it. Pure: no Django.
"""

from __future__ import annotations

import json

from annotate.data.formats import fields
from annotate.data.formats.common_prefix import parted, rejoined
from annotate.data.formats.items import Item, Messages, NewComparison, Row

_SPELLING = {"both_bad": "tie (bothbad)"}
_VOTES = ("winner_model_a", "winner_model_b", "winner_tie")


def fits(row: Row) -> bool:
    return row.get("conversation_a") is not None and row.get("conversation_b") is not None and "winner" in row


def read(row: Row) -> Item:
    first, second = (fields.conversation(row.get(name), name) for name in ("conversation_a", "conversation_b"))
    models = [fields.optional(row, name) for name in ("model_a", "model_b")]
    parted_turns = parted(first, second, ("conversation_a", "conversation_b"))
    return NewComparison(
        **vars(parted_turns),
        winner=fields.winner(row.get("winner"), "winner", *models),
        model_a=models[0],
        model_b=models[1],
        judge=fields.optional(row, "judge"),
        language=fields.optional(row, "language"),
        source_id=fields.optional(row, "question_id") or fields.optional(row, "id"),
        created_at=fields.moment(row.get("tstamp", row.get("timestamp"))),
    )


def write(item: Item) -> Row | None:
    if not isinstance(item, NewComparison):
        return None
    turns_a = rejoined(item.messages, item.a, item.later_a)
    row = {
        "question_id": item.source_id,
        "model_a": item.model_a,
        "model_b": item.model_b,
        "winner": _SPELLING.get(item.winner, item.winner),
        "conversation_a": turns_a,
        "conversation_b": rejoined(item.messages, item.b, item.later_b),
        "judge": item.judge,
        "turn": sum(turn["role"] == "user" for turn in turns_a),
        "language": item.language,
    }
    return row | ({"tstamp": item.created_at.timestamp()} if item.created_at else {})


def fits_55k(row: Row) -> bool:
    return {"prompt", "response_a", "response_b", *_VOTES} <= set(row)


def read_55k(row: Row) -> Item:
    first, second = (_conversation(row, name) for name in ("response_a", "response_b"))
    parted_turns = parted(first, second, ("response_a", "response_b"))
    return NewComparison(
        **vars(parted_turns),
        winner=_vote(row),
        model_a=fields.optional(row, "model_a"),
        model_b=fields.optional(row, "model_b"),
        source_id=fields.optional(row, "id"),
    )


def write_55k(item: Item) -> Row | None:
    """Return the row, both bad as a tie: the file has no other value for it."""
    if not isinstance(item, NewComparison):
        return None
    turns_a, turns_b = (rejoined(item.messages, *side) for side in ((item.a, item.later_a), (item.b, item.later_b)))
    winner = "tie" if item.winner == "both_bad" else item.winner
    return {
        "id": item.source_id,
        "model_a": item.model_a,
        "model_b": item.model_b,
        "prompt": _listed(turns_a, "user"),
        "response_a": _listed(turns_a, "assistant"),
        "response_b": _listed(turns_b, "assistant"),
        **{name: str(int(name == f"winner_{winner}")) for name in _VOTES},
    }


def _conversation(row: Row, name: str) -> Messages:
    prompts, answers = _texts(row, "prompt"), _texts(row, name)
    if len(prompts) != len(answers):
        raise ValueError(f"has {len(prompts)} prompts and {len(answers)} answers in {name}.")
    pairs = zip(prompts, answers, strict=True)
    return [turn for prompt, text in pairs for turn in (*fields.question(prompt), *fields.answer(text))]


def _texts(row: Row, name: str) -> list[str]:
    value = fields.parsed(row.get(name))
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list) or not value:
        raise ValueError(f"has no {name}; use a list of texts, one for each turn.")
    if not all(text is None or isinstance(text, str) for text in value):
        raise ValueError(f"has a {name} that is not a list of texts: {value!r:.60}.")
    return [text or "" for text in value]


def _vote(row: Row) -> str:
    names = [name for name in _VOTES if fields.truth(row, name)]
    if len(names) != 1:
        raise ValueError(f"needs exactly one of {', '.join(_VOTES)}.")
    return names[0].removeprefix("winner_")


def _listed(turns: Messages, role: str) -> str:
    """Return the turns as the 55k file has them: a JSON list in a cell."""
    return json.dumps([turn["content"] for turn in turns if turn["role"] == role], ensure_ascii=False)
