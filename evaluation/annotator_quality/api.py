"""Serve the quality of annotation to programs: what the pages show."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import in_project
from annotate.core.api.lookup import find
from annotate.core.api.serializer_fields import refusals
from annotate.core.errors import Refused
from annotate.labelling.bulk_status import ImportedAnnotator, Who, find_imported
from annotate.models import AnnotatorKind, Project, User
from evaluation.annotator_quality import explanations, present
from evaluation.annotator_quality.findings import AnnotatorFigures, Findings, findings
from evaluation.annotator_quality.present import annotator_ids, figures_of, requested_kind
from evaluation.core.while_computed import BeingComputedOut, api_waits

IMPORTED = [
    OpenApiParameter("source", required=True, description="The import with the annotator."),
    OpenApiParameter("name", required=True, description="The annotator's name in its file."),
]
KIND = OpenApiParameter(
    "judge", enum=AnnotatorKind.values, description="Whose annotations; by default people's, if there are any."
)


class ScaleOut(serializers.Serializer):
    scale = serializers.CharField()
    kind = serializers.CharField(help_text="comparison, ranking, thumbs, stars or aspect.")
    metric = serializers.ChoiceField(["nominal", "ordinal", "interval"])
    alpha = serializers.FloatField(allow_null=True, help_text="Krippendorff's α; null if all annotations are equal.")
    lower = serializers.FloatField(
        allow_null=True, help_text="Lower end of the 95 % interval, for other items and the same annotators."
    )
    upper = serializers.FloatField(allow_null=True)
    units = serializers.IntegerField(help_text="Items with two or more annotators.")
    judgements = serializers.IntegerField()
    judges = serializers.IntegerField()
    raw = serializers.FloatField(allow_null=True, help_text="Share of equal pairs of annotations.")
    in_words = serializers.CharField()


class MarksOut(serializers.Serializer):
    label = serializers.CharField(
        help_text="A label; or all labels; or “whatever the label”, which compares positions only."
    )
    alpha = serializers.FloatField(allow_null=True, help_text="Krippendorff's α of characters: marked or not.")
    alpha_lower = serializers.FloatField(
        allow_null=True, help_text="Lower end of the 95 % interval, for other answers and the same annotators."
    )
    alpha_upper = serializers.FloatField(allow_null=True)
    exact = serializers.FloatField(
        allow_null=True, help_text="F1 of two annotators' spans with the same start and end."
    )
    exact_lower = serializers.FloatField(allow_null=True)
    exact_upper = serializers.FloatField(allow_null=True)
    overlapping = serializers.FloatField(allow_null=True, help_text="F1 of spans that share a character.")
    overlapping_lower = serializers.FloatField(allow_null=True)
    overlapping_upper = serializers.FloatField(allow_null=True)
    answers = serializers.IntegerField(help_text="Answers that two or more annotators read with this label available.")
    answers_marked = serializers.IntegerField(help_text="Answers in which one of them marked something.")
    spans = serializers.IntegerField()
    judges = serializers.IntegerField()
    in_words = serializers.CharField()


class MeasureOut(serializers.Serializer):
    name = serializers.CharField()
    value = serializers.FloatField()
    lower = serializers.FloatField(allow_null=True, help_text="95 %.")
    upper = serializers.FloatField(allow_null=True)
    n = serializers.IntegerField()
    beside = serializers.FloatField(allow_null=True, help_text="The value of chance or of the others.")
    p = serializers.FloatField(allow_null=True, help_text="Two-sided, against `beside`.")
    p_among = serializers.FloatField(allow_null=True, help_text="p after Holm's correction for all annotators.")
    in_words = serializers.CharField()


class OneAnnotatorOut(serializers.Serializer):
    user = serializers.IntegerField(allow_null=True, help_text="null for an annotator who is only in an import.")
    name = serializers.CharField()
    source = serializers.CharField()
    judgements = serializers.DictField(child=serializers.IntegerField())
    flagged = serializers.BooleanField(help_text="To check; on average at most `promise` of them are honest.")
    reasons = serializers.ListField(child=serializers.CharField())
    measures = MeasureOut(many=True)


class QualityOut(serializers.Serializer):
    project = serializers.CharField()
    judge = serializers.ChoiceField(AnnotatorKind.choices)
    promise = serializers.FloatField()
    scales = ScaleOut(many=True)
    marks = MarksOut(many=True)
    judges = OneAnnotatorOut(many=True)


class AnnotatorPairOut(serializers.Serializer):
    scale = serializers.CharField()
    judge = serializers.CharField()
    other = serializers.CharField()
    n = serializers.IntegerField()
    agreed = serializers.IntegerField()
    share = serializers.FloatField()
    lower = serializers.FloatField()
    upper = serializers.FloatField()
    kappa = serializers.FloatField(allow_null=True)
    kappa_lower = serializers.FloatField(allow_null=True)
    kappa_upper = serializers.FloatField(allow_null=True)


class MarkPairOut(serializers.Serializer):
    judge = serializers.CharField()
    other = serializers.CharField()
    n = serializers.IntegerField(help_text="Answers that both read and at least one marked.")
    spans = serializers.IntegerField()
    spans_of_other = serializers.IntegerField()
    exact = serializers.FloatField()
    overlapping = serializers.FloatField()


class AnnotatorPairsOut(serializers.Serializer):
    project = serializers.CharField()
    judge = serializers.ChoiceField(AnnotatorKind.choices)
    pairs = AnnotatorPairOut(many=True)
    mark_pairs = MarkPairOut(many=True)


@extend_schema(responses={200: QualityOut, 202: BeingComputedOut} | refusals(400, 403, 404), parameters=[KIND])
@in_project(get="review")
@api_waits
def quality(request: Request, project: Project) -> Response:
    """Return agreement on each scale and on marked spans, and every annotator's figures, for reviewers."""
    kind, findings_ = _reviewed(request, project)
    body: dict[str, Any] = {"project": project.slug, "judge": kind, "promise": explanations.PROMISE}
    body |= {
        "scales": [present.flat_scale(scale) for scale in findings_.scales],
        "marks": [present.flat_marks(label, each) for label, each in findings_.marked],
        "judges": [_one(judge) for judge in findings_.judges],
    }
    return Response(QualityOut(body).data)


@extend_schema(responses={200: AnnotatorPairsOut, 202: BeingComputedOut} | refusals(400, 403, 404), parameters=[KIND])
@in_project(get="review")
@api_waits
def pairs(request: Request, project: Project) -> Response:
    """Return figures of each two annotators on each scale, and on what they marked, for reviewers."""
    kind, findings_ = _reviewed(request, project)
    rows = [present.flat_pair(findings_, scale, pair) for scale, pair in findings_.pairs]
    marks = [present.flat_mark_pair(findings_, pair) for pair in findings_.mark_pairs]
    body = {"project": project.slug, "judge": kind, "pairs": rows, "mark_pairs": marks}
    return Response(AnnotatorPairsOut(body).data)


@extend_schema(responses={200: OneAnnotatorOut, 202: BeingComputedOut} | refusals(403, 404))
@in_project(get="review")
@api_waits
def annotator(request: Request, project: Project, pk: str) -> Response:
    """Return one annotator's figures, for reviewers."""
    return Response(_of(project, find(annotators_in(project), pk, "judge"), is_own=False))


@extend_schema(responses={200: OneAnnotatorOut, 202: BeingComputedOut} | refusals(403, 404), parameters=IMPORTED)
@in_project(get="review")
@api_waits
def imported(request: Request, project: Project) -> Response:
    """Return the figures of an annotator whom only the file of an import names, for reviewers."""
    return Response(_of(project, requested_imported(request, project), is_own=False))


def requested_imported(request: Request, project: Project) -> ImportedAnnotator:
    query_params = request.query_params
    annotator = find_imported(project, query_params.get("source", ""), query_params.get("name", ""))
    if annotator is None:
        raise Refused(404, name="There are no imported annotations under this name; quality/ lists the names.")
    return annotator


@extend_schema(responses={200: OneAnnotatorOut, 202: BeingComputedOut} | refusals(403, 404))
@in_project(get="judge")
@api_waits
def mine(request: Request, project: Project) -> Response:
    """Return my own figures, beside all others' together; nobody else is named.

    As of the last full hour before which nothing can be changed any more: told at once, they would tell which item's
    answer is known."""
    return Response(_of(project, request.user, is_own=True))


def _reviewed(request: Request, project: Project) -> tuple[str, Findings]:
    try:
        kind = requested_kind(project, request.query_params.get("judge", ""))
    except ValueError as error:
        raise Refused(400, judge=str(error)) from None
    return kind, findings(project, kind)


def annotators_in(project: Project) -> Any:
    return User.objects.filter(pk__in=annotator_ids(project))


def _of(project: Project, annotator: Who, *, is_own: bool) -> Any:
    _, _, figures = figures_of(project, annotator, is_own=is_own)
    if figures is None:
        delay = " yet: your own figures use only annotations that can no longer change" if is_own else ""
        raise Refused(404, judge=f"No annotation of {annotator} counts in {project}{delay}.")
    return OneAnnotatorOut(_one(figures, is_own=is_own)).data


def _one(annotator_figures: AnnotatorFigures, *, is_own: bool = False) -> dict[str, Any]:
    """Return the annotator's figures; one's own answer leaves out, as one's own page does, whether one is worth a
    look."""
    text_by_name = {
        sentence.name: sentence.text for sentence in explanations.sentences(annotator_figures, is_own=is_own)
    }
    return {
        "user": annotator_figures.judge.user,
        "name": annotator_figures.name,
        "source": annotator_figures.judge.source,
        "judgements": annotator_figures.judgements,
        "flagged": annotator_figures.is_flagged and not is_own,
        "reasons": [] if is_own else explanations.reasons(annotator_figures),
        "measures": [
            {**vars(m), "in_words": text_by_name.get(name, "")} for name, m in annotator_figures.measures.items()
        ],
    }
