"""Open-Assistant's message trees (2304.07327): {"message_tree_id", "tree_state", "prompt": {"message_id", "text",
"role": "prompter" | "assistant", "lang", "rank", "labels": {name: {"value", "count"}}, "replies": […], …}}.

Of each question in a tree:

- sibling answers with a `rank` are a ranking (0 is best); the labels of an answer are a rating: what goes from 0 to 1
  by degrees (quality, helpfulness, toxicity, …) is an aspect from 1 to 5; what is there or not (spam, pii, …) a flag
- an answer that reviewers let pass and that stands in no ranking is a written answer
- a question that nobody answered is a prompt

Deleted messages and answers to them are passed over. What else a message has is kept. Pure: no Django.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from annotate.data.formats import fields
from annotate.data.formats.items import (
    Item,
    Messages,
    NewComparison,
    NewDemonstration,
    NewFlag,
    NewPrompt,
    NewRanking,
    NewRating,
    Row,
)

NAME = "open-assistant"
_DEGREES = (
    "quality", "toxicity", "humor", "helpfulness", "creativity", "violence", "fails_task_degree", "politeness",
)  # fmt: skip
_FLAGS = (
    "spam", "lang_mismatch", "pii", "not_appropriate", "hate_speech", "sexual_content", "fails_task",
    "moral_judgement", "political_content", "misleading",
)  # fmt: skip
_READ = ("text", "role", "replies", "rank", "lang", "labels", "model_name", "created_date")
_MOST = 5000  # messages: a tree deeper than this is no conversation


@dataclass(frozen=True)
class _Node:
    """A message, and the conversation before it."""

    message: Row
    before: Messages

    @property
    def messages(self) -> Messages:
        role = "user" if self.message.get("role") == "prompter" else "assistant"
        return [*self.before, {"role": role, "content": self.message["text"]}]


def fits(row: Row) -> bool:
    prompt = fields.parsed(row.get("prompt"))
    return "message_tree_id" in row and isinstance(prompt, dict) and "text" in prompt


def read(row: Row, line: int) -> list[Item]:
    prompt = fields.parsed(row.get("prompt"))
    if not isinstance(prompt, dict):
        raise ValueError("has no prompt, so it is not a tree of Open-Assistant.")
    system = [{"role": "system", "content": prompt["system"]}] if isinstance(prompt.get("system"), str) else []
    tree = {name: value for name, value in row.items() if name != "prompt"}
    items = [item for node in _questions(_Node(prompt, system)) for item in _question(node, tree)]
    if not items:
        raise ValueError("has a tree without a question: it is deleted, or there are only answers.")
    return items


def _questions(root: _Node) -> Iterator[_Node]:
    """Yield every question that was not deleted, with the conversation before it; no recursion, for trees of any
    depth."""
    waiting, count = [root], 0
    while waiting:
        node = waiting.pop()
        count += 1
        if count > _MOST:
            raise ValueError(f"has a tree of more than {_MOST:,} messages.")
        if not isinstance(node.message.get("text"), str):
            raise ValueError(f"has a message without a text: {node.message.get('message_id')!r:.60}.")
        if node.message.get("deleted"):
            continue
        if node.message.get("role") == "prompter":
            yield node
        waiting += [_Node(reply, node.messages) for reply in reversed(_replies(node.message))]


def _replies(message: Row) -> list[Row]:
    parsed = fields.parsed(message.get("replies")) or []
    if not isinstance(parsed, list) or not all(isinstance(reply, dict) for reply in parsed):
        raise ValueError(f"has replies that are not messages: {parsed!r:.60}.")
    return parsed


def _question(node: _Node, tree: Row) -> Iterator[Item]:
    common: Row = {
        "messages": node.messages, "language": fields.optional(node.message, "lang"), "format": NAME,
        "source_id": fields.optional(node.message, "message_id"),
    }  # fmt: skip
    about = {"tree": tree, "question": _rest(node.message)}
    answers = [r for r in _replies(node.message) if not r.get("deleted") and r.get("role") == "assistant"]
    ranked_replies = [reply for reply in answers if reply.get("rank") not in (None, "")]
    if len(ranked_replies) > 1:
        yield _ranking(ranked_replies, common, about)
    for answer in answers:
        answer_fields: Row = {
            **common,
            "text": fields.text(answer, "text"),
            "model": fields.optional(answer, "model_name"),
        }
        annotations = list(_labels(answer, answer_fields, about | {"answer": _rest(answer)}))
        yield from annotations
        if answer not in ranked_replies[: len(ranked_replies) if len(ranked_replies) > 1 else 0] and _passed(answer):
            yield NewDemonstration(
                **answer_fields, judge=fields.optional(answer, "user_id"),
                created_at=fields.moment(answer.get("created_date")),
                extra=about | {"answer": _rest(answer)},
            )  # fmt: skip
    if not node.message.get("replies"):
        yield NewPrompt(
            **common, judge=fields.optional(node.message, "user_id"),
            created_at=fields.moment(node.message.get("created_date")), extra=about,
        )  # fmt: skip


def _passed(answer: Row) -> bool:
    return bool(answer.get("review_result")) or (answer.get("review_result") is None and bool(answer.get("synthetic")))


def _rest(message: Row) -> Row:
    return {name: value for name, value in message.items() if name not in _READ or (name == "labels" and value)}


def _ranking(ranked_replies: Sequence[Row], common: Row, about: Row) -> Item:
    groups: dict[int, list[int]] = defaultdict(list)
    for index, reply in enumerate(ranked_replies):
        groups[fields.whole(reply, "rank", 0, 10**6) or 0].append(index)
    models = tuple(fields.optional(reply, "model_name") for reply in ranked_replies)
    return NewRanking(
        **common, texts=tuple(fields.text(reply, "text") for reply in ranked_replies),
        order=tuple(tuple(groups[rank]) for rank in sorted(groups)), models=models if any(models) else (),
        extra=about | {"answers": [_rest(reply) for reply in ranked_replies]},
    )  # fmt: skip


def _labels(answer: Row, answer_fields: Row, about: Row) -> Iterator[Item]:
    labels = {
        name: label for name, label in _object(answer.get("labels")).items()
        if isinstance(label, dict) and label.get("value") is not None
    }  # fmt: skip
    aspects = {name: 1 + round(4 * _share(name, label)) for name, label in labels.items() if name in _DEGREES}
    if aspects:
        yield NewRating(**answer_fields, aspects=aspects, extra=about)
    for name, label in labels.items():
        if name in _FLAGS and _share(name, label) >= 0.5:
            yield NewFlag(**answer_fields, reason=name, extra=about)


def _object(value: Any) -> Row:
    parsed = fields.parsed(value)
    return parsed if isinstance(parsed, dict) else {}


def _share(name: str, row: Row) -> float:
    value = fields.number(row, "value")
    if value is None or not 0 <= value <= 1:
        raise ValueError(f"has the label {name} with {row.get('value')!r:.30}; use 0 to 1.")
    return value


def write(items: Sequence[Item]) -> list[Row]:
    """Return a tree for each first question. A pair is a ranking of two.

    A ranking by several people gets one order, as the format has it: by the share of the other answers that an answer
    was put above. What has no place in a tree is left out.
    """
    trees: dict[tuple, _Tree] = {}
    for item in items:
        system = tuple(turn["content"] for turn in item.messages if turn["role"] == "system")
        first = next((turn["content"] for turn in item.messages if turn["role"] == "user"), None)
        tree_fields = item.extra.get("tree", {}) if item.format == NAME else {}
        if first is None or not _has_place(item):
            continue
        tree = trees.setdefault((system, first, str(tree_fields)), _Tree(tree_fields))
        tree.add(item)
    return [tree.row() for tree in trees.values()]


def _has_place(item: Item) -> bool:
    match item:
        case NewComparison():
            return not item.later_a and not item.later_b and item.winner != "both_bad"
        case NewRating():
            return bool(item.aspects) and item.aspects.keys() <= set(_DEGREES)
        case NewFlag():
            return item.text is not None and item.reason in _FLAGS
    return isinstance(item, NewRanking | NewDemonstration | NewPrompt)


class _Tree:
    """Messages by the path to them, created as items name them."""

    def __init__(self, kept: Row) -> None:
        self.kept = kept
        self.root: Row = {"replies": []}
        self.ranked: dict[int, list[_RankedAnswers]] = defaultdict(list)

    def add(self, item: Any) -> None:
        question = self._message(item.messages, item)
        match item:
            case NewRanking():
                self._add_ranking(question, item, item.texts, item.models or ("",) * len(item.texts), item.order)
            case NewComparison():
                order = {"tie": ((0, 1),), "model_a": ((0,), (1,)), "model_b": ((1,), (0,))}[item.winner]
                self._add_ranking(question, item, (item.a, item.b), (item.model_a, item.model_b), order)
            case NewRating() | NewFlag() | NewDemonstration():
                self._add_annotation(question, item)
            case NewPrompt():
                question |= _by(item)

    def row(self) -> Row:
        for rankings in self.ranked.values():
            for answer, rank in _one_order(rankings):
                answer["rank"] = rank
        (prompt,) = self.root["replies"]
        default_fields = {
            "message_tree_id": prompt.get("message_id") or prompt["text"][:40],
            "tree_state": "ready_for_export",
        }
        return (self.kept or default_fields) | {"prompt": prompt}

    def _message(self, messages: Messages, item: Item) -> Row:
        """Return the question that an item answers, and whatever stands before it."""
        system = messages[0]["content"] if messages[0]["role"] == "system" else None
        node = self.root
        for turn in messages[system is not None :]:
            role = "prompter" if turn["role"] == "user" else "assistant"
            node = _reply(node, turn["content"], role, "")
        if system is not None:
            self.root["replies"][0]["system"] = system
        node |= {"lang": item.language} if item.language else {}
        node |= {"message_id": item.source_id} if item.source_id else {}
        return _update(node, _kept_fields(item, "question"))

    def _add_ranking(self, question: Row, item: Item, texts: Sequence[str], models: Sequence[str], order: Any) -> None:
        kept_fields = _kept_fields(item, "answers") or [{}] * len(texts)
        answers: list[Row] = []
        for index, (text, model) in enumerate(zip(texts, models, strict=True)):
            answer = _reply(question, text, "assistant", model, not_in=answers)
            answers.append(_update(answer, kept_fields[index]))
        self.ranked[id(question)].append(_RankedAnswers(answers, order))

    def _add_annotation(self, question: Row, item: Any) -> None:
        answer = _reply(question, item.text, "assistant", item.model)
        _update(answer, _kept_fields(item, "answer"))
        if isinstance(item, NewDemonstration):
            _update(answer, {"review_result": True} | _by(item))
        if isinstance(item, NewRating):
            aspect_labels = {name: {"value": (steps - 1) / 4, "count": 1} for name, steps in item.aspects.items()}
            answer["labels"] = aspect_labels | (answer.get("labels") or {})
        if isinstance(item, NewFlag):
            answer["labels"] = {item.reason: {"value": 1.0, "count": 1}} | (answer.get("labels") or {})


@dataclass(frozen=True)
class _RankedAnswers:
    answers: list[Row]
    order: Sequence[Sequence[int]]


def _one_order(rankings: Sequence[_RankedAnswers]) -> Iterator[tuple[Row, int]]:
    """Yield each answer with its rank, 0 for the best."""
    answers = {id(answer): answer for ranking in rankings for answer in ranking.answers}
    above: dict[int, list[float]] = defaultdict(list)
    for ranking in rankings:
        level = {index: depth for depth, group in enumerate(ranking.order) for index in group}
        for first, second in permutations(level, 2):
            share = 0.5 if level[first] == level[second] else float(level[first] < level[second])
            above[id(ranking.answers[first])].append(share)
    shares = {key: sum(wins) / len(wins) for key, wins in above.items()}
    ranks = {share: rank for rank, share in enumerate(sorted(set(shares.values()), reverse=True))}
    yield from ((answers[key], ranks[share]) for key, share in shares.items())


def _by(item: Item) -> Row:
    row: Row = {"user_id": item.judge} if item.judge else {}
    return row | ({"created_date": item.created_at.isoformat()} if item.created_at else {})


def _kept_fields(item: Item, name: str) -> Any:
    return item.extra.get(name) or {} if item.format == NAME else {}


def _update(node: Row, fields: Row) -> Row:
    node.update(fields)
    return node


def _reply(node: Row, text: str, role: str, model: str, not_in: Sequence[Row] = ()) -> Row:
    for reply in node["replies"]:
        same = reply["text"] == text and reply["role"] == role and reply.get("model_name", "") == model
        if same and not any(reply is used for used in not_in):
            return reply
    reply_node: Row = {"text": text, "role": role, "replies": []} | ({"model_name": model} if model else {})
    node["replies"].append(reply_node)
    return reply_node
