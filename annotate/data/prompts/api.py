"""Prompts and completions: list, create one or many, read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.db import transaction
from django.db.models import Q, QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import DeclaredViewSet
from annotate.core.api.auto_schema import one_or_many
from annotate.core.api.bulk import read_one_or_many, written
from annotate.core.api.idempotency import Work, idempotent
from annotate.core.api.lookup import find, find_all, find_project, of_project, of_values
from annotate.core.api.pagination import Oldest, Searched
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, PROJECT, Choice, Id, Input, Turn, refusals
from annotate.core.errors import Refused
from annotate.core.permissions import models_seen, projects_where
from annotate.data.prompts import editing, listing, retirement
from annotate.data.prompts.actions import NewCompletion, NewPrompt, add_prompts, prepare_completions
from annotate.models import Completion, LanguageModel, Project, Prompt, Split
from annotate.models.prompts import ASKED_BY_PEOPLE, reserved_problem
from annotate.projects.wellbeing.api import SHOW_HARMFUL, WITHHELD, context_of
from common.languages import language_tags

_ANSWER = "The right answer, which rewards of runs compare with."
_LANGUAGE = "A BCP 47 tag, such as de or pt-BR; empty: for everybody."


class Source(serializers.CharField):
    """Take where a row comes from, by the rule of imports: what is asked and judged here has sources of its own."""

    def to_internal_value(self, data: Any) -> str:
        source = super().to_internal_value(data)
        if problem := reserved_problem(source):
            raise serializers.ValidationError(problem)
        return source


class PromptIn(Input):
    project = serializers.SlugField(max_length=50)
    messages = Turn(many=True, required=False, help_text="A conversation that ends with the user's turn.")
    text = serializers.CharField(required=False, trim_whitespace=False, help_text="Instead of messages: one question.")
    category = serializers.CharField(required=False, default="", allow_blank=True, max_length=60)
    language = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=language_tags.LONGEST, help_text=_LANGUAGE
    )
    answer = serializers.CharField(required=False, default="", allow_blank=True, help_text=_ANSWER)
    source = Source(required=False, default="API", allow_blank=True, max_length=200)

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        if ("text" in fields) == ("messages" in fields):
            raise serializers.ValidationError({"messages": "Send either messages or text."})
        if "text" in fields:
            fields["messages"] = [{"role": "user", "content": fields.pop("text")}]
        return fields


class PromptOut(serializers.ModelSerializer):
    project = serializers.SlugField(source="project.slug")
    messages = serializers.SerializerMethodField()
    withheld = serializers.SerializerMethodField(help_text=WITHHELD)
    answer = serializers.SerializerMethodField(help_text=f"{_ANSWER} Only for researchers.")
    retired_at = serializers.DateTimeField(source="out_since", allow_null=True, help_text="Since when it is retired.")
    retired_reason = serializers.CharField(source="out_reason")
    replaced_by = serializers.IntegerField(
        source="replaced_by_id", allow_null=True, help_text="The prompt that is its newer version."
    )

    class Meta:
        model = Prompt
        fields = (
            *("id", "project", "messages", "category", "language", "harm", "withheld", "side", "source", "created_at"),
            *("answer", "retired_at", "retired_reason", "replaced_by"),
        )

    @extend_schema_field(Turn(many=True))
    def get_messages(self, prompt: Prompt) -> list[dict[str, str]]:
        return [] if self.get_withheld(prompt) else prompt.messages

    def get_answer(self, prompt: Prompt) -> str:
        may_read = prompt.project_id in self.context["reader"].researches and not self.get_withheld(prompt)
        return prompt.answer if may_read else ""

    def get_withheld(self, prompt: Prompt) -> str:
        return self.context["reader"].withholds(prompt)


class PromptChange(Input):
    messages = Turn(many=True, required=False, help_text="The whole conversation; it ends with the user's turn.")
    text = serializers.CharField(required=False, trim_whitespace=False, help_text="Instead of messages: one question.")
    category = serializers.CharField(required=False, allow_blank=True, max_length=editing.LONGEST_CATEGORY)
    language = serializers.CharField(
        required=False, allow_blank=True, max_length=language_tags.LONGEST, help_text=_LANGUAGE
    )
    answer = serializers.CharField(required=False, allow_blank=True, help_text=_ANSWER)
    retired = serializers.BooleanField(required=False, help_text="true: annotators no longer get it.")
    reason = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=200, help_text="Why it is retired."
    )

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        if "text" in fields:
            if "messages" in fields:
                raise serializers.ValidationError({"messages": "Send either messages or text."})
            fields["messages"] = [{"role": "user", "content": fields.pop("text")}]
        return fields


class CompletionIn(Input):
    prompt = Id()
    model = Id(required=False, allow_null=True, default=None, help_text="null: the author is unknown.")
    text = serializers.CharField(trim_whitespace=False, allow_blank=True)
    sampling = serializers.DictField(required=False, default=dict, help_text="temperature, top_p, max_new_tokens")
    seed = serializers.IntegerField(required=False, allow_null=True, default=None, min_value=0, max_value=2**63 - 1)
    tokens = serializers.IntegerField(required=False, allow_null=True, default=None, min_value=0, max_value=2**31 - 1)
    finish_reason = Choice(["", "stop", "length"], required=False, default="")
    source = Source(required=False, default="API", allow_blank=True, max_length=200)


class CompletionOut(serializers.ModelSerializer):
    text = serializers.SerializerMethodField()
    reasoning = serializers.SerializerMethodField(
        help_text="The model's reasoning before the answer; only for researchers."
    )
    withheld = serializers.SerializerMethodField(help_text=WITHHELD)

    class Meta:
        model = Completion
        fields = (
            *("id", "prompt", "model", "text", "withheld", "sampling", "seed", "tokens", "finish_reason", "source"),
            *("reasoning", "created_at"),
        )

    def get_reasoning(self, completion: Completion) -> str:
        if not completion.reasoning or self.get_withheld(completion):
            return ""
        return completion.reasoning if completion.prompt.project_id in self.context["reader"].researches else ""

    def get_text(self, completion: Completion) -> str:
        return "" if self.get_withheld(completion) else completion.text

    def get_withheld(self, completion: Completion) -> str:
        return self.context["reader"].withholds(completion.prompt)


class Prompts(DeclaredViewSet):
    """Read and create prompts of the projects that you may see. What others asked in the arena, or to red-team a model,
    is for those who may review; of what is about harm the messages are withheld unless asked for."""

    rights: ClassVar = {
        "list": "account",
        "retrieve": "account, read",
        "create": "research",
        "partial_update": "research",
    }

    queryset = Prompt.objects.none()
    serializer_class = PromptOut
    pagination_class = Searched

    def get_queryset(self) -> QuerySet[Prompt]:
        user = self.request.user
        asked_by_others = (
            Q(source__in=ASKED_BY_PEOPLE) & ~Q(created_by=user) & ~Q(project__in=projects_where(user, "review"))
        )
        visible = Prompt.objects.filter(project__in=projects_where(user, "read")).exclude(asked_by_others)
        return visible.select_related("project")

    def _out(self, rows: Any, *, many: bool = False) -> Any:
        return PromptOut(rows, many=many, context=context_of(self.request)).data

    @extend_schema(
        responses=PromptOut(many=True),
        parameters=[
            PROJECT,
            OpenApiParameter("side", enum=Split.values),
            OpenApiParameter("category"),
            OpenApiParameter("language", description="Its tag, such as de."),
            OpenApiParameter("retired", bool, description="true: only retired prompts; false: without them."),
            OpenApiParameter(
                "search",
                description="Words in one of the first turns. A page looks through 20,000 prompts: one with few, "
                "or none, may have a next one.",
            ),
            SHOW_HARMFUL,
        ],
    )
    def list(self, request: Request) -> Response:
        rows = of_project(self.get_queryset(), request)
        rows = of_values(rows, request, "side", "category", "language")
        state = {"true": listing.RETIRED, "false": listing.ACTIVE}.get(request.query_params.get("retired", "").lower())
        search = request.query_params.get("search", "").replace("\x00", "")
        if search:
            rows = self.paginator.within(rows, request, listing.SEARCHED)
        rows = listing.filtered(rows, listing.Filters(search=search, state=state or listing.ALL))
        return self.get_paginated_response(self._out(self.paginate_queryset(rows), many=True))

    @extend_schema(responses={200: PromptOut} | refusals(404), parameters=[SHOW_HARMFUL])
    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(self._out(find(self.get_queryset(), pk, "prompt")))

    @extend_schema(
        request=one_or_many(PromptIn),
        responses={201: one_or_many(PromptOut)} | refusals(400, 403, 404, 413),
        parameters=[IDEMPOTENCY_KEY],
        description="One prompt or a list; if one row is wrong, none is created. If a text exists already, "
        "the existing prompt is returned.",
    )
    def create(self, request: Request) -> Response:
        rows, is_list = read_one_or_many(PromptIn, request.data)
        slugs = {row["project"] for row in rows}
        if len(slugs) > 1:
            raise Refused(
                400, project="All rows of a request must be in one project; send one request for each project."
            )
        project = find_project(request.user, slugs.pop())
        self.require_role(project)
        new = [
            NewPrompt(row["messages"], row["category"], row["source"], language=row["language"], answer=row["answer"])
            for row in rows
        ]
        return self._add(request, project, new, is_list)

    @extend_schema(request=PromptChange, responses={200: PromptOut} | refusals(400, 403, 404, 409, 413))
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change text, category, language or right answer, retire the prompt, or bring it back.

        Where answers, annotations or datasets depend on it, another text makes a new prompt: that one is answered, and
        the old one is retired with `replaced_by`.
        """
        fields = PromptChange.read(request)
        prompt = find(self.get_queryset(), pk, "prompt")
        self.require_role(prompt.project)
        retired, reason = fields.pop("retired", None), fields.pop("reason")
        with transaction.atomic():
            if retired is False:
                prompt = retirement.decide(prompt=prompt, by=request.user, take_out=False)
            if fields:
                prompt = editing.edit_prompt(prompt=prompt, by=request.user, **fields).prompt
            if retired:
                prompt = retirement.decide(prompt=prompt, by=request.user, take_out=True, reason=reason)
        return Response(self._out(prompt))

    @idempotent(atomic=False)  # a second time the same prompts are found
    def _add(self, request: Request, project: Project, new: Sequence[NewPrompt], is_list: bool) -> Response:
        with written(is_list):
            prompts = add_prompts(project=project, rows=new, by=request.user)
        data = self._out(prompts, many=True)
        return Response(data if is_list else data[0], status=201)


class Completions(DeclaredViewSet):
    """Read and create completions with their models, for those who may review: annotators judge blind. What answers a
    prompt about harm has its text withheld unless asked for."""

    rights: ClassVar = {
        "list": "account",
        "retrieve": "review",
        "create": "research",
    }

    queryset = Completion.objects.none()
    serializer_class = CompletionOut
    pagination_class = Oldest

    def get_queryset(self) -> QuerySet[Completion]:
        reviewed = projects_where(self.request.user, "review")
        return Completion.objects.filter(prompt__project__in=reviewed).select_related("prompt__project")

    def _out(self, rows: Any, *, many: bool = False) -> Any:
        return CompletionOut(rows, many=many, context=context_of(self.request)).data

    @extend_schema(
        responses=CompletionOut(many=True),
        parameters=[PROJECT, OpenApiParameter("prompt", int), OpenApiParameter("model", int), SHOW_HARMFUL],
    )
    def list(self, request: Request) -> Response:
        rows = of_project(self.get_queryset(), request, "prompt__project")
        if "prompt" in request.query_params:
            prompts = Prompt.objects.filter(project__in=projects_where(request.user, "review"))
            rows = rows.filter(prompt=find(prompts, request.query_params["prompt"], "prompt"))
        if "model" in request.query_params:
            rows = rows.filter(model=find(models_seen(request.user), request.query_params["model"], "model"))
        return self.get_paginated_response(self._out(self.paginate_queryset(rows), many=True))

    @extend_schema(responses={200: CompletionOut} | refusals(404), parameters=[SHOW_HARMFUL])
    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(self._out(find(self.get_queryset(), pk, "completion")))

    @extend_schema(
        request=one_or_many(CompletionIn),
        responses={201: one_or_many(CompletionOut)} | refusals(400, 403, 404, 413),
        parameters=[IDEMPOTENCY_KEY],
        description="One completion or a list; a list is created completely or not at all.",
    )
    def create(self, request: Request) -> Response:
        rows, is_list = read_one_or_many(CompletionIn, request.data)
        prompts = find_all(
            Prompt.objects.filter(project__in=projects_where(request.user, "research")), {row["prompt"] for row in rows}
        )
        models = find_all(
            models_seen(request.user).filter(kind=LanguageModel.Kind.POLICY),
            {row["model"] for row in rows if row["model"]},
        )
        with written(is_list):
            new = [_new(row, i, prompts, models) for i, row in enumerate(rows)]
        return self._add(request, new, is_list)

    @idempotent(checks_first=True)
    def _add(self, request: Request, new: Sequence[NewCompletion], is_list: bool) -> Work:
        with written(is_list):
            add = prepare_completions(rows=new)

        def work() -> Response:
            data = self._out(add(), many=True)
            return Response(data if is_list else data[0], status=201)

        return work


def _new(
    row: dict[str, Any], index: int, prompts: dict[int, Prompt], models: dict[int, LanguageModel]
) -> NewCompletion:
    if row["prompt"] not in prompts:
        raise Refused(
            400,
            **{
                f"{index}.prompt": f"There is no prompt {row['prompt']}, or you may not add completions to its project."
            },
        )
    if row["model"] and row["model"] not in models:
        raise Refused(400, **{f"{index}.model": f"There is no policy model {row['model']}; GET models/ lists them."})
    fields = {**row, "prompt": prompts[row["prompt"]], "model": models.get(row["model"])}
    return NewCompletion(**fields)
