"""Turn items into rows: existing prompts and completions are found, existing annotations stay alone.

A few queries for hundreds of items, whatever their number.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from annotate.data.formats.items import NewAnswers, NewAttack, NewPrompt
from annotate.data.imports import feedback_rows, look_ups
from annotate.data.imports.bulk_insert import as_json
from annotate.data.imports.feedback_rows import ExistingPrompt, Into, Table
from annotate.data.imports.preparing import Answer, Ready
from annotate.data.imports.sinks import Sink
from annotate.models import Comparison, Completion, Prompt, Ranking, Split
from common import harm_kinds as harms
from common.languages.language_names import tag_of

_Prompts = dict[str, ExistingPrompt]  # by the hash of its text
_Completions = dict[tuple[int, str, str], int]  # by prompt, model's name and hash of the text


def write(items: Sequence[Ready], into: Into, sink: Sink, names: list[str] | None = None) -> Counter[str]:
    """Return how many rows were new, by kind, and how many annotations stood `already`. With a database, in a
    transaction.

    `names` gets the idempotency key of each annotation, kind by kind, in the order of the items.
    """
    counts: Counter[str] = Counter()
    sink.begin()
    prompts, fresh = _prompts(items, into, sink, counts)
    completions = _completions(items, prompts, fresh, into, sink, counts)
    tables = feedback_rows.new_tables()
    for item in items:
        prompt = prompts[item.text_hash]
        answers = [completions[prompt.key, answer.model, answer.hash] for answer in item.answers]
        if not isinstance(item.item, NewPrompt | NewAnswers):
            feedback_rows.add(tables, item.item, prompt, answers, into)
    for kind, table in tables.items():
        _add(kind, table, fresh, into, sink, counts)
        if names is not None:
            names += table.names
    if counts["prompts"] or counts["completions"] or counts["demonstrations"]:
        # An answer that somebody has written fills a place of its prompt: nobody is to be asked for it any more.
        changed = [prompt.key for prompt in prompts.values() if prompt.side == Split.TRAIN]
        sink.tell_queue(into.project, changed, only_adds=not counts["demonstrations"])
    return counts


def _prompts(items: Sequence[Ready], into: Into, sink: Sink, counts: Counter[str]) -> tuple[_Prompts, frozenset[int]]:
    """Return all of them, and the keys of those that are new: of these nothing can stand yet, so that nothing is looked
    up."""
    item_by_hash: dict[str, Ready] = {}
    for item in items:
        item_by_hash.setdefault(item.text_hash, item)
    prompts = {
        name: _existing_prompt(pk, item_by_hash[name]) for name, pk in sink.known(Prompt, list(item_by_hash)).items()
    }
    for name, *fields in look_ups.prompts(into.project, list(item_by_hash)):
        prompts[name] = ExistingPrompt(*fields)
    new = [item for text_hash, item in item_by_hash.items() if text_hash not in prompts]
    fresh = [
        (
            as_json(item.messages),
            item.text_hash,
            item.item.category[:60],
            tag_of(item.item.language),
            _harm(item),
            item.side,
            into.source,
            into.author,
            _right_answer(item),
        )
        for item in new
    ]
    columns = ("messages", "text_hash", "category", "language", "harm", "side", "source", "created_by_id", "answer")
    sink.fill_answers(
        {prompts[item.text_hash].key: answer for item in items if item.text_hash in prompts
         and (answer := _right_answer(item))}
    )  # fmt: skip
    ids = sink.add(Prompt, [item.text_hash for item in new], columns, fresh, project_id=into.project)
    counts["prompts"] += len(new)
    counts["already"] += _questions(items) - _questions(new)
    return prompts | {item.text_hash: _existing_prompt(pk, item) for item, pk in zip(new, ids, strict=True)}, frozenset(
        ids
    )


def _existing_prompt(pk: int, item: Ready) -> ExistingPrompt:
    return ExistingPrompt(pk, item.messages, item.item.category[:60], tag_of(item.item.language), item.side)


def _harm(ready: Ready) -> str:
    """Return the kinds of harm: what was said to make a model do harm is kept from whoever has not agreed to see it."""
    return harms.of_tags(ready.item.tags) if isinstance(ready.item, NewAttack) else ""


def _right_answer(ready: Ready) -> str:
    return ready.item.answer if isinstance(ready.item, NewPrompt) else ""


def _questions(items: Sequence[Ready]) -> int:
    return sum(isinstance(item.item, NewPrompt) for item in items)


def _completions(
    items: Sequence[Ready], prompts: _Prompts, fresh: frozenset[int], into: Into, sink: Sink, counts: Counter[str]
) -> _Completions:
    answer_by_key: dict[tuple[int, str, str], Answer] = {}
    for item in items:
        for answer in item.answers:
            answer_by_key.setdefault((prompts[item.text_hash].key, answer.model, answer.hash), answer)
    by_name = {f"{prompt} {hash} {model}": (prompt, model, hash) for prompt, model, hash in answer_by_key}
    ids_by_key = {by_name[name]: pk for name, pk in sink.known(Completion, list(by_name)).items()}
    ids_by_key |= _standing(
        [key for key in answer_by_key if key not in ids_by_key and key[0] > 0 and key[0] not in fresh], into
    )
    new = {name: key for name, key in by_name.items() if key not in ids_by_key}
    rows = [
        (prompt, into.linked.get(model), answer.text, answer.reasoning, hash, model)
        for (prompt, model, hash), answer in ((key, answer_by_key[key]) for key in new.values())
    ]
    columns = ("prompt_id", "model_id", "text", "reasoning", "text_hash", "named_model")
    ids = sink.add(Completion, list(new), columns, rows, source=into.source)
    counts["completions"] += len(new)
    counts["already"] += _answered_already(items, prompts, set(new.values()))
    return ids_by_key | dict(zip(new.values(), ids, strict=True))


def _answered_already(items: Sequence[Ready], prompts: _Prompts, new: set[tuple[int, str, str]]) -> int:
    """Return how many rows of answers to be annotated exist completely."""
    rows = (item for item in items if isinstance(item.item, NewAnswers))
    return sum(
        not any((prompts[item.text_hash].key, answer.model, answer.hash) in new for answer in item.answers)
        for item in rows
    )


def _standing(keys: Sequence[tuple[int, str, str]], into: Into) -> _Completions:
    """Return those that an earlier import from the same source brought."""
    completions: _Completions = {}
    pairs = list(dict.fromkeys((prompt, hash) for prompt, _, hash in keys))
    for pk, prompt, model, model_id, hash in look_ups.completions(pairs, into.source):
        if model_id == into.linked.get(model):
            completions.setdefault((prompt, model, hash), pk)
    return completions


def _add(kind: str, table: Table, fresh: frozenset[int], into: Into, sink: Sink, counts: Counter[str]) -> None:
    """Add the rows whose names are not taken yet; a ranking's pairs with it."""
    if not table.rows:
        return
    existing = set(sink.known(table.model, list(table.rows)))
    index = table.columns.index("prompt_id")
    existing |= look_ups.annotations_named(
        table.model, [name for name, row in table.rows.items() if row[index] not in fresh]
    )
    new = {name: row for name, row in table.rows.items() if name not in existing}
    constants = _constants(into)
    if table.model is Comparison:
        constants["ranking_id"] = None
    named = [(*row, name) for name, row in new.items()]
    ids = sink.add(table.model, list(new), (*table.columns, "idempotency_key"), named, **constants)
    counts[kind] += len(new)
    counts["already"] += len(table.names) - len(new)
    if table.model is Ranking:
        _add_pairs(list(zip(new, ids, new.values(), strict=True)), into, sink)


def _add_pairs(rankings: Sequence[tuple[str, int, tuple[Any, ...]]], into: Into, sink: Sink) -> None:
    """Add the pairs of rankings: they are not counted, as a ranking is one annotation."""
    pairs: dict[str, tuple[Any, ...]] = {}
    for name, pk, (order, *shared) in rankings:
        level = {completion: depth for depth, group in enumerate(json.loads(order)) for completion in group}
        ordered = sorted(level)
        for i, a in enumerate(ordered):
            for b in ordered[i + 1 :]:
                winner = "tie" if level[a] == level[b] else "model_a" if level[a] < level[b] else "model_b"
                prompt, judge, _, seconds, _ = shared
                pairs[f"{name}:{a}:{b}"] = (a, b, winner, None, prompt, judge, "", seconds, "{}", pk, f"{name}:{a}:{b}")
    columns = (*feedback_rows.COMPARISON, "ranking_id", "idempotency_key")
    sink.add(Comparison, list(pairs), columns, list(pairs.values()), **_constants(into))


def _constants(into: Into) -> dict[str, Any]:
    return {
        "project_id": into.project,
        "author_id": into.author,
        "judge": into.judge,
        "source": into.source,
        "guideline_version": into.guideline,
    }
