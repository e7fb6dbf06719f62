"""The decision for programs: rule, candidates, history, what is served, what to ask next, costs, notices."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import allows, in_project
from annotate.core.api.idempotency import idempotent
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, Choice, Id, Input, refusals
from annotate.core.errors import Refused
from annotate.models import AnnotatorKind, Project, Split, User
from evaluation.core import notices
from evaluation.leaderboard.snapshots import current, default_annotator_kind
from evaluation.models import Decision, Notice, PromotionRule
from evaluation.promotion import actions, candidate_review, disputed_items
from evaluation.promotion import arena_sampling as sampling
from evaluation.promotion.api.promotions import PromotionOut
from evaluation.promotion.candidate_review import candidates
from evaluation.promotion.enrolment import annotator_kind_of
from evaluation.registry.cost import Cost, costs

MOST = 500


class ToleranceField(Input):
    task = serializers.CharField(max_length=200)
    metric = serializers.CharField(max_length=60)
    worst = serializers.FloatField(
        min_value=0, help_text="The maximum loss compared with the parent, in the metric's unit."
    )


class NewRule(Input):
    judge = Choice(AnnotatorKind.choices, required=False, default=AnnotatorKind.PERSON)
    margin = serializers.FloatField(required=False, default=0.0, min_value=0, max_value=actions.MOST_POINTS)
    always_valid = serializers.BooleanField(required=False, default=True)
    first_votes_only = serializers.BooleanField(required=False, default=True)
    fewest_votes = serializers.IntegerField(required=False, default=0, min_value=0, max_value=1_000_000_000)
    beats_champion = serializers.BooleanField(required=False, default=True)
    tolerances = ToleranceField(many=True, required=False, default=list)
    is_automatic = serializers.BooleanField(required=False, default=False)
    sampling = Choice(PromotionRule.Sampling.choices, required=False, default=PromotionRule.Sampling.AUTO)


class RuleOut(serializers.ModelSerializer):
    in_words = serializers.SerializerMethodField()

    class Meta:
        model = PromotionRule
        fields = (
            *("id", "judge", "margin", "always_valid", "first_votes_only", "fewest_votes", "beats_champion"),
            *("tolerances", "is_automatic", "sampling", "in_words", "created_at"),
        )

    def get_in_words(self, rule: PromotionRule) -> str:
        return actions.in_words(rule)


class CheckOut(serializers.Serializer):
    name = serializers.CharField()
    title = serializers.CharField()
    state = serializers.ChoiceField(["met", "not yet", "broken"])
    sentence = serializers.CharField()
    more = serializers.CharField(help_text="The evidence that would decide it; empty if it is decided.")
    numbers = serializers.DictField()


class CandidacyOut(serializers.Serializer):
    id = serializers.IntegerField(source="candidacy.pk")
    model = serializers.IntegerField(source="candidacy.model_id")
    model_name = serializers.CharField(source="candidacy.model.name")
    run = serializers.IntegerField(source="candidacy.run_id", allow_null=True)
    state = serializers.CharField(source="candidacy.state")
    checks = CheckOut(many=True)
    created_at = serializers.DateTimeField(source="candidacy.created_at")
    changed_at = serializers.DateTimeField(source="candidacy.changed_at")


class DecisionOut(serializers.ModelSerializer):
    model = serializers.IntegerField(source="candidacy.model_id", default=None, allow_null=True)
    by_rule = serializers.SerializerMethodField(help_text="true: automatic; false: a person decided.")

    class Meta:
        model = Decision
        fields = ("id", "what", "sentence", "model", "candidacy", "rule", "evidence", "by_rule", "created_at")

    def get_by_rule(self, decision: Decision) -> bool:
        return decision.by_id is None


class RateOut(serializers.Serializer):
    model_a = serializers.CharField(source="a.name")
    model_b = serializers.CharField(source="b.name")
    probability = serializers.FloatField(help_text="The probability of the next battle; all pairs sum to 1.")
    why = serializers.CharField(help_text="Why it is drawn more often; usually empty.")


class DisputeOut(serializers.Serializer):
    item = serializers.CharField(source="key", help_text="The key for POST.")
    prompt = serializers.IntegerField(source="prompt.pk")
    completions = serializers.SerializerMethodField()
    between = serializers.CharField()
    width = serializers.FloatField(help_text="0: no disagreement; near 1: an even split of many.")
    judged = serializers.IntegerField()
    reason = serializers.CharField()

    def get_completions(self, dispute: disputed_items.Dispute) -> list[int]:
        return [completion.pk for completion in dispute.completions]


class AskAgain(Input):
    chosen = serializers.ListField(child=serializers.CharField(max_length=60), min_length=1)
    more = serializers.IntegerField(required=False, default=disputed_items.MORE_JUDGES, min_value=1, max_value=100)


class AskedAgainOut(serializers.Serializer):
    asked = serializers.IntegerField()
    waiting = serializers.IntegerField(help_text="Items that were asked again and wait for annotators.")


class IntervalOut(serializers.Serializer):
    value = serializers.FloatField()
    lower = serializers.FloatField()
    upper = serializers.FloatField()


class CostOut(serializers.Serializer):
    model = serializers.IntegerField(source="model.pk")
    model_name = serializers.CharField(source="model.name")
    parent = serializers.CharField(source="parent.name", default=None, allow_null=True)
    runs = serializers.SerializerMethodField()
    cpu_seconds = serializers.FloatField()
    wall_seconds = serializers.FloatField()
    votes = serializers.IntegerField()
    gain = IntervalOut(allow_null=True, help_text="Rating points above its parent.")
    seconds_per_point = IntervalOut(allow_null=True)
    votes_per_point = IntervalOut(allow_null=True)
    why_no_price = serializers.CharField()

    def get_runs(self, cost: Cost) -> list[int]:
        return [run.pk for run in cost.runs]


class RollBack(Input):
    reason = serializers.CharField(max_length=actions.LONGEST_REASON)
    promotion = serializers.IntegerField(
        required=False, min_value=1, help_text="The one in force when you decided; refused where another is by now."
    )


class NoticeOut(serializers.ModelSerializer):
    project = serializers.SlugField(source="project.slug")

    class Meta:
        model = Notice
        fields = ("id", "project", "text", "url", "created_at", "seen_at")


class SeenIn(Input):
    ids = serializers.ListField(child=Id(), required=False, allow_null=True, default=None, help_text="None: all.")


class SeenOut(serializers.Serializer):
    seen = serializers.IntegerField()


@extend_schema(methods=["GET"], responses={200: RuleOut(many=True)} | refusals(404))
@extend_schema(
    methods=["POST"], request=NewRule, responses={201: RuleOut} | refusals(400, 403, 404),
    parameters=[IDEMPOTENCY_KEY],
)  # fmt: skip
@in_project(get="account, read", post="manage")
def promotion_rule(request: Request, project: Project) -> Response:
    """List every version of the rule, the one in force first. POST, as a manager, makes a new version."""
    if request.method == "POST":
        return _new_rule(request, project)
    return Response(RuleOut(project.promotion_rules.all(), many=True).data)


@idempotent()
def _new_rule(request: Request, project: Project) -> Response:
    fields = NewRule.read(request)
    tolerances = [dict(row) for row in fields.pop("tolerances")]
    rule = actions.set_rule(project=project, by=_user(request), tolerances=tolerances, **fields)
    return Response(RuleOut(rule).data, status=201)


@extend_schema(responses={200: CandidacyOut(many=True)} | refusals(404))
@in_project(get="read")
def candidacies(request: Request, project: Project) -> Response:
    """List candidates for promotion, with every check of the rule as it is now. Promote one: POST promotions/."""
    candidate_review.look(project)
    return Response(CandidacyOut(candidates(project), many=True).data)


@extend_schema(responses={200: DecisionOut(many=True)} | refusals(404))
@in_project(get="read")
def decisions(request: Request, project: Project) -> Response:
    """List the history, the latest first: what was found or done, and the numbers it was found on."""
    rows = project.decisions.select_related("candidacy")[:MOST]
    return Response(DecisionOut(rows, many=True).data)


@extend_schema(
    request=RollBack, responses={201: PromotionOut} | refusals(400, 403, 404, 409),
    parameters=[IDEMPOTENCY_KEY],
)  # fmt: skip
@in_project(post="manage")
def roll_back(request: Request, project: Project) -> Response:
    """Serve again what was served before, as a manager."""
    current(project=project, judge=annotator_kind_of(project))  # fitted before the transaction, where it is found again
    return _roll_back(request, project)


@idempotent()
def _roll_back(request: Request, project: Project) -> Response:
    promotion = actions.roll_back(project=project, by=_user(request), **RollBack.read(request))
    return Response(PromotionOut(promotion).data, status=201)


@extend_schema(responses={200: RateOut(many=True)} | refusals(404))
@in_project(get="read")
def sampling_rates(request: Request, project: Project) -> Response:
    """Return how likely each pair of the arena is to be the next battle: these are the very rates that are drawn by."""
    return Response(RateOut(sampling.rates(project), many=True).data)


@extend_schema(
    methods=["GET"], responses={200: DisputeOut(many=True)} | refusals(400, 403, 404),
    parameters=[OpenApiParameter("side", enum=Split.values), OpenApiParameter("judge", enum=AnnotatorKind.values)],
)  # fmt: skip
@extend_schema(
    methods=["POST"], request=AskAgain, responses={201: AskedAgainOut} | refusals(400, 403, 404, 409),
    parameters=[IDEMPOTENCY_KEY],
)  # fmt: skip
@in_project(get="review", post="research")
def ask_next_items(request: Request, project: Project) -> Response:
    """List items on which annotators disagree, the widest first. POST puts items of the train split first in the queue
    again."""
    if request.method == "POST":
        return _ask_again(request, project)
    side = _one_of(request, "side", Split.values, Split.TRAIN)
    judge = _one_of(request, "judge", AnnotatorKind.values, default_annotator_kind(project))
    return Response(DisputeOut(disputed_items.disputes(project, side, judge), many=True).data)


@idempotent()
def _ask_again(request: Request, project: Project) -> Response:
    fields = AskAgain.read(request)
    asked_items = disputed_items.ask_again(
        project=project, keys=fields["chosen"], by=_user(request), more=fields["more"]
    )
    return Response({"asked": len(asked_items), "waiting": disputed_items.waiting(project)}, status=201)


@extend_schema(responses={200: CostOut(many=True)} | refusals(404))
@in_project(get="read")
def cost_list(request: Request, project: Project) -> Response:
    """List what each model has cost since its parent, and a rating point with it."""
    board = current(project=project, judge=annotator_kind_of(project))
    return Response(CostOut(costs(project, board), many=True).data)


@extend_schema(responses={200: NoticeOut(many=True)}, parameters=[OpenApiParameter("unseen", bool)])
@allows(get="account")
def notice_list(request: Request) -> Response:
    """List your notices, the latest first; `?unseen=1` for what you have not seen."""
    rows = _user(request).notices.select_related("project")
    if request.query_params.get("unseen") in ("1", "true"):
        rows = rows.filter(seen_at=None)
    return Response(NoticeOut(rows[:MOST], many=True).data)


@extend_schema(request=SeenIn, responses={200: SeenOut} | refusals(400))
@allows(post="account")
def notices_seen(request: Request) -> Response:
    """Mark notices as seen; how many were new."""
    return Response({"seen": notices.mark_seen(user=_user(request), ids=SeenIn.read(request)["ids"])})


def _user(request: Request) -> User:
    assert isinstance(request.user, User), "these addresses are for who is signed in"
    return request.user


def _one_of(request: Request, name: str, values: list[str], default: str) -> str:
    value = request.query_params.get(name) or default
    if value not in values:
        raise Refused(400, **{name: f"{value!r} is unknown; use {' or '.join(values)}."})
    return value
