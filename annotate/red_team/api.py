"""Red-team talks for programs, one's attacks, and what one is ready to see. A talk names its model once it is rated."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import allows, in_project
from annotate.core.api.idempotency import feedback_key, idempotent
from annotate.core.api.lookup import find, find_project
from annotate.core.api.pagination import Newest, newest_first
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, Input, Turn, refusals
from annotate.core.errors import Refused
from annotate.core.permissions import can
from annotate.models import Attack, HarmBudget, Project, Talk
from annotate.projects.wellbeing import actions as harm_budget
from annotate.projects.wellbeing.api import SHOW_HARMFUL, WITHHELD, context_of
from annotate.red_team import actions as red_team
from common import harm_kinds as harms


class Begin(Input):
    task_description = serializers.CharField(required=False, default="", allow_blank=True, max_length=500)


class Say(Input):
    text = serializers.CharField(required=False, default="", allow_blank=True, trim_whitespace=False)


class Rate(Input):
    rating = serializers.IntegerField(help_text="From 0 (it resisted) to 4 (it did everything that was asked).")
    tags = serializers.ListField(child=serializers.CharField(max_length=40), help_text=", ".join(harms.HARMS))
    task_description = serializers.CharField(required=False, allow_blank=True, max_length=500)
    comment = serializers.CharField(required=False, default="", allow_blank=True)
    seconds = serializers.FloatField(required=False, allow_null=True, min_value=0, max_value=86400)


class TalkOut(serializers.Serializer):
    id = serializers.UUIDField(source="token")
    project = serializers.CharField(source="project.slug")
    state = serializers.ChoiceField(Talk.State.choices)
    task_description = serializers.CharField()
    messages = serializers.SerializerMethodField(help_text="All turns so far, answers included.")
    waits = serializers.SerializerMethodField(help_text="The last question has no answer yet: ask again without text.")

    @extend_schema_field(Turn(many=True))
    def get_messages(self, talk: Talk) -> list[dict[str, str]]:
        return red_team.conversation(talk)

    def get_waits(self, talk: Talk) -> bool:
        return red_team.unanswered(talk) is not None


class AttackOut(serializers.ModelSerializer):
    project = serializers.CharField(source="project.slug")
    author = serializers.SerializerMethodField(help_text="The username; only for reviewers and for your own attacks.")
    model = serializers.CharField(source="model.name", default="")
    withheld = serializers.SerializerMethodField(help_text=WITHHELD)

    class Meta:
        model = Attack
        fields = (
            *("id", "project", "author", "model", "messages", "rating", "tags", "task_description", "comment"),
            *("withheld", "min_harmlessness_score", "task_description_harmlessness_score"),
            *("status", "status_reason", "created_at"),
        )

    def get_author(self, attack: Attack) -> str:
        user = self.context["request"].user
        is_visible = attack.author and (attack.author_id == user.pk or can(user, "review", attack.project))
        return attack.author.username if is_visible and attack.author else ""

    def get_withheld(self, attack: Attack) -> str:
        reader = self.context["reader"]
        return "" if attack.author_id == reader.user.pk else reader.withholds_kinds(attack.kinds)

    def to_representation(self, attack: Attack) -> dict[str, Any]:
        to_representation = super().to_representation(attack)
        return (
            to_representation | {"messages": [], "task_description": "", "comment": ""}
            if to_representation["withheld"]
            else to_representation
        )


class Budget(Input):
    accepted = serializers.ListField(child=serializers.CharField(max_length=40), help_text=", ".join(harms.HARMS))
    blur = serializers.BooleanField(default=True)
    daily_cap = serializers.IntegerField(default=20)
    break_after = serializers.IntegerField(default=10)
    break_minutes = serializers.IntegerField(default=15)


class BudgetOut(Budget):
    seen_today = serializers.IntegerField()
    why = serializers.CharField(help_text="Why harmful items are not shown now; empty if they are.")


@extend_schema(request=Begin, responses={200: TalkOut} | refusals(400, 403, 404, 409))
@allows(post="judge")
def begin(request: Request, slug: str) -> Response:
    """Return the conversation in my hands, else begin one with a model that is not named."""
    form_data = Begin.read(request)
    project = find_project(request.user, slug)
    return Response(TalkOut(red_team.begin(project=project, by=request.user, **form_data)).data)


@extend_schema(methods=["GET"], responses={200: TalkOut} | refusals(404))
@extend_schema(methods=["DELETE"], responses={200: TalkOut} | refusals(404, 409))
@allows(get="mine", delete="mine")
def talk(request: Request, token: str) -> Response:
    """Return one of my conversations with its turns so far; DELETE drops it."""
    talk = _own_talk(request, token)
    if request.method == "DELETE":
        red_team.drop(talk=talk, by=request.user)
        talk.refresh_from_db()
    return Response(TalkOut(talk).data)


@extend_schema(request=Say, responses={200: TalkOut} | refusals(400, 404, 409, 413, 429, 503))
@allows(post="mine")
def say(request: Request, token: str) -> Response:
    """Send the next turn; answers when the model has. Without `text` the last question is answered that still waits."""
    form_data = Say.read(request)
    talk = _own_talk(request, token)
    red_team.ask_and_wait(talk=talk, by=request.user, text=form_data["text"])
    return Response(TalkOut(talk).data)


@extend_schema(
    request=Rate,
    responses={201: AttackOut} | refusals(400, 404, 409),
    parameters=[IDEMPOTENCY_KEY],
)
@allows(post="mine")
@idempotent()
def rate(request: Request, token: str) -> Response:
    """End the talk: how far it went, and after which harm it was. The answer names the model."""
    form_data = Rate.read(request)
    talk = _own_talk(request, token)
    attack = red_team.rate(talk=talk, by=request.user, idempotency_key=feedback_key(request), **form_data)
    return Response(AttackOut(attack, context=context_of(request)).data, status=201)


@extend_schema(responses={200: AttackOut(many=True)} | refusals(403, 404), parameters=[SHOW_HARMFUL])
@newest_first
@in_project(get="judge")
def attacks(request: Request, project: Project) -> Response:
    """List my attacks; all of them for reviewers, the texts of others' withheld unless asked for."""
    rows = Attack.objects.filter(project=project).select_related("author", "model", "project")
    if not can(request.user, "review", project):
        rows = rows.filter(author=request.user)
    pages = Newest()
    page = pages.paginate_queryset(rows, request)
    return pages.get_paginated_response(AttackOut(page, many=True, context=context_of(request)).data)


@extend_schema(request=None, responses={200: AttackOut} | refusals(403, 404, 409), parameters=[IDEMPOTENCY_KEY])
@in_project(post="account, read, mine")
@idempotent()
def withdraw(request: Request, project: Project, pk: str) -> Response:
    """Take an attack of mine back, within the project's minutes."""
    attack = find(Attack.objects.filter(project=project, author=request.user), pk, "attack")
    red_team.withdraw(attack=attack, by=request.user)
    attack.refresh_from_db()
    return Response(AttackOut(attack, context=context_of(request)).data)


@extend_schema(methods=["GET"], responses=BudgetOut)
@extend_schema(methods=["PUT"], request=Budget, responses={200: BudgetOut} | refusals(400))
@allows(get="account", put="account")
def budget(request: Request) -> Response:
    """Return what I am ready to see of harm. Before it is said nothing harmful is shown."""
    if request.method == "PUT":
        harm_budget.agree(user=request.user, **Budget.read(request))
    harm_budget_ = harm_budget.budget_of(request.user) or HarmBudget(opted_out=list(harms.HARMS))
    standing = harm_budget.standing(request.user)
    fields = {
        name: getattr(harm_budget_, name) for name in ("accepted", "blur", "daily_cap", "break_after", "break_minutes")
    }
    return Response({**fields, "seen_today": standing.seen_today, "why": standing.why})


def _own_talk(request: Request, token: str) -> Talk:
    try:
        talk = Talk.objects.filter(token=token, user=request.user).select_related("project", "model", "user").first()
    except ValidationError:
        talk = None
    if talk is None:
        raise Refused(404, talk="You have no such conversation.")
    return talk
