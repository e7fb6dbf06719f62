"""The rows of a dataset from the feedback that was chosen for it: pairs, examples to imitate."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from django.db.models import QuerySet

from annotate.data.datasets import best_answers, preferences
from annotate.data.datasets.answer_texts import (
    Answer,
    RowsInParts,
    Tell,
    answer_texts,
    answers,
    demonstrations,
    silent,
)
from annotate.data.frozen_rows import Row, Rows


@dataclass(frozen=True)
class Options:
    """Hold what narrows a dataset down. Lists that are None take everything."""

    categories: list[str] | None = None
    sources: list[str] | None = None
    ratings: list[int] | None = None
    comparisons: list[int] | None = None
    demonstrations: list[int] | None = None
    spans: list[int] | None = None
    edits: bool = True  # an answer that somebody made better is preferred to what it was made out of
    per_prompt: int = 1
    minimum: float = 0.6
    whole_answers: bool = True
    limit: int | None = None
    prompts: list[int] | None = None  # of a dataset of prompts: these alone
    older: list[int] | None = None  # comparisons of preferences that weigh `older_weight` of one
    older_weight: float = 1.0


@dataclass
class Selection:
    """Rows of the files that would be written, of which texts are read when they are, and the feedback that they come
    from."""

    files: dict[str, Rows]
    counts: dict[str, Any]
    sources: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Preferences:
    """Hold what annotators prefer, before any answer is read: `pairs` are comparisons, weighed, and edits."""

    comparisons: list[Row]
    ratings: list[Row]
    edits: list[Edit]
    older: frozenset[int] = frozenset()
    older_weight: float = 1.0

    @cached_property
    def speaking(self) -> list[Row]:
        return [row for row in self.ratings if row["thumbs"] is not None or row["stars"] is not None]

    @cached_property
    def pairs(self) -> list[Row]:
        weighed = _weighed(self.comparisons, self.older, self.older_weight)
        return [*weighed, *(edit.pair for edit in self.edits)]

    @cached_property
    def prompt_of(self) -> dict[int, int]:
        return {row["completion"]: row["prompt_id"] for row in self.speaking}

    @cached_property
    def informativeness(self) -> preferences.Informativeness:
        comparisons, ratings = preferences.comparisons_from(self.pairs), preferences.ratings_from(self.speaking)
        return preferences.informativeness(comparisons, ratings, prompt_of=self.prompt_of)


def _preferences(feedback: Mapping[str, QuerySet], options: Options) -> _Preferences:
    comparisons = feedback["comparisons"].values(
        "id", "prompt_id", "completion_a", "completion_b", "winner", "strength", "author", "ranking"
    )
    ratings = feedback["ratings"].values("id", "completion", "prompt_id", "thumbs", "stars", "aspects", "author")
    edits = _edits(feedback["demonstrations"]) if options.edits else []
    older = frozenset(options.older or ())
    return _Preferences(list(comparisons), list(ratings), edits, older, options.older_weight)


def count_preferences(feedback: Mapping[str, QuerySet], options: Options) -> preferences.Informativeness:
    """Return how much the rows of `preference_rows` would teach, without reading an answer."""
    return _preferences(feedback, options).informativeness


def preference_rows(feedback: Mapping[str, QuerySet], options: Options, tell: Tell = silent) -> Selection:
    tell("reading feedback", 0.0)
    preferred = _preferences(feedback, options)
    comparisons, ratings, speaking = preferred.comparisons, preferred.ratings, preferred.speaking
    spans = list(feedback["spans"].values("id", "completion", "start", "end", "label", "text", "author"))
    edits, pairs, prompt_of = preferred.edits, preferred.pairs, preferred.prompt_of
    ids = {c[end] for c in comparisons for end in ("completion_a", "completion_b")}
    ids |= {row["completion"] for row in [*speaking, *spans]} | {edit.original for edit in edits}
    informativeness = preferred.informativeness
    rankings = sorted({c["ranking"] for c in comparisons if c["ranking"]})
    judges = [feedback["comparisons"], feedback["ratings"], feedback["spans"]]
    return Selection(
        files={
            "completions": completion_rows(ids, [edit.demonstration for edit in edits], tell),
            "comparisons": pairs,
            "ratings": [_rating_row(row) for row in speaking],
            **({"spans": [_without(row, "id") for row in spans]} if spans else {}),
        },
        counts={
            "comparisons": sum(c["ranking"] is None for c in comparisons),
            "ratings": len(speaking),
            **_without_zeros({"rankings": len(rankings), "edits": len(edits), "spans": len(spans)}),
            "completions": len(ids),
            "prompts": len({c["prompt_id"] for c in pairs} | set(prompt_of.values())),
            "judges": _judges(*judges, *([feedback["demonstrations"].exclude(edited_from=None)] if edits else [])),
            "winners": dict(Counter(c["winner"] for c in comparisons)),
            "telling": informativeness.informative,
            "enough": informativeness.enough,
            "sentence": informativeness.sentence,
            "reason": informativeness.reason,
            "left_out": {"ratings of aspects only": len(ratings) - len(speaking)},
        },
        sources={
            "comparisons": [c["id"] for c in comparisons],
            "ratings": [r["id"] for r in speaking],
            "rankings": rankings,
            "spans": [row["id"] for row in spans],
            "demonstrations": [edit.demonstration for edit in edits],
        },
    )


def _weighed(comparisons: list[Row], older: frozenset[int], older_weight: float) -> list[Row]:
    """Return the comparisons as they are frozen. `weight` stands where a ranking says them, or where they weigh less
    for their age, so that other rows keep their hash: all pairs of a ranking are one annotation of each answer."""
    sizes = Counter(row["ranking"] for row in comparisons)
    rows = []
    for row in comparisons:
        weight = 1 / sizes[row["ranking"]] if row["ranking"] else 1.0
        weight *= older_weight if row["id"] in older else 1.0
        rows.append(_without(row, "id", "ranking") | ({"weight": weight} if weight != 1 else {}))
    return rows


@dataclass(frozen=True)
class Edit:
    """An edited answer as a preference: the edit, with an id below zero as no completion has, over what it was."""

    demonstration: int
    original: int
    pair: Row


def _edits(demonstrations: QuerySet) -> list[Edit]:
    edits = []
    edited = demonstrations.exclude(edited_from=None)
    for pk, prompt, original, author in edited.values_list("id", "prompt_id", "edited_from_id", "author_id"):
        ends = {"prompt_id": prompt, "completion_a": original, "completion_b": -pk}
        pair = {**ends, "winner": "model_b", "strength": None, "author": author, "edit": True}
        edits.append(Edit(pk, original, pair))
    return edits


def _without_zeros(numbers: dict[str, int]) -> dict[str, int]:
    """Return the counts that most datasets have none of, where there are some."""
    return {name: n for name, n in numbers.items() if n}


def example_rows(feedback: Mapping[str, QuerySet], options: Options, tell: Tell = silent) -> Selection:
    tell("reading feedback", 0.0)
    comparisons = preferences.comparisons_from(_weighted_comparisons(feedback["comparisons"]))
    ratings = preferences.ratings_from(feedback["ratings"].values("completion", "thumbs", "stars", "author"))
    scores_by_answer = best_answers.answers_from(comparisons, ratings)
    prompt_of: dict[int, int] = {}
    cut_off: set[int] = set()

    def candidates() -> Iterator[tuple[best_answers.Answer, int, str]]:
        for answer in answer_texts(sorted(scores_by_answer), tell):
            if options.whole_answers and answer.finish_reason == "length":
                cut_off.add(answer.id)
                continue
            prompt_of[answer.id] = answer.prompt_id
            yield scores_by_answer[answer.id], answer.prompt_id, answer.text

    chosen = best_answers.best(candidates(), per_prompt=options.per_prompt, minimum=options.minimum)
    written = list(feedback["demonstrations"].values_list("id", "prompt_id"))
    rows = RowsInParts((chosen, _examples), ([pk for pk, _ in written], _written_examples), tell=tell)
    informing = _informing(feedback, set(chosen))
    return Selection(
        files={"examples": rows},
        counts={
            "examples": len(rows),
            "best-rated answers": len(chosen),
            "demonstrations": len(written),
            "prompts": len({prompt_of[i] for i in chosen} | {prompt for _, prompt in written}),
            "judges": len({(row["author"], row["visitor"]) for table in informing.values() for row in table}),
            "left_out": {
                "annotated answers that are not among the best": len(scores_by_answer) - len(chosen) - len(cut_off),
                "answers cut off at the length limit": len(cut_off),
            },
        },
        sources=_informed_by(informing) if rows else {},
    )


def _informing(feedback: Mapping[str, QuerySet], chosen: set[int]) -> dict[str, list[Row]]:
    """Return what says something of the chosen answers. Sought here: a statement that names 100,000 answers is too
    large for SQLite."""
    who = ("id", "author", "visitor")
    comparisons = feedback["comparisons"].values(*who, "completion_a", "completion_b", "ranking").iterator()
    ratings = feedback["ratings"].values(*who, "completion").iterator()
    return {
        "comparisons": [row for row in comparisons if row["completion_a"] in chosen or row["completion_b"] in chosen],
        "ratings": [row for row in ratings if row["completion"] in chosen],
        "demonstrations": list(feedback["demonstrations"].values(*who)),
    }


def _informed_by(informing: Mapping[str, list[Row]]) -> dict[str, list[int]]:
    """Return ids by kind; with pairs of a ranking the ranking itself."""
    sources = {plural: [row["id"] for row in rows] for plural, rows in informing.items()}
    return sources | {"rankings": sorted({row["ranking"] for row in informing["comparisons"] if row["ranking"]})}


def _weighted_comparisons(comparisons: QuerySet) -> list[Row]:
    """Return the rows with their weights: a ranking of K says something of each answer K - 1 times, and together these
    weigh as one annotation of it."""
    rows = list(
        comparisons.values("prompt_id", "completion_a", "completion_b", "winner", "strength", "author", "ranking")
    )
    ends: dict[int, set[int]] = defaultdict(set)
    for row in rows:
        ends[row["ranking"] or 0] |= {row["completion_a"], row["completion_b"]}
    return [row | ({"weight": 1 / (len(ends[row["ranking"]]) - 1)} if row["ranking"] else {}) for row in rows]


def _examples(ids: Sequence[int]) -> dict[int, Row]:
    return {pk: _example(answer) for pk, answer in answers(ids).items()}


def _written_examples(ids: Sequence[int]) -> dict[int, Row]:
    return {pk: {"prompt": row["prompt"], "completion": row["text"]} for pk, row in demonstrations(ids).items()}


def _example(answer: Answer) -> Row:
    """Return an example. `is_cut` stands where the length limit ended the answer: a model must not learn to end
    there."""
    cut = {"is_cut": True} if answer.finish_reason == "length" else {}
    return {"prompt": answer.messages, "completion": answer.text, **cut}


def completion_rows(ids: set[int], edits: Sequence[int] = (), tell: Tell = silent) -> Rows:
    """Return answers as a dataset of preferences holds them, with their prompts; behind them edits, by the ids of their
    demonstrations."""
    return RowsInParts((sorted(ids), _completions), (edits, _edited_completions), tell=tell)


def _completions(ids: Sequence[int]) -> dict[int, Row]:
    return {
        pk: {"id": pk, "prompt_id": answer.prompt_id, "prompt": answer.messages, "text": answer.text}
        for pk, answer in answers(ids).items()
    }


def _edited_completions(ids: Sequence[int]) -> dict[int, Row]:
    return {pk: {"id": -pk, **row} for pk, row in demonstrations(ids).items()}


def _judges(*tables: QuerySet) -> int:
    """Count distinct accounts and distinct visitors."""
    return len({pair for table in tables for pair in table.values_list("author", "visitor").distinct()})


def _rating_row(row: Row) -> Row:
    """Return a rating's row. `aspects` stands where some were judged, so that the same ratings without them keep their
    hash."""
    return _without(row, "id", "prompt_id") if row["aspects"] else _without(row, "id", "prompt_id", "aspects")


def _without(row: Row, *names: str) -> Row:
    return {key: value for key, value in row.items() if key not in names}
