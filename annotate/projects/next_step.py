"""Suggest what to do next in a project: one sentence and one link, for whoever looks and as the project stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.urls import reverse

from annotate.core.hooks import Hook
from annotate.core.permissions import Person, can
from annotate.models import Comparison, Completion, Project, Prompt, Split, User


@dataclass(frozen=True)
class NextStep:
    words: str
    link: str
    address: str


AUTOMATIC_STEPS: Hook[Callable[[Project], NextStep | None]] = Hook(
    "automatic steps",
    "Called with a project; returns what a program does in it by itself, so that nobody is told to do the same by "
    "hand. None where none is at work.",
)


def next_step(project: Project, user: Person) -> NextStep:
    """Return the first thing missing on the way to a ranked model that this person can do something about."""
    is_annotator = isinstance(user, User) and can(user, "judge", project)
    if (can(user, "research", project) or not is_annotator) and (automatic := _automatic(project)):
        return automatic
    if can(user, "research", project):
        return next(_missing(project, is_manager=can(user, "manage", project)))
    if isinstance(user, User) and can(user, "judge", project):
        return _to_judge(project, user)
    if project.contestants.filter(left_at=None, model__retired_at=None).count() < 2:
        words = "Its arena opens as soon as two models compete; until then there is nothing to vote on."
        return _step(project, words, "", "project")
    words = "Draw a question, read two answers without their names, and say which is better: no account is needed."
    return _step(project, words, "Draw one in the arena", "arena")


def _automatic(project: Project) -> NextStep | None:
    return next((step for of_project in AUTOMATIC_STEPS.values() if (step := of_project(project))), None)


def _missing(project: Project, *, is_manager: bool) -> Iterator[NextStep]:
    """Yield the steps along the loop; the last one is always there, for the loop has no end."""
    path = getattr(project, "first_model", None)  # of evaluation, which leads through five steps of its own
    if path is not None and (path.training_run is None or path.training_run.output_model is None):
        words = "You are on your way from a model to its first trained child, in five steps."
        yield _step(project, words, "Go on with the next step", "first-model")
    if not project.prompts.exists():
        words = "The project has no prompts yet. Bring some in from a file, or send a list to POST /api/v1/prompts/."
        yield _step(project, words, "Add data", "add-data")
    answers = Completion.objects.filter(prompt__project=project)
    has_models = project.contestants.filter(left_at=None).exists()
    if not has_models and answers.filter(prompt__side=Split.TRAIN, model=None).exists():
        yield from _to_have_annotated(project, is_manager=is_manager)  # brought answers need no model
    if not has_models:
        yield _step(project, "No model answers here yet. Import one, or enter one into the arena.", "Models", "models")
    for side, purpose in ((Split.TRAIN, "people annotate to teach"), (Split.EVAL, "the arena ranks models by")):
        has_prompts = Prompt.objects.filter(project=project, side=side).exists()
        if has_prompts and not answers.filter(prompt__side=side, model__isnull=False).exists():
            words = (
                f"Nothing has answered the prompts of the {side} split, which {purpose}. Freeze them into a dataset "
            )
            yield _step(project, words + "of prompts, then start a sampling run on it.", "Freeze prompts", "data")
    yield from _to_have_annotated(project, is_manager=is_manager)
    if not project.datasets.exclude(kind="prompts").exists():
        words = "Annotations stand, and no model has learnt from them: freeze them into a dataset."
        yield _step(project, words, "Freeze a dataset", "data")
    if not project.runs.filter(output_model__isnull=False).exists():  # type: ignore[attr-defined]
        yield _step(project, "A dataset is frozen, and no run has made a model of it yet.", "Start a run", "runs")
    if not Comparison.objects.filter(project=project, prompt__side=Split.EVAL).exists():
        yield _step(project, "Nobody has compared the models yet.", "Vote in the arena", "arena")
    yield _step(project, "The loop has turned: see whether the models got better.", "Leaderboard", "leaderboard")


def _to_have_annotated(project: Project, *, is_manager: bool) -> Iterator[NextStep]:
    """Yield what is missing until people annotate."""
    if is_manager and project.guideline is None:
        yield _step(project, "Say what makes an answer good, before people annotate.", "Write guidelines", "guidelines")
    if is_manager and project.memberships.count() < 2:
        yield _step(project, "Nobody else is here. Invite the people who will annotate.", "People", "people")
    if not (project.ratings.exists() or project.comparisons.filter(prompt__side=Split.TRAIN).exists()):
        yield _step(project, "Nothing is annotated yet.", "Annotate some answers", "annotate")


def _to_judge(project: Project, user: User) -> NextStep:
    if not Completion.objects.filter(prompt__project=project, prompt__side=Split.TRAIN).exists():
        words = "There is nothing to annotate yet; answers appear as soon as a model has written them."
        return _step(project, words, "Vote in the arena meanwhile", "arena")
    if not project.assignments.filter(user=user, state="submitted").exists():
        words = (
            "Read the guidelines, then annotate one answer at a time: each takes about half a minute, and U takes it "
            "back."
        )
        return _step(project, words, "Annotate the first one", "annotate")
    return _step(project, "Go on where you stopped.", "Annotate the next one", "annotate")


def _step(project: Project, words: str, link: str, page: str) -> NextStep:
    return NextStep(words, link, reverse(page, args=[project.slug]))
