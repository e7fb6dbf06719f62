"""The playground: a researcher talks with a model by name, beside another one if wished. Nothing is kept unasked."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any, cast

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache

from annotate.core.asgi import waiting
from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, PageRequest, allows, in_project, refused_page
from annotate.core.permissions import Person
from annotate.data.prompts.actions import add_prompt
from annotate.language_models import model_server, model_server_errors, serving
from annotate.language_models.default_model import default_model
from annotate.language_models.model_access import find_model, home_of, require_talk
from annotate.models import LanguageModel, Project, User
from annotate.playground import turns as playground
from common.whole_numbers import row_id

log = logging.getLogger(__name__)


@never_cache
@allows(get="research", post="research")
def page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show an empty conversation (GET). POST: another model beside it; or, without JavaScript, the whole answer at
    once."""
    model, project = find_model(request, pk)
    try:
        models = _models(request, model, project)
    except Refused as refused:
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        return refused_page(request, refused, project=project)
    context = _context(request, models, project)
    if request.method != "POST":
        return render(request, "annotate/playground/playground.html", context)
    if _changes_company(request):
        return _with_company(request, context)
    try:
        question = playground.question_of(request.POST.dict(), project, model)
        with waiting.aside_in_thread(f"user:{request.user.pk}"):
            turns = (*question.turns, _answer_all(models, question))
    except Refused as refused:
        context |= {"errors": refused.errors, "text": request.POST.get("text", "")}
        return render(request, "annotate/playground/playground.html", context, status=refused.status)
    context |= {"turns": turns, "conversation": playground.as_json(turns)}
    return render(request, "annotate/playground/playground.html", context)


def _changes_company(request: HttpRequest) -> bool:
    return request.method == "POST" and request.POST.get("do") == "beside"


def _with_company(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """Show the conversation where it stands, with another model beside the first, or with nobody."""
    try:
        turns = playground.of_first_model(playground.turns_of(request.POST.get("conversation", "[]")))
    except Refused as refused:
        return render(
            request, "annotate/playground/playground.html", context | {"errors": refused.errors}, status=refused.status
        )
    context |= {"turns": turns, "conversation": playground.as_json(turns)}
    return render(request, "annotate/playground/playground.html", context)


@in_project(get="research")
def of_project(request: MemberRequest, project: Project) -> HttpResponse:
    """Open the playground with what the project serves by default, else with its newest policy."""
    newest = LanguageModel.objects.of_projects([project]).policies().that_answer().available().first()
    model = default_model(project) or newest
    if model is None:
        missing = Refused(404, model=f"{project.name} has no model that answers yet; import or train one.")
        return refused_page(request, missing, project=project)
    return redirect("playground", model.pk)


@allows(post="research")
def keep(request: PageRequest, pk: int) -> HttpResponse:
    """Keep the question alone as a prompt of the project; what was answered does not."""
    model, project = find_model(request, pk)
    try:
        require_talk(request.user, model, project)
        turns = [{"role": "user", "content": request.POST.get("text", "").strip()}]
        prompt = add_prompt(project=project, messages=turns, source="playground", by=cast(User, request.user))
        text = f"Saved as prompt {prompt.pk} of {project.name}, in the {prompt.side} split."
        kind = messages.SUCCESS
    except Refused as refused:
        text, kind = " ".join(refused.errors.values()), messages.ERROR
    if request.htmx:
        return render(
            request, "annotate/playground/playground.html#kept", {"kept": text, "refused": kind == messages.ERROR}
        )
    messages.add_message(request, kind, text)
    return redirect("playground", pk)


def _models(request: HttpRequest, model: LanguageModel, project: Project) -> list[LanguageModel]:
    """Return this model, and the one that `?beside=` names, or the form that changes it."""
    require_talk(request.user, model, project)
    model_id = (request.POST if _changes_company(request) else request.GET).get("beside", "")
    if not model_id:
        return [model]
    other = LanguageModel.objects.filter(pk=row_id(model_id)).first()
    home = home_of(request.user, other) if other else None
    if other is None or home is None:
        raise Refused(404, beside=f"There is no model {model_id[:20]} to compare with; choose one from the list.")
    require_talk(request.user, other, home)
    return [model, other]


def _context(request: HttpRequest, models: list[LanguageModel], project: Project) -> dict[str, Any]:
    model = models[0]
    return {
        "project": project,
        "model": model,
        "models": models,
        "beside": models[1] if len(models) > 1 else None,
        "others": _others(request.user, model, project),
        "conversation": "[]",
        "form": playground.form_values(project, model, request.POST.dict() if request.method == "POST" else None),
        "bounds": playground.BOUNDS,
    }


def _others(person: Person, model: LanguageModel, project: Project) -> list[LanguageModel]:
    """Return what may stand beside it: its parent first, what the project serves, then the project's other policies."""
    policies = LanguageModel.objects.of_projects([project]).policies()
    language_models = policies.that_answer().available().exclude(pk=model.pk)
    may_have = model.parent and model.parent.kind == LanguageModel.Kind.POLICY and home_of(person, model.parent)
    parent = [model.parent] if model.parent and may_have else []
    served = default_model(project)
    first = [*parent, *([served] if served and served != model else [])]
    return list(dict.fromkeys([*first, *language_models.order_by("name")]))


def _answer_all(models: list[LanguageModel], question: playground.Question) -> playground.Turn:
    answers = [_answer(model, question, side) for side, model in enumerate(models)]
    return playground.Turn(question.number, question.text, tuple(answers))


def _answer(model: LanguageModel, question: playground.Question, side: int) -> playground.Answer:
    began, empty = time.monotonic(), playground.Answer("AB"[side])
    try:
        model = serving.asked_now(model)
        reply = model_server.complete_chat(model, question.messages(side), seed=question.seed, **question.sampling)
    except model_server_errors.ModelServerError as error:
        log.warning("playground: %s wrote no answer: %s (%s)", model, error, error.detail)
        return replace(empty, state="failed", problem=model_server_errors.describe_for_researchers(model, error))
    seconds = time.monotonic() - began
    figures = playground.figures(question, tokens=reply.tokens, seconds=seconds, finish_reason=reply.finish_reason)
    if reply.reasoning and not reply.text:
        problem = playground.without_answer(question)
        return replace(empty, state="failed", problem=problem, figures=figures, reasoning=reply.reasoning)
    return replace(empty, text=reply.text, figures=figures, reasoning=reply.reasoning)
