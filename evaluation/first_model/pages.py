"""Show the five steps from a model to its first trained child. Each page works without JavaScript; what is under way
moves on by itself with it."""

from __future__ import annotations

from typing import Any, cast

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from annotate.core.asgi import waiting as asgi_waiting
from annotate.core.errors import Refused
from annotate.core.large_uploads import takes_files
from annotate.core.page_access import MemberRequest, PageRequest, allows, in_project, refused_page
from annotate.core.permissions import projects_where
from annotate.language_models import model_keys
from annotate.models import Import, LanguageModel, Project, Role, User
from annotate.projects import invitations
from annotate.projects.actions import may_start, require_starter
from common.whole_numbers import row_id, whole_number
from evaluation.first_model import actions, facts, path_steps, present, step_context, training_order
from evaluation.first_model.new_projects import start_project
from evaluation.first_model.path_steps import ANNOTATIONS, ANSWERS, MODEL, PROMPTS, STEPS, TRAINING
from evaluation.models import FirstModel
from training.runs.ordering import weight_sources

ADDRESS = "first-model-step"


@never_cache
@sensitive_post_parameters("key")
@allows(get="account", post="project_maker")
def start(request: PageRequest) -> HttpResponse:
    """Offer the projects that one may go on in, and a new one, whose first step is on the same form."""
    own = projects_where(request.user, "research").order_by("name")
    if request.method != "POST":
        if not may_start(request.user) and own.count() == 1:
            return redirect("first-model", own[0].slug)
        return render(request, "evaluation/first_model/start.html", step_context.of_start(request.user, own))
    by = cast(User, request.user)
    try:
        require_starter(by)
    except Refused as refused:
        return refused_page(request, refused)
    try:
        project = start_project(name=request.POST.get("project_name", ""), by=by)
    except Refused as refused:
        context = step_context.of_start(by, own) | {"values": _typed(request), "errors": refused.errors}
        return render(request, "evaluation/first_model/start.html", context, status=refused.status)
    return _model_step(cast(MemberRequest, request), project)


@never_cache
@in_project(get="research")
def current(request: MemberRequest, project: Project) -> HttpResponse:
    """Go to the step that is next; the last one leads to the child, and on to another round."""
    return redirect(ADDRESS, project.slug, path_steps.current_step(facts.facts_of(facts.path_of(project))))


@never_cache
@takes_files
@sensitive_post_parameters("key")
@in_project(get="research", post="research")
def step(request: MemberRequest, project: Project, step: str) -> HttpResponse:
    if step not in STEPS:
        raise Http404(f"There is no step {step}.")
    if request.method == "POST":
        return _SENT[step](request, project)
    path = facts.path_of(project)
    if request.htmx and not request.htmx.boosted:
        return _moved(request, path, step)
    return _shown(request, path, step)


def _moved(request: MemberRequest, path: FirstModel, step: str) -> HttpResponse:
    """Return the part of a page that waits; once there is nothing to wait for, lead on to the next step."""
    context = step_context.of_wait(path, step)
    if context["is_waiting"]:
        return render(request, "evaluation/first_model/waiting.html", context)
    response = HttpResponse()
    response["HX-Redirect"] = _following(path, step)
    return response


def _following(path: FirstModel, step: str) -> str:
    """Return where a step that waits no more leads: the child, a file that is to be looked at, or the next step."""
    child = facts.child_of(path)
    if child and step == TRAINING:
        return reverse("model", args=[child.pk])
    is_seen = step != PROMPTS or path.prompts is None or path.prompts.state == Import.State.DONE
    following = path_steps.current_step(facts.facts_of(path)) if is_seen else PROMPTS
    return reverse(ADDRESS, args=[path.project.slug, following])


def _shown(
    request: MemberRequest, path: FirstModel, step: str, *, refused: Refused | None = None, **more: Any
) -> HttpResponse:
    context = step_context.of_step(path, step, request.user) | {"values": _typed(request)} | more
    if step == TRAINING:
        context["chosen"] = step_context.chosen_kind(context.get("options", ()), request)
    if step == MODEL:
        context["has_typed_key"] = bool(model_keys.typed_for(request.session, request.POST.get("source", "")))
    if refused is not None:
        context |= {"errors": refused.errors}
    status = refused.status if refused else 200
    return render(request, f"evaluation/first_model/{step}.html", context, status=status)


def _typed(request: HttpRequest) -> dict[str, str]:
    """Return what was typed, to be shown again; a key never is."""
    return {name: str(value) for name, value in request.POST.items() if name not in ("key", "csrfmiddlewaretoken")}


def _next(project: Project) -> HttpResponse:
    return redirect("first-model", project.slug)


def _model_step(request: MemberRequest, project: Project) -> HttpResponse:
    path, sent, by = facts.path_of(project), request.POST, request.user
    source = "bundled" if sent.get("do") == "bundled" else sent.get("source", "").strip()
    try:
        if sent.get("do") == "look":
            model_keys.keep_typed(request.session, sent.get("key", ""), source)
            return _shown(request, path, MODEL, look=_look(project, source))
        if model := _chosen_model(project, sent.get("model", "")):
            actions.choose_model(project=project, model=model, by=by)
        elif "://" in source:
            _register_endpoint(request, project, source)
        elif source:
            actions.import_weights(project=project, source=source, name=sent.get("name", ""), by=by)
        else:
            raise Refused(
                400, source="Enter the source of the model: a name on the hub, a folder below models/, or an address."
            )
    except Refused as refused:
        return _shown(request, path, MODEL, refused=step_context.by_field(refused))
    return redirect(ADDRESS, project.slug, MODEL) if "://" not in source and source else _next(project)


def _chosen_model(project: Project, pk: str) -> LanguageModel | None:
    """Return the model that was chosen of those that stand here; None where none was. Raises Refused, 404."""
    if not (chosen := row_id(pk)):
        return None
    if model := LanguageModel.objects.usable_in(project).filter(pk=chosen).first():
        return model
    raise Refused(404, model="There is no such model here; choose another one.")


def _register_endpoint(request: MemberRequest, project: Project, endpoint: str) -> None:
    sent = request.POST
    with (
        asgi_waiting.aside_in_thread(f"user:{request.user.pk}"),
        model_keys.typed_key(request.session, sent.get("key", ""), endpoint) as key,
    ):
        model, checked = actions.register_endpoint(
            project=project,
            endpoint=endpoint,
            served_name=sent.get("served_name", "").strip(),
            key=key,
            folder=sent.get("folder", "").strip(),
            name=sent.get("name", ""),
            by=request.user,
        )
    messages.success(request, f"{model.name} answers: “{checked.answer.strip()[:200]}”, in {checked.seconds:.1f} s.")


def _look(project: Project, source: str) -> dict[str, Any]:
    """Return what an import from there would do, and how long it takes. Raises Refused where it would be refused."""
    if "://" in source:
        return {"is_endpoint": True}
    if errors := weight_sources.source_errors(project, source):
        raise Refused(400, **errors)
    is_here = source.startswith("models/")
    size = present.size_on_disk(source) if is_here else None
    return {"source": source, "bytes": size, "time": present.weights_time(size / 2 if size else None)}


def _prompts_step(request: MemberRequest, project: Project) -> HttpResponse:
    path = facts.path_of(project)
    try:
        if request.POST.get("do") == "take":
            actions.take_prompts(project=project, by=request.user)
        else:
            file = request.FILES.get("file")
            if file is None:
                raise Refused(400, file="Choose a file.")
            actions.check_prompts(
                project=project, file=cast(Any, file), file_name=file.name or "prompts", by=request.user
            )
    except Refused as refused:
        return _shown(request, path, PROMPTS, refused=refused)
    return redirect(ADDRESS, project.slug, PROMPTS)


def _answers_step(request: MemberRequest, project: Project) -> HttpResponse:
    path, sent = facts.path_of(project), request.POST
    completions = whole_number(sent.get("completions_per_prompt", ""), 0, digits=3)
    length = whole_number(sent.get("max_new_tokens", ""), 0, digits=5)
    if sent.get("do") == "look":
        size = present.sampling_size(path, completions, length)
        return _shown(request, path, ANSWERS, size=size)
    try:
        actions.sample_answers(
            project=project, by=request.user, completions_per_prompt=completions, max_new_tokens=length
        )
    except Refused as refused:
        return _shown(request, path, ANSWERS, refused=step_context.by_field(refused))
    return redirect(ADDRESS, project.slug, ANSWERS)


def _annotations_step(request: MemberRequest, project: Project) -> HttpResponse:
    """Make an invitation for an annotator; its link is shown once, on the page that follows."""
    path = facts.path_of(project)
    try:
        _, token = invitations.invite(project=project, role=Role.ANNOTATOR, by=request.user)
    except Refused as refused:
        return _shown(request, path, ANNOTATIONS, refused=refused)
    return _shown(request, path, ANNOTATIONS, link=settings.SITE_URL + reverse("invitation", args=[token]))


def _training_step(request: MemberRequest, project: Project) -> HttpResponse:
    path, sent = facts.path_of(project), request.POST
    try:
        match sent.get("do", ""):
            case "again":
                actions.begin_again(project=project, by=request.user, model=facts.child_of(path))
                return _next(project)
            case "ppo" | "ppo-all-the-same" as do:
                training_order.start_ppo(project=project, by=request.user, trusts_unproven=do != "ppo")
            case _:
                model = _chosen_model(project, sent.get("model", ""))
                kind, name = sent.get("kind", ""), sent.get("name", "")
                training_order.train(project=project, by=request.user, kind=kind, name=name, model=model)
    except Refused as refused:
        return _shown(request, path, TRAINING, refused=step_context.by_field(refused))
    return redirect(ADDRESS, project.slug, TRAINING)


_SENT = {
    MODEL: _model_step,
    PROMPTS: _prompts_step,
    ANSWERS: _answers_step,
    ANNOTATIONS: _annotations_step,
    TRAINING: _training_step,
}
