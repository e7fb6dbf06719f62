"""Language models: list, register, read, enter into an arena."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import DeclaredViewSet
from annotate.core.api.idempotency import idempotent
from annotate.core.api.lookup import find, find_named, find_project, of_values
from annotate.core.api.pagination import Newest
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, PROJECT, refusals
from annotate.core.asgi import waiting
from annotate.core.errors import Refused
from annotate.core.permissions import Person, can, models_seen, projects_where, require
from annotate.language_models.actions import bring_back, enter_arena, leave_arena, prepare_model, retire, share
from annotate.language_models.changes import ModelChange, change
from annotate.language_models.endpoint_check import ask_one_question
from annotate.language_models.model_access import require_talk, researched_home
from annotate.language_models.model_serializers import (
    SETTINGS,
    ArenaEntry,
    CheckedOut,
    ModelChanges,
    ModelOut,
    NewModel,
    OneQuestion,
    Retirement,
    ServingOut,
    SettingsOut,
    Sharing,
)
from annotate.language_models.model_settings import ModelSettings
from annotate.language_models.serving import address_of, load, serving
from annotate.models import LanguageModel, Project, User


class Models(DeclaredViewSet):
    """Read and register models of the projects that you may see: policies and reward models; for researchers also what
    is shared with all."""

    rights: ClassVar = {
        "list": "account",
        "retrieve": "account, read",
        "create": "researcher or staff",
        "enter": "research",
        "leave": "research",
        "retire": "manage or staff",
        "bring_back": "manage or staff",
        "share": "manage or staff",
        "serving": "research",
        "asked_how": "research or staff",
        "ask": "research",
    }

    queryset = LanguageModel.objects.none()
    serializer_class = ModelOut
    pagination_class = Newest

    def get_queryset(self) -> QuerySet[LanguageModel]:
        return models_seen(self.request.user).select_related("made_by", "kept_checkpoint__run")

    @extend_schema(
        responses=ModelOut(many=True),
        parameters=[PROJECT, OpenApiParameter("kind", enum=LanguageModel.Kind.values), OpenApiParameter("name")],
        description="With `project`: only models in its arena.",
    )
    def list(self, request: Request) -> Response:
        rows = self.get_queryset()
        if (slug := request.query_params.get("project")) is not None:
            rows = rows.filter(contests__project=find_project(request.user, slug), contests__left_at=None)
        rows = of_values(rows, request, "kind", "name")
        return self.get_paginated_response(ModelOut(self.paginate_queryset(rows), many=True).data)

    @extend_schema(responses={200: ModelOut} | refusals(404))
    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(ModelOut(find(self.get_queryset(), pk, "model")).data)

    @extend_schema(request=NewModel, responses={201: ModelOut} | refusals(400, 403, 409), parameters=[IDEMPOTENCY_KEY])
    @idempotent(checks_first=True)
    def create(self, request: Request) -> Callable[[], Response]:
        if not (request.user.is_staff or projects_where(request.user, "research").exists()):
            raise Refused(
                403, authorization="Only researchers, managers and staff can register models; ask one of them."
            )
        new_model = NewModel(data=request.data, context={"request": request})
        new_model.is_valid(raise_exception=True)
        fields = dict(new_model.validated_data)
        if fields["parent"] is not None:
            fields["parent"] = find_named(self.get_queryset(), fields["parent"], "parent")
        project = _home(request.user, fields.pop("project", None))
        fields["settings"] = ModelSettings(**{name: fields.pop(name) for name in SETTINGS})
        fields["is_shared"] = _is_shared(request.user, project, fields.pop("is_shared"), fields["key"])
        register = prepare_model(by=request.user, project=project, **fields)
        return lambda: Response(ModelOut(register()).data, status=201)

    @extend_schema(
        request=ArenaEntry, responses={200: ModelOut} | refusals(400, 403, 404, 409), parameters=[IDEMPOTENCY_KEY]
    )
    @action(detail=True, methods=["post"])
    @idempotent()
    def enter(self, request: Request, pk: str) -> Response:
        """Let the model take part in a project's arena."""
        project, model = self._entry(request, pk)
        enter_arena(project=project, model=model, by=request.user)
        return Response(ModelOut(model).data)

    @extend_schema(
        request=ArenaEntry, responses={200: ModelOut} | refusals(400, 403, 404, 409), parameters=[IDEMPOTENCY_KEY]
    )
    @action(detail=True, methods=["post"])
    @idempotent()
    def leave(self, request: Request, pk: str) -> Response:
        """Take the model out of a project's arena; its battles stay."""
        project, model = self._entry(request, pk)
        leave_arena(project=project, model=model, by=request.user)
        return Response(ModelOut(model).data)

    @extend_schema(
        request=Retirement, responses={200: ModelOut} | refusals(400, 403, 404, 409), parameters=[IDEMPOTENCY_KEY]
    )
    @action(detail=True, methods=["post"])
    @idempotent()
    def retire(self, request: Request, pk: str) -> Response:
        """Retire a model: no run and no battle starts with it any more; what points at it stays and counts."""
        retirement = Retirement.read(request)
        model = find(self.get_queryset(), pk, "model")
        return Response(ModelOut(retire(model=model, reason=retirement["reason"], by=request.user)).data)

    @extend_schema(request=None, responses={200: ModelOut} | refusals(403, 404, 409), parameters=[IDEMPOTENCY_KEY])
    @action(detail=True, methods=["post"], url_path="bring-back")
    @idempotent()
    def bring_back(self, request: Request, pk: str) -> Response:
        """Bring a retired model back: it may start runs and battles again."""
        return Response(ModelOut(bring_back(model=find(self.get_queryset(), pk, "model"), by=request.user)).data)

    @extend_schema(
        request=Sharing, responses={200: ModelOut} | refusals(400, 403, 404, 409), parameters=[IDEMPOTENCY_KEY]
    )
    @action(detail=True, methods=["post"])
    @idempotent()
    def share(self, request: Request, pk: str) -> Response:
        """Share the model with all projects, or no longer; what has used it goes on."""
        sharing = Sharing.read(request)
        model = find(self.get_queryset(), pk, "model")
        return Response(ModelOut(share(model=model, by=request.user, **sharing)).data)

    @extend_schema(request=None, responses={200: ServingOut} | refusals(403, 404))
    @action(detail=True, methods=["get", "post"])
    def serving(self, request: Request, pk: str) -> Response:
        """Return whether the model server holds it, and how a program reaches it. POST has it loaded; for
        researchers."""
        model = self._researched(request, pk)
        if request.method == "POST":
            load(model)
        response = serving(model)
        return Response(
            ServingOut(
                {
                    "state": response.state,
                    "said": f"{response.message} {response.problem}".strip(),
                    "base_url": address_of(model),
                    "model": model.server_name,
                }
            ).data
        )

    @extend_schema(request=ModelChanges, responses={200: SettingsOut} | refusals(400, 403, 404, 409))
    @action(detail=True, methods=["get", "patch"], url_path="settings")
    def asked_how(self, request: Request, pk: str) -> Response:
        """Return where and how the model is asked. PATCH changes it: for researchers of its project, and staff."""
        model = self._researched(request, pk, staff_may=True)
        if request.method == "PATCH":
            form = ModelChanges(data=request.data, partial=True)
            form.is_valid(raise_exception=True)
            new = {name: form.validated_data[name] for name in SETTINGS if name in request.data}
            changes = ModelChange(
                endpoint=form.validated_data.get("endpoint", model.endpoint),
                served_name=form.validated_data.get("served_name", model.served_name),
                settings=replace(ModelSettings.of(model), **new),
                key=form.validated_data.get("key"),
            )
            model = change(model=model, change=changes, by=request.user)
        return Response(SettingsOut(model).data)

    @extend_schema(request=OneQuestion, responses={200: CheckedOut} | refusals(400, 403, 404))
    @action(detail=True, methods=["post"])
    def ask(self, request: Request, pk: str) -> Response:
        """Ask the model one question, and say in words what is wrong where it does not answer. For researchers."""
        form = OneQuestion.read(request)
        model, home = self._researched_at_home(request, pk)
        require_talk(request.user, model, home)
        with waiting.aside_in_thread(f"user:{request.user.pk}"):
            checked = ask_one_question(model, home, form["question"])
        return Response(CheckedOut(checked).data)

    def _researched(self, request: Request, pk: str, *, staff_may: bool = False) -> LanguageModel:
        """Return the model to whom researches in a project of it; Refused to others."""
        if staff_may and request.user.is_staff:
            return find(self.get_queryset(), pk, "model")
        return self._researched_at_home(request, pk)[0]

    def _researched_at_home(self, request: Request, pk: str) -> tuple[LanguageModel, Project]:
        """Return the model and the project of it that somebody researches in; Refused to others."""
        model = find(self.get_queryset(), pk, "model")
        return model, researched_home(request.user, model)

    def _entry(self, request: Request, pk: str) -> tuple[Project, LanguageModel]:
        arena_entry = ArenaEntry.read(request)
        project = find_project(request.user, arena_entry["project"])
        self.require_role(project)
        return project, find(self.get_queryset(), pk, "model")


def _home(person: Person, slug: str | None) -> Project | None:
    """Return the project that a new model belongs to; None for what staff register for everybody."""
    if slug is not None:
        project = find_project(person, slug)
        require(person, "research", project)
        return project
    if isinstance(person, User) and person.is_staff:
        return None
    projects = list(projects_where(person, "research")[:2])
    if len(projects) != 1:
        raise Refused(400, project="Send the slug of the project that the model belongs to.")
    return projects[0]


def _is_shared(person: Person, project: Project | None, wants_shared: bool | None, key: str) -> bool:
    """Return whether every project may use a new model. One with a key costs somebody money: only where it is asked."""
    if wants_shared and not (person.is_staff or (project is not None and can(person, "manage", project))):
        raise Refused(
            403, is_shared="Only staff and managers of its project can share a model; leave it out, or ask one of them."
        )
    return project is None and not key.strip() if wants_shared is None else wants_shared
