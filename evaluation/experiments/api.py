"""Experiments for programs: order one, see what came of it, add an exploratory arm, go on, cancel."""

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
from evaluation.experiments import actions, present
from evaluation.experiments.arm_methods import BASE, ORDERED, UNITS
from evaluation.experiments.family_tests import AGAINST_BASELINE, ALL_PAIRS
from evaluation.models import Experiment


class NewArm(Input):
    method = Choice([(name, name) for name in ORDERED])
    name = serializers.CharField(required=False, default="", max_length=60, help_text="Empty: that of its method.")
    config = serializers.DictField(required=False, default=dict, help_text="Options that differ from the defaults.")
    sweep = serializers.DictField(
        child=serializers.ListField(), required=False, default=dict,
        help_text="Option: values. One arm for each combination.",
    )  # fmt: skip
    takes_checkpoints = serializers.BooleanField(
        required=False, default=False,
        help_text="The models of config.kept_checkpoints are rated, too: exploratory arms, no part of the verdict.",
    )  # fmt: skip


class NewBudget(Input):
    unit = Choice([(name, name) for name in UNITS])
    amount = serializers.FloatField(help_text="Of each model.")


class NewExperiment(Input):
    name = serializers.CharField(max_length=60)
    parent = Id(help_text="The model that every arm starts from.")
    dataset = Id(help_text="A frozen dataset of preferences.")
    arms = NewArm(many=True)
    seeds = serializers.IntegerField(required=False, default=3)
    budget = NewBudget(required=False, allow_null=True, default=None)
    reward_model = Id(required=False, allow_null=True, default=None, help_text="null: one is trained where needed.")
    judge = Choice(AnnotatorKind.choices, required=False, default=AnnotatorKind.PERSON)
    baseline = serializers.CharField(required=False, default=BASE, max_length=60)
    family = Choice([(name, name) for name in (AGAINST_BASELINE, ALL_PAIRS)], required=False, default=AGAINST_BASELINE)
    alpha = serializers.FloatField(required=False, default=0.05, help_text="The family-wise error rate.")
    votes_per_pair = serializers.IntegerField(required=False, allow_null=True, default=None)
    until = serializers.DateTimeField(required=False, allow_null=True, default=None, help_text="Instead of votes.")
    completions_per_prompt = serializers.IntegerField(required=False, default=2)
    measures_tax = serializers.BooleanField(required=False, default=False, help_text="Also measure older skills.")


class ArmModelOut(serializers.Serializer):
    seed = serializers.IntegerField()
    model = serializers.IntegerField(allow_null=True)
    state = serializers.CharField()
    problem = serializers.CharField(help_text="Why a run was refused, with the remedy.")
    runs = serializers.ListField(child=serializers.IntegerField())
    measuring_runs = serializers.ListField(
        child=serializers.IntegerField(), help_text="That measure older skills, KL and score."
    )
    kl = serializers.FloatField(allow_null=True, help_text="As the arm's, of this model.")
    score = serializers.FloatField(allow_null=True)


class ArmOut(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    method = serializers.CharField()
    config = serializers.DictField()
    is_exploratory = serializers.BooleanField(help_text="Added after the plan was registered, or a checkpoint.")
    checkpoint_of = serializers.IntegerField(allow_null=True, help_text="The arm whose runs kept it at a `step`.")
    step = serializers.IntegerField(allow_null=True, help_text="null where seeds have steps of their own.")
    seconds = serializers.FloatField(allow_null=True, help_text="Clock seconds to make one model.")
    annotations = serializers.IntegerField(help_text="That it learnt from.")
    kl = serializers.FloatField(
        allow_null=True, help_text="From the parent, nats an answer, of its models' answers in the arena on average; "
        "without limits what training recorded last."
    )  # fmt: skip
    kl_lower = serializers.FloatField(allow_null=True, help_text="Of its 95 % interval over prompts.")
    kl_upper = serializers.FloatField(allow_null=True)
    score = serializers.FloatField(
        allow_null=True, help_text="Above the parent's, in standard deviations of the reward model."
    )
    score_lower = serializers.FloatField(allow_null=True)
    score_upper = serializers.FloatField(allow_null=True)
    tax = serializers.ListField(child=serializers.FloatField(), help_text="Change of accuracy on the suite, by seed.")
    tax_lower = serializers.FloatField(allow_null=True, help_text="Of the 95 % interval of its mean, over items.")
    tax_upper = serializers.FloatField(allow_null=True)
    tax_items = serializers.IntegerField(allow_null=True, help_text="Items of the suite that both models met.")
    models = ArmModelOut(many=True)


class ExperimentOut(serializers.Serializer):
    id = serializers.IntegerField()
    project = serializers.SlugField()
    name = serializers.CharField()
    state = Choice(Experiment.State.choices)
    sentence = serializers.CharField()
    plan = serializers.DictField(help_text="As registered before the first vote.")
    plan_hash = serializers.CharField(help_text="Empty while datasets are frozen that the plan names.")
    foreseen = serializers.ListField(
        child=serializers.CharField(), help_text="What judges of rewards are asked, and what that costs at most."
    )
    parent = serializers.IntegerField()
    dataset = serializers.IntegerField()
    reward_model = serializers.IntegerField(allow_null=True)
    reward_run = serializers.IntegerField(allow_null=True, help_text="That trains it, where none was named.")
    votes = serializers.IntegerField(help_text="Counted votes towards the stopping rule.")
    entered_at = serializers.DateTimeField(allow_null=True)
    decided_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    earlier = serializers.ListField(
        child=serializers.IntegerField(),
        help_text="Experiments on the same parent whose models were in the arena before this one was ordered.",
    )
    freezes = serializers.ListField(
        child=serializers.IntegerField(), help_text="Large datasets that it waits for, of dataset-freezes/."
    )
    verdict = serializers.DictField(allow_null=True, help_text="null before the stopping rule is met.")
    verdict_sentence = serializers.CharField()
    exploratory = serializers.DictField(allow_null=True, help_text="What all votes say, later ones too.")
    arms = ArmOut(many=True)


class ExperimentRow(serializers.ModelSerializer):
    class Meta:
        model = Experiment
        fields = ("id", "name", "state", "plan_hash", "parent", "dataset", "entered_at", "decided_at", "created_at")


class RetriedOut(serializers.Serializer):
    retried = serializers.IntegerField()


@extend_schema(methods=["GET"], responses={200: ExperimentRow(many=True)} | refusals(403, 404))
@extend_schema(
    methods=["POST"], request=NewExperiment, responses={201: ExperimentOut} | refusals(400, 403, 404, 409),
    parameters=[IDEMPOTENCY_KEY],
)  # fmt: skip
@in_project(get="read", post="research")
def experiments(request: Request, project: Project) -> Response:
    """List the experiments of a project, the latest first. POST registers a plan and queues its runs; where
    large datasets are frozen in the background (state `freezing`), both come at the end."""
    if request.method == "POST":
        return _order(request, project)
    return Response(ExperimentRow(project.experiments.all(), many=True).data)


@idempotent(atomic=False)  # it freezes datasets; a name that is taken is refused
def _order(request: Request, project: Project) -> Response:
    fields = NewExperiment.read(request)
    usable = LanguageModel.objects.usable_in(project)
    fields["parent"] = find_named(usable, fields["parent"], "parent")
    fields["dataset"] = find_named(Dataset.objects.filter(project=project), fields["dataset"], "dataset")
    if fields["reward_model"] is not None:
        fields["reward_model"] = find_named(usable, fields["reward_model"], "reward_model")
    experiment = actions.order(project=project, by=request.user, **fields)
    return Response(ExperimentOut(present.as_json(present.shown(experiment))).data, status=201)


@extend_schema(responses={200: ExperimentOut} | refusals(403, 404))
@in_project(get="read")
def experiment(request: Request, project: Project, pk: str) -> Response:
    """Return an experiment: its plan, its arms, and the verdict once the plan's rule has stopped it."""
    row = find(project.experiments.all(), pk, "experiment")
    return Response(ExperimentOut(present.as_json(present.shown(row))).data)


@extend_schema(
    request=NewArm, responses={201: ExperimentOut} | refusals(400, 403, 404, 409), parameters=[IDEMPOTENCY_KEY]
)
@in_project(post="research")
def arms(request: Request, project: Project, pk: str) -> Response:
    """Add an exploratory arm: trained and rated as the others, and no part of the verdict."""
    return _add(request, find(project.experiments.all(), pk, "experiment"))


@idempotent(atomic=False)  # likewise
def _add(request: Request, row: Experiment) -> Response:
    actions.add_arm(experiment=row, by=request.user, arm=NewArm.read(request))
    row.refresh_from_db()
    return Response(ExperimentOut(present.as_json(present.shown(row))).data, status=201)


@extend_schema(request=None, responses={200: RetriedOut} | refusals(403, 404, 409), parameters=[IDEMPOTENCY_KEY])
@in_project(post="research")
@idempotent(atomic=False)  # it looks at files or ends runs; what is done already is refused
def retry(request: Request, project: Project, pk: str) -> Response:
    """Resume the runs that failed, and order again what was refused."""
    row = find(project.experiments.all(), pk, "experiment")
    return Response(RetriedOut({"retried": actions.retry(experiment=row, by=request.user)}).data)


@extend_schema(request=None, responses={200: ExperimentOut} | refusals(403, 404, 409), parameters=[IDEMPOTENCY_KEY])
@in_project(post="research")
@idempotent(atomic=False)  # it looks at files or ends runs; what is done already is refused
def cancel(request: Request, project: Project, pk: str) -> Response:
    """Cancel an experiment, its unfinished runs and what is frozen for it."""
    row = actions.cancel(experiment=find(project.experiments.all(), pk, "experiment"), by=request.user)
    return Response(ExperimentOut(present.as_json(present.shown(row))).data)
