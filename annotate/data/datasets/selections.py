"""Select the rows of a dataset: the page shows the counts while the form is filled in, `freeze` writes them.

Only counted feedback, of one kind of annotator, on the side asked for; what was left out is counted with the reason.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from django.db.models import QuerySet

from annotate.core.db.key_lists import among
from annotate.core.errors import Refused
from annotate.data.datasets.answer_texts import Tell, silent
from annotate.data.datasets.preferences import Informativeness
from annotate.data.datasets.selected_prompts import select_prompts
from annotate.data.datasets.selected_rows import (
    Options,
    Selection,
    count_preferences,
    example_rows,
    preference_rows,
)
from annotate.models import (
    AnnotatorKind,
    Comparison,
    Dataset,
    Demonstration,
    Project,
    Ranking,
    Rating,
    Span,
    Status,
)
from annotate.models.feedback import FeedbackQuerySet
from common import splits

FEEDBACK: dict[str, type[Any]] = {
    "ratings": Rating,
    "comparisons": Comparison,
    "demonstrations": Demonstration,
    "spans": Span,
}
FROZEN_KINDS = ("preferences", "sft", "prompts")  # others are uploaded, or a run makes them
_NAMED = 5  # ids in a refusal


def select(
    *,
    project: Project,
    kind: str,
    side: str = splits.TRAIN,
    judge: str = AnnotatorKind.PERSON,
    tell: Tell = silent,
    **options: Any,
) -> Selection:
    """Return what a dataset of this kind would hold now. Refused for a wrong kind, side, judge or option."""
    chosen = checked(kind=kind, side=side, judge=judge, **options)
    if kind == Dataset.Kind.PROMPTS:
        return select_prompts(project, side, chosen, tell)
    feedback = _feedback(project, side, judge, chosen)
    selection = (preference_rows if kind == Dataset.Kind.PREFERENCES else example_rows)(feedback, chosen, tell)
    selection.counts["left_out"] |= _left_out(project, side, judge, kind, chosen)
    selection.counts["empty"] = _why_empty(project, side, judge, kind, selection.counts["left_out"])
    return selection


def checked(*, kind: str, side: str, judge: str, **options: Any) -> Options:
    """Return the options. Refused for a wrong kind, side, judge or option."""
    if kind not in FROZEN_KINDS:
        raise Refused(400, kind=f"{kind!r} cannot be frozen from feedback; use one of {', '.join(FROZEN_KINDS)}.")
    if judge not in AnnotatorKind.values:
        raise Refused(400, judge=f"{judge!r} is not a kind of annotator; use {' or '.join(AnnotatorKind.values)}.")
    if side not in (splits.TRAIN, splits.EVAL):
        raise Refused(400, side=f"{side!r} is not a split; use {splits.TRAIN} or {splits.EVAL}.")
    if side == splits.EVAL and kind != Dataset.Kind.PROMPTS:
        raise Refused(
            400,
            side="Feedback on eval prompts ranks models and must not train one; freeze the train split instead. "
            "Only datasets of prompts can be in the eval split.",
        )
    return _checked(options)


def count_examples(*, project: Project, judge: str, **options: Any) -> int:
    """Return how many examples `select` would find for SFT, without counting what is left out of them."""
    chosen = _checked(options)
    return example_rows(_feedback(project, splits.TRAIN, judge, chosen), chosen).counts["examples"]


def informativeness_of(*, project: Project, judge: str, **options: Any) -> Informativeness:
    """Return how much the preferences that `select` would find teach, without reading the answers."""
    chosen = _checked(options)
    return count_preferences(_feedback(project, splits.TRAIN, judge, chosen), chosen)


def _feedback(project: Project, side: str, judge: str, options: Options) -> dict[str, FeedbackQuerySet]:
    return {plural: _rows(project, side, judge, plural, options) for plural in FEEDBACK}


def _checked(options: dict[str, Any]) -> Options:
    option_names = {f.name for f in dataclasses.fields(Options)}
    for name, value in options.items():
        if name not in option_names:
            raise Refused(
                400, **{name: f"is not an option of a dataset; the options are {', '.join(sorted(option_names))}."}
            )
        if name in ("categories", "sources") and not _is_list_of(value, str):
            raise Refused(400, **{name: "must be a list of texts, or leave it out to take all."})
        if name in (*FEEDBACK, "prompts", "older") and not _is_list_of(value, int):
            raise Refused(400, **{name: "must be a list of ids, or leave it out to take all."})
    chosen = Options(**options)
    if not isinstance(chosen.per_prompt, int) or not 0 <= chosen.per_prompt <= 64:
        raise Refused(400, per_prompt="must be a whole number from 0 (only demonstrations) to 64.")
    if not isinstance(chosen.minimum, int | float) or not 0 <= chosen.minimum <= 1:
        raise Refused(400, minimum="must be a score between 0 and 1.")
    if not isinstance(chosen.older_weight, int | float) or not 0 < chosen.older_weight <= 1:
        raise Refused(400, older_weight="must be a weight above 0 and at most 1.")
    for name in ("whole_answers", "edits"):
        if not isinstance(getattr(chosen, name), bool):
            raise Refused(400, **{name: "must be true or false."})
    if chosen.limit is not None and (not isinstance(chosen.limit, int) or chosen.limit < 1):
        raise Refused(400, limit="must be a whole number of prompts, at least 1; or leave it out.")
    return chosen


def _is_list_of(value: Any, kind: type) -> bool:
    return value is None or (isinstance(value, list) and all(type(item) is kind for item in value))


def _rows(project: Project, side: str, judge: str, plural: str, options: Options) -> FeedbackQuerySet:
    """Return the counted feedback of one table; rows asked for by id must all belong."""
    rows = FEEDBACK[plural].objects.filter(project=project)
    ids = getattr(options, plural)
    if ids is not None:
        rows = rows.filter(pk__in=among(ids))
        _refuse_what_does_not_belong(rows, plural, ids, side, judge)
    elif any(getattr(options, other) is not None for other in FEEDBACK):
        return rows.none()  # rows were named, none of this table
    return _narrowed(rows, options).teaching().by(judge).on_split(side).order_by("id")


def _narrowed(rows: FeedbackQuerySet, options: Options) -> FeedbackQuerySet:
    if options.categories is not None:
        rows = rows.filter(prompt__category__in=options.categories)
    return rows if options.sources is None else rows.filter(source__in=options.sources)


def _refuse_what_does_not_belong(rows: QuerySet, plural: str, ids: list[int], side: str, judge: str) -> None:
    """Refuse ids of no row, of the other split, of another kind of annotator, or that do not count; of the rows no more
    is read than what is named."""
    if rows.count() != len(set(ids)):
        present = set(rows.values_list("pk", flat=True))
        missing = [i for i in ids if i not in present]
        raise Refused(400, **{plural: f"This project has no {plural} {_first_ids(missing[:_NAMED], len(missing))}."})
    if wrong := _named(rows.exclude(prompt__side=side)):
        raise Refused(
            400,
            side=f"The {plural} {wrong} are not in the {side} split: feedback that ranks models must not train one.",
        )
    if wrong := _named(rows.exclude(judge=judge)):
        raise Refused(
            400, judge=f"The {plural} {wrong} are not by a {judge}: a dataset has one kind of annotator alone."
        )
    if wrong := _named(rows.exclude(status=Status.COUNTED)):
        raise Refused(400, **{plural: f"{wrong} do not count: remove them, or set them to counted first."})


def _named(rows: QuerySet) -> str:
    first = list(rows.order_by("pk").values_list("pk", flat=True)[:_NAMED])
    return _first_ids(first, rows.count()) if first else ""


def _first_ids(first: list[int], count: int) -> str:
    return ", ".join(map(str, first)) + (f" and {count - len(first)} more" if count > len(first) else "")


def _left_out(project: Project, side: str, judge: str, kind: str, options: Options) -> dict[str, int]:
    """Count feedback that was asked for and may not go in, by the reason; a ranking is one."""
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
    """Return what to do about a dataset with nothing in it, from what was left out."""
    annotations = (
        "comparisons or ratings" if kind == Dataset.Kind.PREFERENCES else "demonstrations or well-rated answers"
    )
    text = "; ".join(f"{n} {reason}" for reason, n in left_out.items() if n)
    remedy = "Annotate answers first"
    if left_out.get("by another kind of annotator"):
        other = next(value for value in AnnotatorKind.values if value != judge)
        remedy = f"Annotate answers first, or freeze those of a {other} instead (judge={other})"
    if left_out.get("answers cut off at the length limit"):
        remedy += ", or sample longer answers, or include cut-off answers (whole_answers=false)"
    return (
        f"No counted {annotations} by a {judge} in the {side} split of {project.name}"
        + (f" (left out: {text})" if text else "")
        + f". {remedy}."
    )
