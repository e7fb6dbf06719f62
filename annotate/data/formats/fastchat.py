"""Read FastChat's files: MT-bench's answers and pairwise judgements beside their questions, and the log of its arena.
Not written. Pure: no Django.

    {"question_id", "category", "turns", "model_id", "answer_id", "choices": [{"turns": […]}]}
    {"question_id", "category", "turns", "turn", "model_1", "model_2", "answer_1", "answer_2", "g1_winner", "g2_winner",
     "judge": ["gpt-4", "pair-v2"], "g1_judgment", "g2_judgment", "tstamp"}
    {"tstamp", "type": "leftvote" | "rightvote" | "tievote" | "bothbad_vote" | "upvote" | "downvote" | …, "states" |
     "state": {"model_name", "messages": [["USER", "…"], ["ASSISTANT", "…"]], "system_message", …}, "ip"}

FastChat keeps questions, answers and judgements of MT-bench in files of their own; `annotate.data.imports.mt_bench`
brings them together in such rows. A judgement is a model's, given twice with the sides swapped: two comparisons. Of the
log, votes and thumbs are read, each at the end of its conversation, and the voter's address is not taken.
"""

from __future__ import annotations

from typing import Any

from annotate.data.formats import fields, guessing, unjudged
from annotate.data.formats.common_prefix import parted
from annotate.data.formats.items import Item, Messages, NewAnswers, NewComparison, NewRating, Row

_VOTES = {"leftvote": "model_a", "rightvote": "model_b", "tievote": "tie", "bothbad_vote": "both_bad"}
_THUMBS = {"upvote": True, "downvote": False}
_ALONE = (
    "has no question: FastChat keeps questions in question.jsonl. Import the whole folder, such as "
    "data/mt_bench, by manage.py import_feedback."
)


def fits_mt_bench(row: Row) -> bool:
    return (isinstance(row.get("choices"), list) and "model_id" in row) or {"g1_winner", "g2_winner"} <= row.keys()


def read_mt_bench(row: Row, line: int) -> list[Item]:
    turns = row.get("turns")
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, str) for turn in turns):
        raise ValueError(_ALONE)
    if "g1_winner" in row:
        return _judgement(row, turns)
    return _answers(row, turns) if "choices" in row else unjudged.read_questions(row, line)


def _answers(row: Row, turns: list[str]) -> list[Item]:
    """Return the model's answer to each turn, of its first choice: the second is asked after its own first answer."""
    texts = _texts(first_choice(row), "choices")
    conversation = _conversation(row, turns, texts)
    ends = [place for place, turn in enumerate(conversation) if turn["role"] == "assistant"]
    common: Row = {"category": fields.optional(row, "category"), "source_id": fields.optional(row, "answer_id")}
    common["language"] = fields.language(row)
    return [
        NewAnswers(
            messages=conversation[:end], texts=(conversation[end]["content"],), models=(fields.text(row, "model_id"),),
            **common,
        )
        for end in ends
        if conversation[end]["content"].strip()
    ]  # fmt: skip


def first_choice(row: Row) -> Any:
    """Return what a row of answers has as the turns of its first choice; None where it has no such choice."""
    choices = row["choices"]
    is_one = isinstance(choices, list) and bool(choices) and isinstance(choices[0], dict)
    return choices[0].get("turns") if is_one else None


def _judgement(row: Row, turns: list[str]) -> list[Item]:
    if not ("answer_1" in row and "answer_2" in row):
        raise ValueError("has no answers: its models have none in model_answer/.")
    turn = fields.whole(row, "turn", 1, len(turns)) or 1
    first, second = (
        _conversation(row, turns[:turn], _texts(row[name], name)[:turn]) for name in ("answer_1", "answer_2")
    )
    models = fields.text(row, "model_1"), fields.text(row, "model_2")
    judge = row.get("judge")
    items: list[Item] = []
    games = (("g1", (first, second), models), ("g2", (second, first), models[::-1]))
    for game, sides, names in games[:1] if "m1_score" in row else games:  # two scores are one verdict
        won = row.get(f"{game}_winner")
        if won == "error":  # the judge gave no verdict
            continue
        if won not in ("model_1", "model_2", "tie"):
            raise ValueError(f"has the {game}_winner {won!r:.60}, but it must be model_1, model_2, tie or error.")
        name = models[0] if won == "model_1" else models[1]
        items.append(
            NewComparison(
                **vars(parted(*sides, ("answer_1", "answer_2"))),
                winner="tie" if won == "tie" else "model_a" if name == names[0] else "model_b",
                model_a=names[0],
                model_b=names[1],
                judge=" ".join(map(str, judge)) if isinstance(judge, list | tuple) else fields.optional(row, "judge"),
                comment=fields.optional(row, f"{game}_judgment")[:10_000],
                category=fields.optional(row, "category"),
                language=fields.language(row),
                created_at=fields.moment(row.get("tstamp")),
                source_id=f"{fields.optional(row, 'question_id')}-{turn}-{game}",
            )
        )
    return items


def _texts(value: Any, name: str) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
        raise ValueError(f"has {name} that are not one answer for each turn: {value!r:.60}.")
    return value


def _conversation(row: Row, turns: list[str], answers: list[str]) -> Messages:
    pairs = zip(turns, answers, strict=False)
    conversation = [turn for asked, said in pairs for turn in (*fields.question(asked), *fields.answer(said))]
    return guessing.after_system(row, conversation)


def fits_log(row: Row) -> bool:
    return "type" in row and "tstamp" in row and ("states" in row or "state" in row)


def read_log(row: Row, line: int) -> list[Item]:
    """Return the vote, or nothing for a line that is none."""
    kind, states = row["type"], row.get("states")
    if kind in _VOTES and isinstance(states, list) and len(states) == 2:
        first, second = (_logged(state) for state in states)
        if first[0] != second[0]:  # each model's template has its own: what was asked is the same
            first, second = ([turn for turn in side if turn["role"] != "system"] for side in (first, second))
        return [
            NewComparison(
                **vars(parted(first, second, ("the left state", "the right state"))), winner=_VOTES[kind],
                model_a=fields.optional(states[0], "model_name"), model_b=fields.optional(states[1], "model_name"),
                created_at=fields.moment(row["tstamp"]), source_id=fields.optional(states[0], "conv_id"),
                language=fields.optional(row, "language"),
            )
        ]  # fmt: skip
    if kind in _THUMBS and isinstance(row.get("state"), dict):
        conversation = _logged(row["state"])
        return [
            NewRating(
                messages=conversation[:-1], text=conversation[-1]["content"], thumbs=_THUMBS[kind],
                model=fields.optional(row["state"], "model_name") or fields.optional(row, "model"),
                created_at=fields.moment(row["tstamp"]), source_id=fields.optional(row["state"], "conv_id"),
            )
        ]  # fmt: skip
    return []


def _logged(state: Any) -> Messages:
    """Return the conversation of a state, without the examples before `offset`; it ends with the model's turn."""
    messages = state.get("messages") if isinstance(state, dict) else None
    if not isinstance(messages, list) or not all(isinstance(one, list) and len(one) == 2 for one in messages):
        raise ValueError('has a state without messages such as [["USER", "…"], ["ASSISTANT", "…"]].')
    roles = state.get("roles") or ["USER", "ASSISTANT"]
    turns: Messages = []
    for role, content in messages[int(state.get("offset") or 0) :]:
        if not isinstance(content, str):
            raise ValueError("has a turn with a picture, or without a text; only text can be imported.")
        turns.append({"role": "user" if role == roles[0] else "assistant", "content": content})
    if not turns or turns[-1]["role"] != "assistant":
        raise ValueError("has a conversation that does not end with the model's answer.")
    return guessing.after_system({"system": state.get("system_message") or ""}, turns)
