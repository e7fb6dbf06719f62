"""Read a project's feedback as items, in flat memory: some hundred rows to a query, by their ids.

Items are those of `annotate.data.formats.items`.

An imported annotation comes out as it came in: what our rows have no place for is in its `extra`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet

from annotate.data.formats import items as formats
from annotate.data.formats.common_prefix import parted
from annotate.data.formats.items import Item, Messages
from annotate.data.rankings import places
from annotate.models import (
    AnnotatorKind,
    Attack,
    Comparison,
    Completion,
    Demonstration,
    Flag,
    Project,
    Prompt,
    Ranking,
    Rating,
    Span,
    Status,
)

_AT_ONCE = 500
TABLES: dict[type[Item], Any] = {
    formats.NewComparison: Comparison,
    formats.NewRating: Rating,
    formats.NewRanking: Ranking,
    formats.NewDemonstration: Demonstration,
    formats.NewSpan: Span,
    formats.NewFlag: Flag,
    formats.NewAttack: Attack,
}
_RELATED = {
    Comparison: ("completion_a__model", "completion_b__model"),
    Rating: ("completion__model",),
    Ranking: (),
    Demonstration: ("edited_from",),
    Span: ("completion__model",),
    Flag: ("completion__model",),
    Attack: ("model",),
}


@dataclass(frozen=True)
class Selection:
    """Say which feedback to export; by default what counts, in both splits."""

    project: Project
    judge: str = AnnotatorKind.PERSON
    statuses: tuple[str, ...] = (Status.COUNTED,)
    side: str = ""
    sources: tuple[str, ...] = ()
    measures: bool = False  # gold items, repeats and the tutorial too
    holds: tuple[type[Item], ...] = field(default=())

    def rows(self, kind: type[Item]) -> QuerySet[Any]:
        table = TABLES[kind]
        rows = table.objects.filter(project=self.project).by(self.judge)
        if not self.measures:
            rows = rows.standing() if self.statuses == (Status.COUNTED,) else rows.of_work()
        rows = rows.filter(status__in=self.statuses)
        if self.side:
            rows = rows.on_split(self.side)
        if self.sources:
            rows = rows.filter(source__in=self.sources)
        if kind is formats.NewComparison and formats.NewRanking in self.holds:
            rows = rows.filter(ranking=None)  # the ranking itself says it
        return rows.select_related("prompt", "author", *_RELATED[table])

    def prompts(self) -> QuerySet[Prompt]:
        """Return all of them where the format holds nothing else; else those that nothing is said of."""
        rows = Prompt.objects.filter(project=self.project)
        if self.side:
            rows = rows.filter(side=self.side)
        if self.sources:
            rows = rows.filter(source__in=self.sources)
        if self.holds != (formats.NewPrompt,):
            for table in TABLES.values():
                rows = rows.exclude(Exists(table.objects.filter(prompt=OuterRef("pk"))))
        return rows


def items(selection: Selection) -> Iterator[tuple[Item, Any]]:
    """Yield each item with its row, kind by kind, each in the order in which it came."""
    for kind in selection.holds:
        if kind is formats.NewPrompt:
            yield from ((_prompt(row), row) for row in _by_id(selection.prompts()))
        else:
            for portion in _portions(selection.rows(kind)):
                yield from zip(_items_of(kind, portion), portion, strict=True)


def by_conversation(selection: Selection) -> Iterator[list[tuple[Item, Any]]]:
    """Yield items and rows of conversations that begin alike, where their prompts follow each other, as an
    import's do."""
    for _, group in itertools.groupby(by_prompt(selection), key=lambda pairs: _beginning(pairs[0][0].messages)):
        yield [pair for pairs in group for pair in pairs]


def _beginning(messages: Messages) -> list[str]:
    first = next((i for i, turn in enumerate(messages) if turn["role"] == "user"), 0)
    return [turn["content"] for turn in messages[: first + 1]]


def by_prompt(selection: Selection) -> Iterator[list[tuple[Item, Any]]]:
    """Yield the items and rows of each prompt, in the order of the prompts."""
    for prompts in _portions(Prompt.objects.filter(project=selection.project)):
        pairs_by_prompt: dict[int, list[tuple[Item, Any]]] = {prompt.pk: [] for prompt in prompts}
        for kind in selection.holds:
            if kind is formats.NewPrompt:
                for prompt in selection.prompts().filter(pk__in=pairs_by_prompt):
                    pairs_by_prompt[prompt.pk].append((_prompt(prompt), prompt))
            else:
                rows = list(selection.rows(kind).filter(prompt__in=list(pairs_by_prompt)).order_by("pk"))
                for item, row in zip(_items_of(kind, rows), rows, strict=True):
                    pairs_by_prompt[row.prompt_id].append((item, row))
        yield from filter(None, pairs_by_prompt.values())


def _by_id(rows: QuerySet[Any]) -> Iterator[Any]:
    for portion in _portions(rows):
        yield from portion


def _portions(rows: QuerySet[Any]) -> Iterator[list[Any]]:
    """Yield portions by the key of their last row: no cursor is held open for as long as somebody downloads."""
    last = 0
    while portion := list(rows.filter(pk__gt=last).order_by("pk")[:_AT_ONCE]):
        yield portion
        last = portion[-1].pk


def _items_of(kind: type[Item], rows: Sequence[Any]) -> list[Item]:
    if kind is formats.NewRanking:
        return _rankings(rows)
    make = _MAKERS[kind]
    return [formats.restored(make(row), row.extra) for row in rows]


def _common(row: Any) -> dict[str, Any]:
    return {
        "messages": row.prompt.messages,
        "judge": _judge(row),
        "created_at": _moment(row),
        "comment": row.comment,
        "seconds": row.seconds,
        "category": row.prompt.category,
        "language": row.prompt.language,
    }


def _judge(row: Any) -> str:
    """Return the file's name for the annotator, ours, or for a visitor a name that distinguishes them."""
    if _is_imported(row):
        return row.source_judge
    return row.author.username if row.author else f"visitor-{row.visitor[:12]}" if row.visitor else ""


def _moment(row: Any) -> datetime | None:
    """Return when it was annotated; the time of an import says nothing of that."""
    return None if _is_imported(row) else row.created_at


def _is_imported(row: Any) -> bool:
    return bool(row.source_judge) or (row.idempotency_key or "").startswith("import:")


def _named(completion: Completion | None) -> str:
    if completion is None:
        return ""
    return completion.named_model or (completion.model.name if completion.model else "")


def _comparison(row: Comparison) -> Item:
    a, b = row.completion_a, row.completion_b
    common = _common(row) | {"winner": row.winner, "strength": row.strength}
    common |= {"model_a": _named(a), "model_b": _named(b)}
    if a.prompt_id == b.prompt_id == row.prompt_id:
        return formats.NewComparison(**common, a=a.text, b=b.text)
    # A battle of several turns, in which each side went its own way. Few are, so that their prompts are asked for here.
    conversations = [_with_answer(completion) for completion in (a, b)]
    return formats.NewComparison(**common | vars(parted(conversations[0], conversations[1], ("A", "B"))))


def _with_answer(completion: Completion) -> Messages:
    return [*completion.prompt.messages, {"role": "assistant", "content": completion.text}]


def _rating(row: Rating) -> Item:
    marks = {"thumbs": row.thumbs, "stars": row.stars, "aspects": row.aspects}
    return formats.NewRating(**_common(row), text=row.completion.text, model=_named(row.completion), **marks)


def _rankings(rows: Sequence[Ranking]) -> list[Item]:
    completion_ids = {pk for row in rows for pk in places(row.order)}
    completions = Completion.objects.select_related("model").in_bulk(list(completion_ids))
    return [formats.restored(_ranking(row, completions), row.extra) for row in rows]


def _ranking(row: Ranking, completions: dict[int, Completion]) -> Item:
    """Return its texts from best to worst."""
    flat = [pk for group in row.order for pk in group]
    models = tuple(_named(completions[pk]) for pk in flat)
    index_by_id = {pk: i for i, pk in enumerate(flat)}
    return formats.NewRanking(
        **_common(row),
        texts=tuple(completions[pk].text for pk in flat),
        order=tuple(tuple(index_by_id[pk] for pk in group) for group in row.order),
        models=models if any(models) else (),
    )


def _demonstration(row: Demonstration) -> Item:
    edited = row.edited_from.text if row.edited_from else None
    return formats.NewDemonstration(**_common(row), text=row.text, edited_from=edited)


def _span(row: Span) -> Item:
    about = _common(row) | {"text": row.completion.text, "model": _named(row.completion)}
    return formats.NewSpan(**about, start=row.start, end=row.end, label=row.label)


def _flag(row: Flag) -> Item:
    text = row.completion.text if row.completion else None
    return formats.NewFlag(**_common(row), reason=row.reason, text=text, model=_named(row.completion))


def _attack(row: Attack) -> Item:
    return formats.NewAttack(
        **_common(row) | {"messages": row.messages},
        rating=row.rating,
        tags=tuple(row.tags),
        task_description=row.task_description,
        model=row.model.name if row.model else "",
        min_harmlessness_score=row.min_harmlessness_score,
        task_description_harmlessness_score=row.task_description_harmlessness_score,
    )


def _prompt(row: Prompt) -> Item:
    return formats.NewPrompt(messages=row.messages, category=row.category, language=row.language, answer=row.answer)


_MAKERS: dict[type[Item], Callable[[Any], Item]] = {
    formats.NewComparison: _comparison,
    formats.NewRating: _rating,
    formats.NewDemonstration: _demonstration,
    formats.NewSpan: _span,
    formats.NewFlag: _flag,
    formats.NewAttack: _attack,
}
