"""Rounds for programs: order, see what came of them, pause, go on, review, retry, cancel."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import in_project
from annotate.core.api.idempotency import idempotent
from annotate.core.api.lookup import find, find_named
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, Choice, Id, Input, refusals
from annotate.models import AnnotatorKind, Dataset, LanguageModel, Project
from evaluation.models import RoundReview, RoundSeries
from evaluation.rounds import actions, present
from evaluation.rounds.round_order import ALL, FROM_NEWEST, OLDER, ROUND_METHODS, STARTS


class NewRounds(Input):
    name = serializers.CharField(max_length=60)
    parent = Id(help_text="The model that the rounds begin with.")
    method = Choice([(name, name) for name in ROUND_METHODS], required=False, default="ppo")
    config = serializers.DictField(required=False, default=dict, help_text="Options of the method.")
    reward_config = serializers.DictField(required=False, default=dict, help_text="Options of the reward model.")
    prompts = Id(required=False, allow_null=True, default=None, help_text="Frozen train prompts. null: all of them.")
    rounds = serializers.IntegerField(required=False, default=3, help_text="At most so many.")
    judgements = serializers.IntegerField(
        required=False, default=200, help_text="Comparisons with a winner, of each round."
    )
    answers_per_prompt = serializers.IntegerField(required=False, default=4)
    older = Choice([(name, name) for name in OLDER], required=False, default=ALL)
    older_weight = serializers.FloatField(required=False, default=0.5, help_text="With older=weighted.")
    starts = Choice([(name, name) for name in STARTS], required=False, default=FROM_NEWEST)
    votes = serializers.IntegerField(required=False, default=400, help_text="Blind votes against the model before.")
    gain = serializers.FloatField(required=False, default=50.0, help_text="Rating points worth another round.")
    seconds = serializers.FloatField(required=False, allow_null=True, default=None, help_text="Of all runs together.")
    accuracy_floor = serializers.FloatField(required=False, allow_null=True, default=None)
    judge = Choice(AnnotatorKind.choices, required=False, default=AnnotatorKind.PERSON)
    completions_per_prompt = serializers.IntegerField(required=False, default=2, help_text="Answers to eval prompts.")
    seed = serializers.IntegerField(required=False, default=0)


class NewReview(Input):
    number = serializers.IntegerField(help_text="Of the round whose model was looked at.")
    opinion = Choice(RoundReview.Opinion.choices, help_text="worse stops the rounds.")
    note = serializers.CharField(required=False, default="", allow_blank=True, max_length=500)


class RoundReviewOut(serializers.Serializer):
    opinion = serializers.CharField()
    note = serializers.CharField()


class RoundOut(serializers.Serializer):
    number = serializers.IntegerField(help_text="0: the model that the rounds begin with.")
    state = serializers.CharField()
    policy = serializers.IntegerField(allow_null=True, help_text="Whose answers are annotated.")
    model = serializers.IntegerField(allow_null=True)
    reward_model = serializers.IntegerField(allow_null=True)
    judgements = serializers.IntegerField()
    needed = serializers.IntegerField(allow_null=True)
    votes = serializers.IntegerField()
    seconds = serializers.FloatField()
    dataset = serializers.IntegerField(allow_null=True, help_text="What it learned from.")
    rating = serializers.DictField(allow_null=True, help_text="In points over round 0.")
    gain = serializers.DictField(allow_null=True, help_text="Over the round before, by the plan's votes.")
    accuracy = serializers.DictField(allow_null=True, help_text="Of the reward model before, on these comparisons.")
    problem = serializers.CharField(help_text="Why a run was refused, with the remedy.")
    runs = serializers.ListField(child=serializers.IntegerField())
    reviews = RoundReviewOut(many=True)


class RoundsOut(serializers.Serializer):
    id = serializers.IntegerField()
    project = serializers.SlugField()
    name = serializers.CharField()
    state = Choice(RoundSeries.State.choices)
    reason = serializers.CharField(help_text="Which rule stopped them.")
    sentence = serializers.CharField()
    plan = serializers.DictField(help_text="As fixed before the first round.")
    plan_hash = serializers.CharField()
    parent = serializers.IntegerField()
    seconds = serializers.FloatField()
    created_at = serializers.DateTimeField()
    stopped_at = serializers.DateTimeField(allow_null=True)
    rounds = RoundOut(many=True)


class RoundsRow(serializers.ModelSerializer):
    class Meta:
        model = RoundSeries
        fields = ("id", "name", "state", "reason", "plan_hash", "parent", "created_at", "stopped_at")


class RoundsRetriedOut(serializers.Serializer):
    retried = serializers.IntegerField()


@extend_schema(methods=["GET"], responses={200: RoundsRow(many=True)} | refusals(403, 404))
@extend_schema(
    methods=["POST"], request=NewRounds, responses={201: RoundsOut} | refusals(400, 403, 404, 409),
    parameters=[IDEMPOTENCY_KEY],
)  # fmt: skip
@in_project(get="read", post="research")
def all_rounds(request: Request, project: Project) -> Response:
    """List the rounds of a project, the latest first. POST fixes a plan and begins the first round."""
    if request.method == "POST":
        return _order(request, project)
    return Response(RoundsRow(project.round_series.all(), many=True).data)


@idempotent(atomic=False)  # it freezes prompts; a name that is taken is refused
def _order(request: Request, project: Project) -> Response:
    fields = NewRounds.read(request)
    fields["parent"] = find_named(LanguageModel.objects.usable_in(project), fields["parent"], "parent")
    if fields["prompts"] is not None:
        fields["prompts"] = find_named(Dataset.objects.filter(project=project), fields["prompts"], "prompts")
    return _answer(actions.order(project=project, by=request.user, **fields), status=201)


@extend_schema(responses={200: RoundsOut} | refusals(403, 404))
@in_project(get="read")
def rounds(request: Request, project: Project, pk: str) -> Response:
    """Return rounds: their plan, each round with its cost, ratings and accuracy, and why they stopped."""
    return _answer(_found(project, pk))


@extend_schema(request=None, responses={200: RoundsOut} | refusals(403, 404, 409), parameters=[IDEMPOTENCY_KEY])
@in_project(post="research")
@idempotent()
def pause(request: Request, project: Project, pk: str) -> Response:
    """Pause: runs under way end, and nothing new begins."""
    return _answer(actions.pause(series=_found(project, pk), by=request.user))


@extend_schema(request=None, responses={200: RoundsOut} | refusals(403, 404, 409), parameters=[IDEMPOTENCY_KEY])
@in_project(post="research")
@idempotent(atomic=False)  # it looks at files or ends runs; what is done already is refused
def go_on(request: Request, project: Project, pk: str) -> Response:
    """Go on after a pause."""
    return _answer(actions.go_on(series=_found(project, pk), by=request.user))


@extend_schema(
    request=NewReview, responses={201: RoundsOut} | refusals(400, 403, 404, 409), parameters=[IDEMPOTENCY_KEY]
)
@in_project(post="research")
@idempotent()
def review(request: Request, project: Project, pk: str) -> Response:
    """Say what a look at a round's model has shown; worse stops the rounds."""
    series = _found(project, pk)
    actions.review(series=series, by=request.user, **NewReview.read(request))
    return _answer(_found(project, pk), status=201)


@extend_schema(request=None, responses={200: RoundsRetriedOut} | refusals(403, 404, 409), parameters=[IDEMPOTENCY_KEY])
@in_project(post="research")
@idempotent(atomic=False)  # it looks at files or ends runs; what is done already is refused
def retry(request: Request, project: Project, pk: str) -> Response:
    """Resume the runs that failed, and order again what was refused."""
    count = actions.retry(series=_found(project, pk), by=request.user)
    return Response(RoundsRetriedOut({"retried": count}).data)


@extend_schema(request=None, responses={200: RoundsOut} | refusals(403, 404, 409), parameters=[IDEMPOTENCY_KEY])
@in_project(post="research")
@idempotent(atomic=False)  # it looks at files or ends runs; what is done already is refused
def cancel(request: Request, project: Project, pk: str) -> Response:
    """Cancel rounds and their unfinished runs."""
    return _answer(actions.cancel(series=_found(project, pk), by=request.user))


def _found(project: Project, pk: str) -> RoundSeries:
    return find(project.round_series.select_related("project"), pk, "rounds")


def _answer(series: RoundSeries, status: int = 200) -> Response:
    return Response(RoundsOut(present.as_json(present.shown(series))).data, status=status)
