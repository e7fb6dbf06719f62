"""Judge models, their verdicts, and the rating by votes and verdicts together, for programs."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import allows, in_project
from annotate.core.api.idempotency import idempotent
from annotate.core.api.lookup import find
from annotate.core.api.pagination import Newest, newest_first
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, Choice, Id, Input, refusals
from annotate.core.errors import Refused
from annotate.data.datasets.api import FreezeOut
from annotate.models import AnnotatorKind, Dataset, LanguageModel, Project
from common.judging.rubrics import PAIRWISE
from evaluation.core.voter_names import voters_of
from evaluation.core.while_computed import BeingComputedOut, api_waits
from evaluation.judge_models import actions, present
from evaluation.judge_models.combined_rating import combined_rating
from evaluation.judge_models.judge_figures import figures_of
from evaluation.judge_models.verdict_datasets import order_verdicts_freeze
from evaluation.leaderboard.api.leaderboard import requested_board
from evaluation.leaderboard.snapshots import default_annotator_kind
from evaluation.models import JudgeModel, RepeatedVerdict, Rubric, Verdict
from training.core.run_directory import Row

KIND = OpenApiParameter(
    "judge",
    enum=AnnotatorKind.values,
    description="Whose votes it is compared with; by default people's, if there are any.",
)
VERSION = OpenApiParameter("version", int, description="Of the rubric; the newest without it.")


class JudgeFigureOut(serializers.Serializer):
    value = serializers.FloatField()
    lower = serializers.FloatField(allow_null=True, help_text="Lower end of the 95 % interval.")
    upper = serializers.FloatField(allow_null=True)
    n = serializers.IntegerField()
    beside = serializers.FloatField(allow_null=True, help_text="What it is compared with: of people, or of chance.")


class CategoryOut(JudgeFigureOut):
    category = serializers.CharField()


class DriftOut(serializers.Serializer):
    version = serializers.IntegerField(help_text="The older version.")
    same_verdict = JudgeFigureOut(allow_null=True, help_text="Share of the pairs of both with the same verdict.")
    agreement_gained = JudgeFigureOut(allow_null=True, help_text="By how much more this version agrees with the votes.")


class RepeatedVerdictsOut(serializers.Serializer):
    run = serializers.IntegerField()
    at = serializers.DateTimeField()
    same_verdict = JudgeFigureOut(help_text="Share of the pairs with the same verdict as before.")
    agreement_gained = JudgeFigureOut(allow_null=True, help_text="By how much more it now agrees with the votes.")
    consistency_gained = JudgeFigureOut(
        allow_null=True, help_text="By how much more often both orders now have one verdict; null on a scale."
    )
    has_changed = serializers.BooleanField(help_text="Whether the interval of a gain leaves out 0.")


class VerdictCostOut(serializers.Serializer):
    verdicts = serializers.IntegerField()
    prompt_tokens = serializers.IntegerField(allow_null=True)
    completion_tokens = serializers.IntegerField(allow_null=True)
    seconds = serializers.FloatField(allow_null=True)
    dollars = serializers.FloatField(allow_null=True, help_text="By the model's prices; null without them.")


class JudgeFiguresOut(serializers.Serializer):
    pairs = serializers.IntegerField(help_text="Pairs that it has judged.")
    votes = serializers.IntegerField(help_text="Votes on these pairs.")
    persons = serializers.IntegerField()
    agreement = JudgeFigureOut(allow_null=True, help_text="With votes for one answer; a tie of the judge is half.")
    same_outcome = JudgeFigureOut(allow_null=True, help_text="With all votes, ties included.")
    consistency = JudgeFigureOut(allow_null=True, help_text="Share of pairs with one verdict in both orders.")
    first_shown = JudgeFigureOut(allow_null=True, help_text="How often the answer shown first wins.")
    length = JudgeFigureOut(allow_null=True, help_text="Points that it gives longer answers beyond people's.")
    own = JudgeFigureOut(allow_null=True, help_text="Points that it gives its own family's answers beyond people's.")
    by_category = CategoryOut(many=True)
    drift = DriftOut(many=True)
    asked_again = RepeatedVerdictsOut(many=True, help_text="By runs that asked this version again, the newest first.")
    cost = VerdictCostOut()


class RubricOut(serializers.ModelSerializer):
    class Meta:
        model = Rubric
        fields = ("version", "form", "text", "created_at")


class JudgeModelOut(serializers.ModelSerializer):
    model = serializers.CharField(source="model.name")
    rubrics = RubricOut(many=True, help_text="The newest first.")

    class Meta:
        model = JudgeModel
        fields = ("id", "name", "model", "created_at", "retired_at", "rubrics")


class JudgeModelWithFigures(JudgeModelOut):
    version = serializers.IntegerField(help_text="Of the rubric that the figures are of.")
    judge = serializers.ChoiceField(AnnotatorKind.choices, help_text="Whose votes it is compared with.")
    figures = JudgeFiguresOut()

    class Meta:
        model = JudgeModel
        fields = (*JudgeModelOut.Meta.fields, "version", "judge", "figures")


class NewRubric(Input):
    text = serializers.CharField(
        max_length=actions.LONGEST_RUBRIC, required=False, allow_blank=True, default="",
        help_text="What it judges by; empty: ours. How its reply must end is added.",
    )  # fmt: skip
    form = Choice(Rubric.Form.choices, required=False, default=PAIRWISE)


class NewJudgeModel(NewRubric):
    name = serializers.CharField(max_length=120)
    model = Id(help_text="Id of a model that answers.")


class RepeatOut(serializers.ModelSerializer):
    run = serializers.IntegerField(source="run_id")

    class Meta:
        model = RepeatedVerdict
        fields = ("run", "winner", "a_first", "b_first", "grade", "reasons", "created_at")


class VerdictOut(serializers.ModelSerializer):
    version = serializers.IntegerField(source="rubric.version")
    completion_a = serializers.IntegerField(source="completion_a_id")
    completion_b = serializers.IntegerField(source="completion_b_id", allow_null=True)
    prompt = serializers.IntegerField(source="prompt_id")
    run = serializers.IntegerField(source="run_id", allow_null=True)
    repeats = RepeatOut(many=True, help_text="What it said when later runs asked it again. The first verdict counts.")

    class Meta:
        model = Verdict
        fields = (
            *("id", "version", "run", "prompt", "completion_a", "completion_b", "winner", "a_first", "b_first"),
            *("grade", "reasons", "prompt_tokens", "completion_tokens", "seconds", "created_at"),
            "repeats",
        )


@extend_schema(methods=["GET"], responses={200: JudgeModelOut(many=True)} | refusals(403, 404))
@extend_schema(
    methods=["POST"], request=NewJudgeModel, responses={201: JudgeModelOut} | refusals(400, 403, 404, 409),
    parameters=[IDEMPOTENCY_KEY],
)  # fmt: skip
@in_project(get="review", post="research")
def judges(request: Request, project: Project) -> Response:
    """List the judge models of a project, or add one with the first version of its rubric."""
    if request.method == "POST":
        return _add(request, project)
    rows = JudgeModel.objects.filter(project=project).select_related("model").prefetch_related("rubrics")
    return Response(JudgeModelOut(rows, many=True).data)


@idempotent()
def _add(request: Request, project: Project) -> Response:
    body = NewJudgeModel.read(request)
    model = LanguageModel.objects.filter(pk=body.pop("model")).first()
    judge = actions.create_judge(project=project, by=request.user, model=model, **body)
    return Response(JudgeModelOut(judge).data, status=201)


@extend_schema(
    responses={200: JudgeModelWithFigures, 202: BeingComputedOut} | refusals(400, 403, 404), parameters=[KIND, VERSION]
)
@in_project(get="review")
@api_waits
def judge(request: Request, project: Project, pk: str) -> Response:
    """Return a judge model with its figures: agreement with people, biases, consistency, drift and cost."""
    found = _judge(project, pk)
    kind, rubric = _kind(request, project), _rubric(request, found)
    figures = present.flat_figures(figures_of(rubric, kind))
    body = JudgeModelOut(found).data | {"version": rubric.version, "judge": kind}
    return Response({**body, "figures": JudgeFiguresOut(figures).data})


@extend_schema(
    request=NewRubric, responses={201: RubricOut} | refusals(400, 403, 404, 409), parameters=[IDEMPOTENCY_KEY]
)
@in_project(post="research")
@idempotent()
def rubrics(request: Request, project: Project, pk: str) -> Response:
    """Add a version of a judge's rubric; verdicts given before keep theirs."""
    rubric = actions.add_rubric(judge=_judge(project, pk), by=request.user, **NewRubric.read(request))
    return Response(RubricOut(rubric).data, status=201)


@extend_schema(responses={200: VerdictOut(many=True)} | refusals(400, 403, 404), parameters=[VERSION])
@newest_first
@in_project(get="review")
def verdicts(request: Request, project: Project, pk: str) -> Response:
    """List what a judge said by a version of its rubric, newest first. A run of kind `verdicts` asks it."""
    pages = Newest()
    rows = _rubric(request, _judge(project, pk)).verdicts.select_related("rubric").prefetch_related("repeats")
    return pages.get_paginated_response(VerdictOut(pages.paginate_queryset(rows, request), many=True).data)


class NewVerdictDataset(Input):
    name = serializers.CharField(max_length=120)
    version = serializers.IntegerField(
        min_value=1, max_value=1_000_000, required=False, help_text="Default: the newest."
    )


class VerdictDatasetOut(serializers.ModelSerializer):
    class Meta:
        model = Dataset
        fields = ("id", "name", "kind", "side", "judge", "counts", "content_hash", "created_at")


@extend_schema(
    request=NewVerdictDataset, responses={201: VerdictDatasetOut, 202: FreezeOut} | refusals(400, 403, 404, 409),
    parameters=[IDEMPOTENCY_KEY],
)  # fmt: skip
@in_project(post="research")
@idempotent(atomic=False)
def datasets(request: Request, project: Project, pk: str) -> Response:
    """Freeze a judge's verdicts on the train split into a dataset of preferences, which says that a model labelled
    it. More than 5,000 are frozen by the background worker: 202 with the order, to be followed at
    `dataset-freezes/{id}/`."""
    judge, body = _judge(project, pk), NewVerdictDataset.read(request)
    rubric = _version(judge, str(body.get("version", "")))
    made = order_verdicts_freeze(rubric=rubric, name=body["name"], by=request.user)
    if isinstance(made, Dataset):
        return Response(VerdictDatasetOut(made).data, status=201)
    return Response(FreezeOut(made).data, status=202)


class CombinedRowOut(serializers.Serializer):
    model = serializers.CharField(source="model.name")
    model_id = serializers.IntegerField(source="model.pk")
    rating = serializers.FloatField(help_text="By votes and verdicts.")
    lower = serializers.FloatField(help_text="Lower end of the 95 % interval.")
    upper = serializers.FloatField()
    rank = serializers.IntegerField(help_text="The best rank that the intervals allow.")
    worst_rank = serializers.IntegerField()
    people = serializers.FloatField(help_text="By votes alone.")
    people_lower = serializers.FloatField()
    people_upper = serializers.FloatField()
    group = serializers.IntegerField(help_text="Models of different groups cannot be compared.")


class CombinedOut(serializers.Serializer):
    project = serializers.CharField()
    judge = serializers.ChoiceField(AnnotatorKind.choices, help_text="Whose votes.")
    judge_model = serializers.CharField()
    version = serializers.IntegerField(help_text="Of the judge's rubric.")
    label = serializers.CharField(help_text="Who rates here; show it with the ratings.")
    votes = serializers.IntegerField()
    votes_with_verdict = serializers.IntegerField()
    verdicts = serializers.IntegerField(help_text="On pairs of answers without a vote.")
    weight = serializers.FloatField(help_text="λ: 0, where the judge tells nothing of people's votes, to 1.")
    effective_votes = serializers.FloatField(help_text="Votes alone that would give intervals as narrow.")
    votes_saved = serializers.FloatField()
    shift = serializers.FloatField(
        allow_null=True,
        help_text="p of verdicts that differ as much between pairs with votes and others, were they alike.",
    )
    rows = CombinedRowOut(many=True)


@extend_schema(
    responses={200: CombinedOut, 202: BeingComputedOut} | refusals(400, 404),
    parameters=[
        OpenApiParameter("project", str, required=True),
        KIND,
        OpenApiParameter("judge_model", int, required=True, description="Id of a judge model of the project."),
        VERSION,
    ],
)
@allows(get="read")
@api_waits
def with_judge(request: Request) -> Response:
    """Rate by votes and a judge model's verdicts together (prediction-powered inference), beside votes alone."""
    project, kind = requested_board(request)
    rubric = _rubric(request, _judge(project, request.query_params.get("judge_model", "")))
    rating = combined_rating(project, kind, rubric)
    if rating is None:
        raise Refused(404, judge=f"No vote of {voters_of(kind)} ranks two models here; collect votes first.")
    found = rating.found
    body: Row = {
        "project": project.slug,
        "judge": kind,
        "judge_model": rubric.judge.name,
        "version": rubric.version,
        "label": rating.label,
        "votes": found.votes,
        "votes_with_verdict": found.seen,
        "verdicts": found.verdicts,
        "weight": found.weight,
        "effective_votes": found.effective,
        "votes_saved": found.saved,
        "shift": found.shift,
        "rows": rating.rows,
    }
    return Response(CombinedOut(body).data)


def _judge(project: Project, pk: str) -> JudgeModel:
    rows = JudgeModel.objects.filter(project=project).select_related("model", "project")
    return find(rows, pk, "judge_model")


def _kind(request: Request, project: Project) -> str:
    kind = request.query_params.get("judge") or default_annotator_kind(project)
    if kind not in AnnotatorKind.values:
        raise Refused(400, judge=f"{kind!r:.40} is not a kind of annotator; use {' or '.join(AnnotatorKind.values)}.")
    return kind


def _rubric(request: Request, judge: JudgeModel) -> Rubric:
    return _version(judge, request.query_params.get("version", ""))


def _version(judge: JudgeModel, wanted: str) -> Rubric:
    versions = judge.rubrics.select_related("judge__model", "judge__project")
    if not wanted:
        newest = versions.first()
        assert newest is not None, "a judge is made with a rubric"
        return newest
    rubric = versions.filter(version=int(wanted)).first() if wanted.isdecimal() and len(wanted) < 7 else None
    if rubric is None:
        raise Refused(404, version=f"{judge.name} has no version {wanted!r:.40}; leave it out for the newest.")
    return rubric
