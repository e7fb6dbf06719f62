"""Describe the tours of the sample project: for visitors, annotators and researchers, six stops each."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest
from django.urls import reverse

from annotate.core.permissions import can
from annotate.models import Project, User
from evaluation.sample.sample_project import SLUG, sample_project
from training.models import Run

COOKIE = "tour"
DISMISSED = "dismissed"
YEAR = 365 * 24 * 3600


@dataclass(frozen=True)
class Stop:
    """A page by the name of its address, and what one sees there. `of`: the address takes the id of the PPO run, or of
    the model that it made, in place of the project's slug."""

    page: str
    title: str
    text: str
    of: str = "project"


TOURS: dict[str, tuple[Stop, ...]] = {
    "visitor": (
        Stop(
            "project",
            "A project",
            "In this project models answer everyday questions, and annotators compare the answers. It is a finished, "
            "real run.",
        ),
        Stop(
            "arena",
            "Arena",
            "Draw a question, read two answers without names, and vote. The names come after your vote.",
        ),
        Stop(
            "leaderboard",
            "Leaderboard",
            "Ratings come from votes. Each has an interval. A rank such as 1–2 means that the votes do not separate "
            "these places yet.",
        ),
        Stop(
            "decisions",
            "Decisions",
            "A rule that was set before any vote decides which model is served. Each decision records its figures.",
        ),
        Stop(
            "model",
            "Model card",
            "Its parent, its data, its evaluations and its cost.",
            of="model",
        ),
        Stop(
            "lineage",
            "Lineage",
            "Follow a vote, link by link, to the weights that it changed and to the rank of the model.",
            of="model",
        ),
    ),
    "annotator": (
        Stop(
            "project",
            "Guidelines",
            "Read the guidelines first. They define a good answer in this project.",
        ),
        Stop(
            "annotate",
            "Annotate",
            "One item at a time. Use the keys on the buttons, and skip items that you cannot annotate.",
        ),
        Stop(
            "shortcuts",
            "My keys",
            "Change any key. Press ? on the annotation page to see the keys of the current item.",
        ),
        Stop(
            "annotate-history",
            "Your annotations",
            "All your annotations, newest first. You can change them for some time.",
        ),
        Stop(
            "quality-mine",
            "My quality",
            "How often you agree with others and with yourself. Annotators are not ranked.",
        ),
        Stop(
            "leaderboard",
            "The purpose",
            "Annotations of the train split train models; votes on the eval split rank them.",
        ),
    ),
    "researcher": (
        Stop(
            "leaderboard",
            "Leaderboard",
            "Start with the result: the PPO model is above its parent, with an interval.",
        ),
        Stop(
            "decisions",
            "Decisions",
            "The rule, each check with its figures, and the decision. Nothing was chosen afterwards.",
        ),
        Stop(
            "run",
            "A run",
            "Curves, samples, settings and log of the PPO run. You can queue any run again with changes.",
            of="run",
        ),
        Stop(
            "lineage",
            "Lineage",
            "From the base to its children, with the datasets and votes between them.",
            of="model",
        ),
        Stop(
            "data",
            "Data",
            "Frozen, hashed datasets. No prompt that ranks a model ever trains one.",
        ),
        Stop(
            "choose-kind",
            "Your own run",
            "Train, evaluate or export from any model here. Your own project has the same pages.",
        ),
    ),
}
LAST = 6
RIGHTS = {"visitor": "read", "annotator": "judge", "researcher": "research"}  # in the sample project


@dataclass(frozen=True)
class Strip:
    """What the strip on top of a page shows: a stop under way, or (`stop` None) the tours that one may take."""

    kind: str = ""
    number: int = 0
    stop: Stop | None = None
    kinds: tuple[str, ...] = ()

    @property
    def is_last(self) -> bool:
        return self.number == LAST


def strip_of(request: HttpRequest) -> Strip | None:
    """Return the strip of this page, or None. Pages outside a tour ask no query; the sample project's own asks one."""
    kind, number = _under_way(request.COOKIES.get(COOKIE, ""))
    if kind:
        return Strip(kind, number, TOURS[kind][number - 1])
    if request.path != f"/p/{SLUG}/" or is_dismissed(request):
        return None
    project = sample_project()
    if project is None:
        return None
    return Strip(kinds=tuple(kind for kind, right in RIGHTS.items() if can(request.user, right, project)))


def context(request: HttpRequest) -> dict[str, Strip | None]:
    """Return what templates show of a tour: a context processor."""
    return {"tour": strip_of(request)} if hasattr(request, "user") else {}


def is_dismissed(request: HttpRequest) -> bool:
    """Return whether whoever asks has dismissed the tours: on their account, or in this browser."""
    if isinstance(request.user, User):
        return request.user.tours_dismissed_at is not None
    return request.COOKIES.get(COOKIE) == DISMISSED


def address_of(stop: Stop, project: Project) -> str:
    """Return the address of a stop's page; the project's own where the run or model of the stop is gone."""
    if stop.page == "shortcuts":
        return reverse(stop.page)
    if stop.of == "project":
        return reverse(stop.page, args=[project.slug])
    run = Run.objects.filter(project=project, kind="ppo").exclude(output_model=None).order_by("pk").first()
    if run is None:
        return reverse("project", args=[project.slug])
    return reverse(stop.page, args=[run.pk if stop.of == "run" else run.output_model_id])


def _under_way(cookie: str) -> tuple[str, int]:
    """Return the tour and the stop that a cookie names; ("", 0) where it names none."""
    kind, _, number = cookie.partition("-")
    if kind in TOURS and number.isascii() and number.isdigit() and 1 <= int(number) <= LAST:
        return kind, int(number)
    return "", 0
