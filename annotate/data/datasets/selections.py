"""Which rows a dataset would hold: the page shows its counts while the form is filled in, `freeze` writes them.

Only counted feedback, of one kind of annotator, on the side asked for; what was left out is counted with the reason.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db.models import QuerySet

from annotate.core.errors import Refused
from annotate.data.datasets import best_answers, preferences
from annotate.data.frozen_rows import Row
from annotate.models import (
    AnnotatorKind,
    Comparison,
    Completion,
    Dataset,
    Demonstration,
    Project,
    Prompt,
    Ranking,
    Rating,
    Span,
    Status,
)
from annotate.models.feedback import FeedbackQuerySet
from common import splits
from common.harm_kinds import UNRATED_TALK

FEEDBACK: dict[str, type[Any]] = {
    "ratings": Rating,
    "comparisons": Comparison,
    "demonstrations": Demonstration,
    "spans": Span,
}
_CHUNK = 500


@dataclass(frozen=True)
class Options:
    """What narrows a dataset down. Lists that are None take everything."""

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


@dataclass
class Selection:
    """Rows of the files that would be written, and the feedback that they come from."""

    files: dict[str, list[Row]]
    counts: dict[str, Any]
    sources: dict[str, list[int]] = field(default_factory=dict)


def select(
    *, project: Project, kind: str, side: str = splits.TRAIN, judge: str = AnnotatorKind.PERSON, **options: Any
) -> Selection:
    """What a dataset of this kind would hold now. Refused for a wrong kind, side, judge or option."""
    if kind not in Dataset.Kind.values:
        raise Refused(400, kind=f"{kind!r} is no kind of dataset; use one of {', '.join(Dataset.Kind.values)}.")
    if judge not in AnnotatorKind.values:
        raise Refused(400, judge=f"{judge!r} is no kind of annotator; use {' or '.join(AnnotatorKind.values)}.")
    if side not in (splits.TRAIN, splits.EVAL):
        raise Refused(400, side=f"{side!r} is no side; use {splits.TRAIN} or {splits.EVAL}.")
    if side == splits.EVAL and kind != Dataset.Kind.PROMPTS:
        raise Refused(
            400,
            side="Feedback on eval prompts ranks models and may train none; freeze the train split instead. "
            "Only a dataset of prompts, for sampling, may be in the eval split.",
        )
    chosen = _checked(options)
    if kind == Dataset.Kind.PROMPTS:
        return _select_prompts(project, side, chosen)
    feedback = {plural: _rows(project, side, judge, plural, chosen) for plural in FEEDBACK}
    selection = (_preferences if kind == Dataset.Kind.PREFERENCES else _examples)(feedback, chosen)
    selection.counts["left_out"] |= _left_out(project, side, judge, kind, chosen)
    selection.counts["empty"] = _why_empty(project, side, judge, kind, selection.counts["left_out"])
    return selection


def _checked(options: dict[str, Any]) -> Options:
    known = {f.name for f in dataclasses.fields(Options)}
    for name, value in options.items():
        if name not in known:
            raise Refused(400, **{name: f"is no option of a dataset; the options are {', '.join(sorted(known))}."})
        if name in ("categories", "sources") and not _is_list_of(value, str):
            raise Refused(400, **{name: "must be a list of texts, or left out to take all."})
        if name in FEEDBACK and not _is_list_of(value, int):
            raise Refused(400, **{name: "must be a list of the ids of feedback, or left out to take all."})
    chosen = Options(**options)
    if not isinstance(chosen.per_prompt, int) or not 0 <= chosen.per_prompt <= 64:
        raise Refused(400, per_prompt="must be a whole number from 0 (demonstrations alone) to 64.")
    if not isinstance(chosen.minimum, int | float) or not 0 <= chosen.minimum <= 1:
        raise Refused(400, minimum="must be a score between 0 and 1.")
    for name in ("whole_answers", "edits"):
        if not isinstance(getattr(chosen, name), bool):
            raise Refused(400, **{name: "must be true or false."})
    if chosen.limit is not None and (not isinstance(chosen.limit, int) or chosen.limit < 1):
        raise Refused(400, limit="must be a whole number of prompts, at least 1, or left out.")
    return chosen


def _is_list_of(value: Any, kind: type) -> bool:
    return value is None or (isinstance(value, list) and all(type(item) is kind for item in value))


def _rows(project: Project, side: str, judge: str, plural: str, options: Options) -> FeedbackQuerySet:
    """The counted feedback of one table; rows asked for by id must all belong."""
    rows = FEEDBACK[plural].objects.filter(project=project)
    ids = getattr(options, plural)
    if ids is not None:
        rows = rows.filter(id__in=ids)
        _refuse_what_does_not_belong(rows, plural, ids, side, judge)
    elif any(getattr(options, other) is not None for other in FEEDBACK):
        return rows.none()  # rows were named, none of this table
    return _narrowed(rows, options).teaching().by(judge).on_split(side).order_by("id")


def _narrowed(rows: FeedbackQuerySet, options: Options) -> FeedbackQuerySet:
    if options.categories is not None:
        rows = rows.filter(prompt__category__in=options.categories)
    return rows if options.sources is None else rows.filter(source__in=options.sources)


def _refuse_what_does_not_belong(rows: QuerySet, plural: str, ids: list[int], side: str, judge: str) -> None:
    found = {row_id: rest for row_id, *rest in rows.values_list("id", "prompt__side", "judge", "status")}
    missing = [i for i in ids if i not in found]
    if missing:
        raise Refused(400, **{plural: f"This project has no {plural} {_some(missing)}."})
    wrong = [i for i, (row_split, _, _) in found.items() if row_split != side]
    if wrong:
        raise Refused(
            400, side=f"The {plural} {_some(wrong)} are not in the {side} split: what ranks models may train none."
        )
    wrong = [i for i, (_, row_judge, _) in found.items() if row_judge != judge]
    if wrong:
        raise Refused(
            400, judge=f"The {plural} {_some(wrong)} are not by a {judge}: a dataset takes one kind of annotator alone."
        )
    wrong = [i for i, (_, _, status) in found.items() if status != Status.COUNTED]
    if wrong:
        raise Refused(400, **{plural: f"{_some(wrong)} are not counted: take them out, or have them counted first."})


def _some(ids: list[int]) -> str:
    return ", ".join(str(i) for i in ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")


def _preferences(feedback: Mapping[str, QuerySet], options: Options) -> Selection:
    comparisons = list(
        feedback["comparisons"].values(
            "id", "prompt_id", "completion_a", "completion_b", "winner", "strength", "author", "ranking"
        )
    )
    ratings = list(feedback["ratings"].values("id", "completion", "prompt_id", "thumbs", "stars", "aspects", "author"))
    speaking = [r for r in ratings if r["thumbs"] is not None or r["stars"] is not None]
    spans = list(feedback["spans"].values("id", "completion", "start", "end", "label", "text", "author"))
    edits = _edits(feedback["demonstrations"]) if options.edits else []
    pairs = [*_weighed(comparisons), *(edit.pair for edit in edits)]
    ids = {c[end] for c in comparisons for end in ("completion_a", "completion_b")}
    ids |= {row["completion"] for row in [*speaking, *spans]} | {edit.original for edit in edits}
    prompt_of = {r["completion"]: r["prompt_id"] for r in speaking}
    informativeness = preferences.informativeness(
        preferences.comparisons_from(pairs), preferences.ratings_from(speaking), prompt_of=prompt_of
    )
    rankings = sorted({c["ranking"] for c in comparisons if c["ranking"]})
    judges = [feedback["comparisons"], feedback["ratings"], feedback["spans"]]
    return Selection(
        files={
            "completions": [*_completion_rows(ids), *(edit.completion for edit in edits)],
            "comparisons": pairs,
            "ratings": [_rating_row(row) for row in speaking],
            **({"spans": [_without(row, "id") for row in spans]} if spans else {}),
        },
        counts={
            "comparisons": sum(c["ranking"] is None for c in comparisons),
            "ratings": len(speaking),
            **_counted({"rankings": len(rankings), "edits": len(edits), "spans": len(spans)}),
            "completions": len(ids),
            "prompts": len({c["prompt_id"] for c in pairs} | set(prompt_of.values())),
            "judges": _judges(*judges, *([feedback["demonstrations"].exclude(edited_from=None)] if edits else [])),
            "winners": dict(Counter(c["winner"] for c in comparisons)),
            "telling": informativeness.informative,
            "enough": informativeness.enough,
            "sentence": informativeness.sentence,
            "reason": informativeness.reason,
            "left_out": {"ratings of aspects alone": len(ratings) - len(speaking)},
        },
        sources={
            "comparisons": [c["id"] for c in comparisons],
            "ratings": [r["id"] for r in speaking],
            "rankings": rankings,
            "spans": [row["id"] for row in spans],
            "demonstrations": [edit.demonstration for edit in edits],
        },
    )


def _weighed(comparisons: list[Row]) -> list[Row]:
    """As they are frozen. `weight` stands where a ranking says them, so that other rows keep their hash: all pairs of
    a ranking are one annotation (Ouyang 2022, 2203.02155, section 3.5)."""
    sizes = Counter(row["ranking"] for row in comparisons)
    return [
        _without(row, "id", "ranking") | ({"weight": 1 / sizes[row["ranking"]]} if row["ranking"] else {})
        for row in comparisons
    ]


@dataclass(frozen=True)
class Edit:
    """An edited answer as a preference: the edit, with an id below zero as no completion has, over what it was."""

    demonstration: int
    original: int
    completion: Row
    pair: Row


def _edits(demonstrations: QuerySet) -> list[Edit]:
    found = []
    for d in demonstrations.exclude(edited_from=None).select_related("prompt"):
        answer = {"id": -d.pk, "prompt_id": d.prompt_id, "prompt": d.prompt.messages, "text": d.text}
        ends = {"prompt_id": d.prompt_id, "completion_a": d.edited_from_id, "completion_b": -d.pk}
        pair = {**ends, "winner": "model_b", "strength": None, "author": d.author_id, "edit": True}
        found.append(Edit(d.pk, d.edited_from_id, answer, pair))
    return found


def _counted(numbers: dict[str, int]) -> dict[str, int]:
    """What most datasets have none of is told where there is some."""
    return {name: n for name, n in numbers.items() if n}


def _examples(feedback: Mapping[str, QuerySet], options: Options) -> Selection:
    comparisons = preferences.comparisons_from(_told_of_each_answer(feedback["comparisons"]))
    ratings = preferences.ratings_from(feedback["ratings"].values("completion", "thumbs", "stars", "author"))
    judged = best_answers.answers_from(comparisons, ratings)
    answers = _completions(set(judged))
    cut_off = {c.pk for c in answers.values() if c.finish_reason == "length"} if options.whole_answers else set()
    chosen = best_answers.best(
        ((judged[i], c.prompt_id, c.text) for i, c in answers.items() if i not in cut_off),
        per_prompt=options.per_prompt,
        minimum=options.minimum,
    )
    demonstrations = list(feedback["demonstrations"].select_related("prompt"))
    rows = [_example(answers[i]) for i in chosen]
    rows += [{"prompt": d.prompt.messages, "completion": d.text} for d in demonstrations]
    informing = {
        "comparisons": feedback["comparisons"].filter(completion_a__in=chosen)
        | feedback["comparisons"].filter(completion_b__in=chosen),
        "ratings": feedback["ratings"].filter(completion__in=chosen),
        "demonstrations": feedback["demonstrations"],
    }
    return Selection(
        files={"examples": rows},
        counts={
            "examples": len(rows),
            "best-rated answers": len(chosen),
            "demonstrations": len(demonstrations),
            "prompts": len({answers[i].prompt_id for i in chosen} | {d.prompt_id for d in demonstrations}),
            "judges": _judges(*informing.values()),
            "left_out": {
                "answers judged, and not among the best": len(judged) - len(chosen) - len(cut_off),
                "answers cut off at the length limit": len(cut_off),
            },
        },
        sources=_informed_by(informing) if rows else {},
    )


def _informed_by(informing: Mapping[str, QuerySet]) -> dict[str, list[int]]:
    """Ids by kind; with pairs of a ranking the ranking itself."""
    sources = {plural: list(rows.values_list("id", flat=True)) for plural, rows in informing.items()}
    rows = informing["comparisons"].exclude(ranking=None).order_by("ranking")
    return sources | {"rankings": list(rows.values_list("ranking", flat=True).distinct())}


def _told_of_each_answer(comparisons: QuerySet) -> list[Row]:
    """A ranking of K says something of each answer K - 1 times: together these weigh as one annotation of it."""
    rows = list(
        comparisons.values("prompt_id", "completion_a", "completion_b", "winner", "strength", "author", "ranking")
    )
    ends: dict[int, set[int]] = defaultdict(set)
    for row in rows:
        ends[row["ranking"] or 0] |= {row["completion_a"], row["completion_b"]}
    return [row | ({"weight": 1 / (len(ends[row["ranking"]]) - 1)} if row["ranking"] else {}) for row in rows]


def _example(answer: Completion) -> Row:
    """`is_cut` stands where the length limit ended the answer: a model must not learn to end there."""
    cut = {"is_cut": True} if answer.finish_reason == "length" else {}
    return {"prompt": answer.prompt.messages, "completion": answer.text, **cut}


def _select_prompts(project: Project, side: str, options: Options) -> Selection:
    prompts = Prompt.objects.filter(project=project, side=side).exclude(out_reason=UNRATED_TALK)
    if options.categories is not None:
        prompts = prompts.filter(category__in=options.categories)
    if options.sources is not None:
        prompts = prompts.filter(source__in=options.sources)
    rows = list(prompts.values("id", "messages", "category", "text_hash"))
    if options.limit:
        # By hash: the same prompts whenever it is asked, and no category or author first.
        rows = sorted(sorted(rows, key=lambda row: row["text_hash"])[: options.limit], key=lambda row: row["id"])
    other = Prompt.objects.filter(project=project).exclude(side=side).count()
    return Selection(
        files={"prompts": [{"id": row["id"], "messages": row["messages"]} for row in rows]},
        counts={
            "prompts": len(rows),
            "categories": dict(Counter(row["category"] or "none" for row in rows)),
            "left_out": {"on the other side": other, "beyond the filter": prompts.count() - len(rows)},
            "empty": f"No prompt in the {side} split fits; add prompts, or widen the categories.",
        },
        sources={"prompts": [row["id"] for row in rows]},
    )


def _completions(ids: set[int]) -> dict[int, Completion]:
    ordered = sorted(ids)
    completions: dict[int, Completion] = {}
    for start in range(0, len(ordered), _CHUNK):
        part = Completion.objects.filter(id__in=ordered[start : start + _CHUNK]).select_related("prompt")
        completions |= {completion.pk: completion for completion in part}
    return dict(sorted(completions.items()))


def _completion_rows(ids: set[int]) -> list[Row]:
    return [
        {"id": c.pk, "prompt_id": c.prompt_id, "prompt": c.prompt.messages, "text": c.text}
        for c in _completions(ids).values()
    ]


def _judges(*tables: QuerySet) -> int:
    """Distinct accounts and distinct visitors."""
    return len({pair for table in tables for pair in table.values_list("author", "visitor").distinct()})


def _rating_row(row: Row) -> Row:
    """`aspects` stands where some were judged, so that the same ratings without them keep their hash."""
    return _without(row, "id", "prompt_id") if row["aspects"] else _without(row, "id", "prompt_id", "aspects")


def _without(row: Row, *names: str) -> Row:
    return {key: value for key, value in row.items() if key not in names}


def _left_out(project: Project, side: str, judge: str, kind: str, options: Options) -> dict[str, int]:
    """Feedback that was asked for and may not go in, by the reason; a ranking is one."""
    tables = [Comparison.objects.filter(ranking=None), Rating.objects.all(), Ranking.objects.all()]
    if kind != Dataset.Kind.PREFERENCES:
        tables.append(Demonstration.objects.all())
    elif options.edits:
        tables.append(Demonstration.objects.exclude(edited_from=None))
    counts: Counter[str] = Counter()
    for table in tables:
        rows = _narrowed(table.filter(project=project), options)
        counts["by another kind of annotator"] += rows.exclude(judge=judge).count()
        counts[f"not in the {side} split"] += rows.by(judge).exclude(prompt__side=side).count()
        for status in (Status.HELD, Status.EXCLUDED, Status.WITHDRAWN):
            counts[str(status)] += rows.by(judge).on_split(side).filter(status=status).count()
    return dict(counts)


def _why_empty(project: Project, side: str, judge: str, kind: str, left_out: dict[str, int]) -> str:
    """What to do about a dataset with nothing in it, from what was left out."""
    what = "comparisons or ratings" if kind == Dataset.Kind.PREFERENCES else "demonstrations or well-rated answers"
    text = "; ".join(f"{n} {reason}" for reason, n in left_out.items() if n)
    remedy = "Judge some answers first"
    if left_out.get("by another kind of annotator"):
        other = next(value for value in AnnotatorKind.values if value != judge)
        remedy = f"Judge some answers first, or freeze those of a {other} instead (judge={other})"
    if left_out.get("answers cut off at the length limit"):
        remedy += ", or sample longer answers, or take cut-off ones too (whole_answers=false)"
    return (
        f"No counted {what} by a {judge} in the {side} split of {project.name}"
        + (f" (left out: {text})" if text else "")
        + f". {remedy}."
    )
