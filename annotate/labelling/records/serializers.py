"""Serialize rows of feedback for the API, and check an import by ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rest_framework import serializers

from annotate.core.api.lookup import find_all
from annotate.core.api.serializer_fields import Id, Input, Turn
from annotate.core.errors import Refused
from annotate.data.imports.actions import import_feedback, import_pairs
from annotate.data.prompts.actions import check_text
from annotate.labelling.forms.validation import check_aspects, check_winner
from annotate.models import Comparison, Completion, Demonstration, Flag, Project, Prompt, Ranking, Rating, Span, User
from common import transcripts

Given = dict[str, Any]


class FeedbackIn(Input):
    project = serializers.SlugField(max_length=50)
    source = serializers.CharField(required=False, default="API", max_length=60, help_text="Names the import.")
    comment = serializers.CharField(required=False, default="", allow_blank=True, max_length=10_000)


class RatingIn(FeedbackIn):
    completion = Id()
    thumbs = serializers.BooleanField(required=False, allow_null=True, default=None)
    stars = serializers.IntegerField(required=False, allow_null=True, default=None)
    aspects = serializers.DictField(child=serializers.IntegerField(), required=False, default=dict)


class ComparisonIn(FeedbackIn):
    """Read a comparison of two stored completions, or of a conversation with a chosen and a rejected answer."""

    completion_a = Id(required=False)
    completion_b = Id(required=False)
    winner = serializers.CharField(required=False, help_text="model_a, model_b, tie or both_bad")
    strength = serializers.IntegerField(required=False, allow_null=True, default=None)
    prompt = Turn(many=True, required=False, help_text="With chosen and rejected: what both answer.")
    chosen = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False)
    rejected = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False)

    def validate(self, fields: Given) -> Given:
        as_texts = {"prompt", "chosen", "rejected"} & fields.keys()
        required = ("prompt", "chosen", "rejected") if as_texts else ("completion_a", "completion_b", "winner")
        missing = [name for name in required if name not in fields]
        if missing:
            problem = f"is required: give {', '.join(required[:-1])} and {required[-1]}."
            raise serializers.ValidationError({name: problem for name in missing})
        if as_texts and {"completion_a", "completion_b", "winner"} & fields.keys():
            raise serializers.ValidationError({"chosen": "Send either texts or ids of completions, not both."})
        return fields


class DemonstrationIn(FeedbackIn):
    prompt = Id()
    text = serializers.CharField(allow_blank=True, trim_whitespace=False)
    edited_from = Id(required=False, allow_null=True, default=None)


class FeedbackOut(serializers.ModelSerializer):
    project = serializers.SlugField(source="project.slug")
    author = serializers.SerializerMethodField(help_text="The username; only for reviewers and for your own rows.")

    def get_author(self, row: Any) -> str | None:
        is_shown = row.project_id in self.context["reviewable"] or row.author_id == self.context["me"]
        return row.author.username if row.author and is_shown else None


_COMMON = ("author", "judge", "source", "seconds", "guideline_version", "comment", "status", "status_reason")


class RatingOut(FeedbackOut):
    class Meta:
        model = Rating
        fields = ("id", "project", "prompt", "completion", "thumbs", "stars", "aspects", *_COMMON, "created_at")


class ComparisonOut(FeedbackOut):
    class Meta:
        model = Comparison
        fields = (
            *("id", "project", "prompt", "completion_a", "completion_b", "winner", "strength", "ranking"),
            *(*_COMMON, "created_at"),
        )


class DemonstrationOut(FeedbackOut):
    class Meta:
        model = Demonstration
        fields = ("id", "project", "prompt", "text", "edited_from", *_COMMON, "created_at")


class RankingOut(FeedbackOut):
    """Show a ranking. Its pairs are among the comparisons, and name it."""

    order = serializers.ListField(
        child=serializers.ListField(child=serializers.IntegerField()), help_text="The best first, equals together."
    )

    class Meta:
        model = Ranking
        fields = ("id", "project", "prompt", "order", *_COMMON, "created_at")


class SpanOut(FeedbackOut):
    class Meta:
        model = Span
        fields = ("id", "project", "prompt", "completion", "start", "end", "label", "text", *_COMMON, "created_at")


class FlagOut(FeedbackOut):
    class Meta:
        model = Flag
        fields = ("id", "project", "prompt", "completion", "reason", *_COMMON, "created_at")


def add(table: type[Any], *, project: Project, rows: Sequence[Given], by: User) -> list[Any]:
    """Import the rows, all or none, and return them. Refused with the place and the field of each one that is wrong."""
    sources = {row["source"] for row in rows}
    if len(sources) > 1:
        raise Refused(400, source="All rows of a request need the same source; send one request for each source.")
    if table is Comparison and any("chosen" in row for row in rows):
        return _add_texts(project, rows, sources.pop(), by)
    checked = _CHECKS[table](project, rows)
    return import_feedback(table=table, project=project, rows=checked, source=sources.pop(), by=by)


def _add_texts(project: Project, rows: Sequence[Given], source: str, by: User) -> list[Comparison]:
    if mixed := [i for i, row in enumerate(rows) if "chosen" not in row]:
        raise Refused(400, **{f"{mixed[0]}.chosen": "Send pairs as texts and pairs by ids in two requests."})
    for field in ("strength", "comment"):
        if offending := [i for i, row in enumerate(rows) if row[field]]:
            raise Refused(
                400,
                **{f"{offending[0]}.{field}": "Pairs of texts cannot have this field; create the completions first."},
            )
    pairs = [transcripts.Pair([dict(turn) for turn in row["prompt"]], row["chosen"], row["rejected"]) for row in rows]
    return import_pairs(project=project, pairs=pairs, source=source, by=by)


def _ratings(project: Project, rows: Sequence[Given]) -> list[Given]:
    completions = _completions(project, {row["completion"] for row in rows})

    def check(row: Given) -> Given:
        completion = _among(completions, row, "completion")
        if row["stars"] is not None and not 1 <= row["stars"] <= 5:
            raise Refused(400, stars=f"{row['stars']} is not a whole number from 1 to 5.")
        check_aspects(row["aspects"])
        if row["thumbs"] is None and row["stars"] is None and not row["aspects"]:
            raise Refused(400, stars="The rating is empty; send thumbs, stars or aspects.")
        fields = {name: row[name] for name in ("thumbs", "stars", "aspects", "comment")}
        return {"prompt": completion.prompt, "completion": completion, **fields}

    return _each(rows, check)


def _comparisons(project: Project, rows: Sequence[Given]) -> list[Given]:
    ends = ("completion_a", "completion_b")
    completions = _completions(project, {row[end] for row in rows for end in ends})

    def check(row: Given) -> Given:
        a, b = (_among(completions, row, end) for end in ends)
        if a == b:
            raise Refused(400, completion_b="Both completions are the same; send two different ones.")
        if a.prompt_id != b.prompt_id:
            raise Refused(
                400, completion_b=f"It answers another prompt than completion {a.pk}; send two answers to one prompt."
            )
        check_winner(row["winner"], row["strength"])
        fields = {name: row[name] for name in ("winner", "strength", "comment")}
        return {"prompt": a.prompt, "completion_a": a, "completion_b": b, **fields}

    return _each(rows, check)


def _demonstrations(project: Project, rows: Sequence[Given]) -> list[Given]:
    prompts = find_all(project.prompts.all(), {row["prompt"] for row in rows})
    completions = _completions(project, {row["edited_from"] for row in rows if row["edited_from"]})

    def check(row: Given) -> Given:
        prompt: Prompt = _among(prompts, row, "prompt")
        edited = _among(completions, row, "edited_from") if row["edited_from"] else None
        if edited is not None and edited.prompt_id != prompt.pk:
            raise Refused(400, edited_from="It answers another prompt; name an answer to this one, or none.")
        check_text(row["text"], "text", "An answer")
        return {"prompt": prompt, "edited_from": edited, "text": row["text"], "comment": row["comment"]}

    return _each(rows, check)


_CHECKS: dict[type[Any], Callable[[Project, Sequence[Given]], list[Given]]] = {
    Rating: _ratings,
    Comparison: _comparisons,
    Demonstration: _demonstrations,
}


def _completions(project: Project, ids: set[int]) -> dict[int, Completion]:
    return find_all(Completion.objects.filter(prompt__project=project).select_related("prompt"), ids)


def _among(by_id: dict[int, Any], row: Given, field: str) -> Any:
    if row[field] not in by_id:
        raise Refused(400, **{field: f"This project has no such row {row[field]}; add it first."})
    return by_id[row[field]]


def _each(rows: Sequence[Given], check: Callable[[Given], Given]) -> list[Given]:
    checked: list[Given] = []
    errors: dict[str, str] = {}
    status = 400
    for index, row in enumerate(rows):
        try:
            checked.append(check(row))
        except Refused as refused:
            status = refused.status
            errors |= {f"{index}.{name}": text for name, text in refused.errors.items()}
    if errors:
        raise Refused(status, **errors)
    return checked
