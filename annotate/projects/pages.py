"""Show the front page; a project's own page, its guidelines, its members and settings, and the form that starts one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

from django.contrib import messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, allows, in_project, refused_page
from annotate.core.permissions import ROLES_FOR, Person, can, held_rights
from annotate.models import Guideline, Project, ReservedPrompt, User
from annotate.projects import actions
from annotate.projects.overview.present import overview
from common.texts import with_line_feeds
from common.whole_numbers import whole_number

NUMBERS = {
    "overlap": ("People per item", "How many people annotate the same item."),
    "assignment_minutes": (
        "Minutes per item",
        "After this time an item that somebody has open can go to another person.",
    ),
    "edit_minutes": ("Minutes to change an annotation", "How long an annotator can undo or change an annotation."),
    "daily_goal": ("Goal per day", "Each annotator sees it beside today's count."),
    "eval_percent": ("Percent of prompts in the eval split", "They rank models and never train one."),
    "gold_percent": ("Percent of gold items", "They look like other items and measure the annotator."),
    "gold_pass_percent": (
        "Pass mark for gold items, %",
        "Annotators below it get a warning, and then are paused.",
    ),
    "repeat_percent": ("Percent of repeated comparisons", "Shown again with swapped positions to measure consistency."),
    "review_percent": (
        "Percent reviewed",
        "Of items with one annotation: a reviewer annotates them again without seeing it. 0: none.",
    ),
    "max_new_tokens": ("Longest answer, in tokens", "Longer answers are cut and marked. 1 to 4,096."),
    "temperature": ("Temperature", "0 takes the most likely token, 1 samples from the model's distribution. 0 to 2."),
    "top_p": ("Top p", "Only the most likely tokens with this total probability; 1 keeps all."),
}
SWITCHES = {
    "asks_ratings": "Ask for ratings of single answers",
    "asks_comparisons": "Ask for comparisons of two answers",
    "asks_rankings": "Ask for rankings of three to six answers",
    "asks_answers": "Ask for written answers",
    "asks_attacks": "Ask for red-teaming: conversations that try to get harmful answers",
    "must_read_guidelines": "Annotators must read each new version of the guidelines before the next item",
    "is_public": "Public: visitors without an account read its pages and vote in its arena",
    "open_sign_up": "Everybody who signs up can join as an annotator (only if the project is public)",
    "needs_second_factor": "Members need a second factor; those without one are refused until they set it up",
    "from_scratch": "Models from scratch: show corpora, tokenizers and pretraining",
    "proof_of_work": "Browsers of voters without invitation solve a small puzzle; without it their votes are held",
}

WORDED = ("slug", "name", "description", "system_prompt", "text")  # `text` is of the guidelines
GROUPS = (
    (
        "Tasks for annotators",
        ("asks_ratings", "asks_comparisons", "asks_rankings", "asks_answers", "asks_attacks"),
        ("overlap", "assignment_minutes", "edit_minutes", "daily_goal"),
    ),
    (
        "Quality control",
        ("must_read_guidelines",),
        ("gold_percent", "gold_pass_percent", "repeat_percent", "review_percent"),
    ),
    ("Members", ("needs_second_factor",), ()),
    ("Visitors and the arena", ("is_public", "open_sign_up", "proof_of_work"), ("eval_percent",)),
    ("Training", ("from_scratch",), ()),
    ("Sampling", (), ("max_new_tokens", "temperature", "top_p")),
)


@allows(get="anybody", post="anybody")
def home(request: HttpRequest) -> HttpResponse:
    """Show what this is, and which projects are open to whoever looks."""
    projects = list(_visible(request.user))
    project_ids = set()
    if request.user.is_authenticated:
        roles = ROLES_FOR["judge"]
        project_ids = set(request.user.memberships.filter(role__in=roles).values_list("project_id", flat=True))
    context = {
        "projects": projects,
        "judged": project_ids,
        "is_fresh": not Project.objects.exists(),
        "has_people": User.objects.exists(),
        "may_start": actions.may_start(request.user),
    }
    return render(request, "annotate/projects/home.html", context)


def _given_to(user: Person, project: Project) -> int:
    """Return how many prompts a manager has given to this person that are not done."""
    if not isinstance(user, User):
        return 0
    return ReservedPrompt.objects.left().filter(user=user, project=project).count()


def _visible(user: Person) -> QuerySet[Project]:
    projects = Project.objects.order_by("name")
    if user.is_superuser:
        return projects
    public = Q(is_public=True)
    return (
        projects.filter(public | Q(memberships__user=user.pk)).distinct()
        if user.is_authenticated
        else projects.filter(public)
    )


@in_project(get="read")
def project(request: HttpRequest, project: Project) -> HttpResponse:
    rights = held_rights(request.user, project)
    context = {
        "project": project,
        "guideline": project.guideline,
        "can_judge": "judge" in rights,
        "manages": "manage" in rights,
        "given": _given_to(request.user, project),
        "may_join": project.open_sign_up and project.is_public and "judge" not in rights,
        **overview(project, request.user, rights),
    }
    return render(request, "annotate/projects/project.html", context)


@allows(get="project_maker", post="project_maker")
def new(request: MemberRequest) -> HttpResponse:
    try:
        actions.require_starter(request.user)
    except Refused as refused:
        return refused_page(request, refused)
    if request.method != "POST":
        return render(request, "annotate/projects/new_project.html", _new_form(_values(Project())))
    try:
        project = actions.create_project(
            slug=request.POST.get("slug", "").strip() or actions.address_of(request.POST.get("name", "")),
            name=request.POST.get("name", ""),
            by=request.user,
            guidelines=with_line_feeds(request.POST.get("guidelines", "")),
            **_first_settings(request),
        )
    except Refused as refused:
        context = _new_form(_values(Project()) | _entered(request), refused.errors)
        return render(request, "annotate/projects/new_project.html", context, status=refused.status)
    messages.success(request, f"{project.name} is created. Next, add prompts or data.")
    return redirect("add-data", project.slug)


@in_project(get="manage", post="manage")
def settings(request: MemberRequest, project: Project) -> HttpResponse:
    """Show the settings; change those that differ from what the page showed, as another manager may have changed others
    since."""
    if request.method != "POST":
        values = _values(project)
        context = {"project": project, "shown": json.dumps(values), **_form(values)}
        return render(request, "annotate/projects/settings.html", context)
    shown = _shown(request)
    sent = {"name": request.POST.get("name", ""), **_settings(request)}
    changed = {name: value for name, value in sent.items() if name not in shown or str(value) != str(shown[name])}
    try:
        actions.change_settings(project=project, by=request.user, **changed)
    except Refused as refused:
        project.refresh_from_db()
        context = {"project": project, "shown": json.dumps(shown), **_form(_entered(request), refused.errors)}
        return render(request, "annotate/projects/settings.html", context, status=refused.status)
    messages.success(request, "The settings are saved.")
    return redirect("project-settings", project.slug)


@in_project(get="read", post="manage")
def guidelines(request: HttpRequest, project: Project) -> HttpResponse:
    """Show the guidelines and their earlier versions; managers revise them here."""
    manages = can(request.user, "manage", project)
    guideline = _version(project, request.GET.get("version", ""))
    context = {
        "project": project,
        "manages": manages,
        "versions": project.guidelines.order_by("-version"),
        "guideline": guideline,
        "text": guideline.text if guideline else "",
    }
    if request.method != "POST":
        return render(request, "annotate/projects/guidelines.html", context)
    text = with_line_feeds(request.POST.get("text", ""))
    try:
        new_version = actions.revise_guidelines(project=project, text=text, by=cast(User, request.user))
    except Refused as refused:
        context |= {"errors": refused.errors, "text": text}
        return render(request, "annotate/projects/guidelines.html", context, status=refused.status)
    messages.success(request, f"Version {new_version.version} is published. Annotators see it with their next item.")
    return redirect("guidelines", project.slug)


def _version(project: Project, text: str) -> Guideline | None:
    if version := whole_number(text, 0, digits=8):
        return project.guidelines.filter(version=version).first() or project.guideline
    return project.guideline


def _shown(request: HttpRequest) -> dict[str, Any]:
    """Return the settings as the page showed them; none where a program sent the form."""
    try:
        shown = json.loads(request.POST.get("shown", ""))
    except (ValueError, RecursionError):
        return {}
    return shown if isinstance(shown, dict) else {}


def _settings(request: HttpRequest) -> dict:
    """Return the settings; numbers as the text that was typed: the model's own validation says what is wrong with
    it."""
    return {
        "description": with_line_feeds(request.POST.get("description", "").strip()),
        "system_prompt": with_line_feeds(request.POST.get("system_prompt", "").strip()),
        **{name: request.POST[name] for name in NUMBERS if name in request.POST},
        **{name: request.POST.get(name) == "on" for name in SWITCHES},
    }


def _first_settings(request: HttpRequest) -> dict:
    """Return the settings of a new project: of its switches what annotators are asked, which the form shows, and else
    what was sent."""
    sent = _settings(request)
    return {name: value for name, value in sent.items() if name in request.POST or name in actions.ASKS}


def _new_form(values: dict, errors: dict[str, str] | None = None) -> dict:
    context = _form(values, errors)
    elsewhere = [text for name, text in (errors or {}).items() if name not in (*WORDED, *actions.ASKS)]
    return context | {"asks": context["groups"][0][1], "elsewhere": elsewhere}


def _entered(request: HttpRequest) -> dict:
    """Return the form as it was sent, to be shown again."""
    words = {name: request.POST.get(name, "") for name in ("slug", "name", "guidelines")}
    return {**words, **_settings(request)}


def _values(project: Project) -> dict:
    names = ("slug", "name", "description", "system_prompt", *NUMBERS, *SWITCHES)
    return {name: getattr(project, name) for name in names}


@dataclass(frozen=True)
class Field:
    """A switch or a number of the form; `error` is what is wrong with it."""

    name: str
    label: str
    note: str
    value: object
    error: str


def _form(values: dict, errors: dict[str, str] | None = None) -> dict:
    errors = errors or {}
    groups = []
    for title, switches, numbers in GROUPS:
        chosen = [Field(name, SWITCHES[name], "", values.get(name), errors.get(name, "")) for name in switches]
        entered = [Field(name, *NUMBERS[name], values.get(name, ""), errors.get(name, "")) for name in numbers]
        groups.append((title, chosen, entered))
    elsewhere = [text for name, text in errors.items() if name not in (*WORDED, *NUMBERS, *SWITCHES)]
    return {"values": values, "groups": groups, "errors": errors, "elsewhere": elsewhere}
