"""Suggest what to do next in a project: one sentence and one link, for whoever looks and as the project stands; and
list the steps of the loop with which of them are done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse

from annotate.core.hooks import Hook
from annotate.core.permissions import Person
from annotate.models import Comparison, Completion, Project, Prompt, Split, User
from annotate.models.prompts import ARENA, has_items


@dataclass(frozen=True)
class NextStep:
    words: str
    link: str
    address: str


@dataclass(frozen=True)
class Step:
    """Hold one step of the loop: its title in the checklist, and what to do where it is not done."""

    title: str
    next: NextStep
    is_done: bool


AUTOMATIC_STEPS: Hook[Callable[[Project], NextStep | None]] = Hook(
    "automatic steps",
    "Called with a project; returns what a program does in it by itself, so that no page asks a person to do the "
    "same by hand. None where none is at work.",
)


def next_step(project: Project, user: Person, rights: Set[str], steps: Sequence[Step]) -> NextStep:
    """Return the first thing missing on the way to a ranked model that this person, of these rights, can do something
    about; `steps` is the checklist of those who research."""
    if "research" in rights:
        return _automatic(project) or _first_missing(project, steps)
    if isinstance(user, User) and "judge" in rights:
        return _to_judge(project, user)
    if automatic := _automatic(project):
        return automatic
    if project.contestants.filter(left_at=None, model__retired_at=None).count() < 2:
        words = "The arena opens when two models compete; until then there is nothing to vote on."
        return _step(project, words, "", "project")
    if not project.prompts.filter(side=Split.EVAL, out_since=None).exclude(source=ARENA).exists():
        words = "Ask a question, read two answers without names, and choose the better one: no account is needed."
        return _step(project, words, "Ask a question in the arena", "arena")
    words = "Draw a question, read two answers without names, and choose the better one: no account is needed."
    return _step(project, words, "Draw a question in the arena", "arena")


def _automatic(project: Project) -> NextStep | None:
    return next((step for of_project in AUTOMATIC_STEPS.values() if (step := of_project(project))), None)


def checklist(project: Project, *, is_manager: bool) -> list[Step]:
    """Return the steps of the loop in their order, each with whether it is done. The loop has no end, and so no last
    step: the leaderboard is not in it."""
    facts = _Facts(project)
    to_annotate = list(_to_have_annotated(facts, is_manager=is_manager))
    steps = [
        _step_of(
            project,
            "Add prompts",
            "The project has no prompts yet: add a file, or paste text.",
            ("Add data", "add-data"),
            is_done=project.prompts.exists(),
        )
    ]
    if not facts.has_models and facts.has_brought_answers():  # they need no model
        return [*steps, *to_annotate, _model_step(facts), *_answer_steps(facts), *_learning_steps(facts)]
    return [*steps, _model_step(facts), *_answer_steps(facts), *to_annotate, *_learning_steps(facts)]


class _Facts:
    """Hold what several steps ask of a project."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.answers = Completion.objects.filter(prompt__project=project)
        self.has_models = project.contestants.filter(left_at=None).exists()
        by_models = self.answers.filter(model__isnull=False)
        self.answered = {side for side in Split.values if by_models.filter(prompt__side=side).exists()}  # by models

    def has_votes_on_models(self) -> bool:
        """Return whether a comparison can rank models. Imported answers may be of no model here: of millions of such
        pairs the database looks at each, and so it is asked where a model has answered."""
        if Split.EVAL not in self.answered:
            return False
        votes = Comparison.objects.filter(project=self.project, prompt__side=Split.EVAL)
        return votes.filter(completion_a__model__isnull=False, completion_b__model__isnull=False).exists()

    def has_brought_answers(self) -> bool:
        """Return whether answers of no model wait; of millions by models the database looks at each."""
        return self.answers.filter(prompt__side=Split.TRAIN, model=None).exists()


def _first_missing(project: Project, steps: Sequence[Step]) -> NextStep:
    path = getattr(project, "first_model", None)  # of evaluation, which leads through five steps of its own
    if path is not None and (path.training_run is None or path.training_run.output_model is None):
        words = "Five steps lead from your model to its first trained child."
        if _training_runs(project).exists():
            words = "A further round of the five steps is open."
        return _step(project, words, "Continue with the next step", "first-model")
    for step in steps:
        if not step.is_done:
            return step.next
    return _step(
        project, "The first loop is complete: see whether the models got better.", "Leaderboard", "leaderboard"
    )


def _model_step(facts: _Facts) -> Step:
    words = "No model answers here yet. Add one, or choose one of the registry: the next step is to sample its answers."
    return _step_of(facts.project, "Add a model", words, ("Add a model", "first-model"), is_done=facts.has_models)


def _answer_steps(facts: _Facts) -> Iterator[Step]:
    titles = {Split.TRAIN: "Answer the training prompts", Split.EVAL: "Answer the evaluation prompts"}
    for side, purpose in ((Split.TRAIN, "people annotate for training"), (Split.EVAL, "the arena uses to rank models")):
        has_prompts = Prompt.objects.filter(project=facts.project, side=side).exists()
        words = (
            f"No model has answered the prompts of the {side} split yet, which {purpose}. Freeze them into a dataset "
            "of prompts, then start a sampling run on it."
        )
        if has_prompts:
            is_done = side in facts.answered
            yield _step_of(facts.project, titles[side], words, ("Freeze prompts", "datasets"), is_done=is_done)


def _to_have_annotated(facts: _Facts, *, is_manager: bool) -> Iterator[Step]:
    """Yield what is to be done until people annotate."""
    project = facts.project
    if is_manager:
        yield _step_of(
            project,
            "Write guidelines",
            "Write what makes a good answer before people annotate.",
            ("Write guidelines", "guidelines"),
            is_done=project.guideline is not None,
        )
        yield _step_of(
            project,
            "Invite annotators",
            "You are the only member. Invite annotators.",
            ("People", "people"),
            is_done=project.memberships.count() >= 2,
        )
    yield _step_of(
        project,
        "Annotate",
        "No answer is annotated yet.",
        ("Annotate some answers", "annotate"),
        is_done=project.ratings.exists()
        or project.comparisons.filter(prompt__side=Split.TRAIN).exists()
        or project.demonstrations.filter(assignment__isnull=False).exists(),  # written here
    )


def _learning_steps(facts: _Facts) -> Iterator[Step]:
    project = facts.project
    yield _step_of(
        project,
        "Freeze a dataset",
        "There are annotations that no model is trained on: freeze them into a dataset.",
        ("Freeze a dataset", "datasets"),
        is_done=project.datasets.exclude(kind="prompts").exists(),
    )
    yield _step_of(
        project,
        "Train a model",
        "A dataset is frozen, but no run has trained a model on it yet.",
        ("Start a run", "choose-kind"),
        is_done=_training_runs(project).exists(),
    )
    yield _step_of(
        project,
        "Vote in the arena",
        "Nobody has compared the models yet.",
        ("Vote in the arena", "arena"),
        is_done=facts.has_votes_on_models(),
    )


def _to_judge(project: Project, user: User) -> NextStep:
    if not has_items(project):
        words = "There is nothing to annotate yet. Answers appear when a model has written them."
        return _step(project, words, "Vote in the arena meanwhile", "arena")
    if not project.assignments.filter(user=user, state="submitted").exists():
        words = "Read the guidelines, then annotate one item at a time: each takes half a minute, and you can undo it."
        return _step(project, words, "Annotate the first one", "annotate")
    return _step(project, "Continue where you stopped.", "Annotate the next one", "annotate")


def _training_runs(project: Project) -> QuerySet[Any]:
    """Return the project's runs that have made a model from a dataset; an import makes one from none."""
    return project.runs.filter(  # type: ignore[attr-defined,no-any-return]
        output_model__isnull=False, dataset__isnull=False
    )


def _step(project: Project, words: str, link: str, page: str) -> NextStep:
    return NextStep(words, link, reverse(page, args=[project.slug]))


def _step_of(project: Project, title: str, words: str, link: tuple[str, str], *, is_done: bool) -> Step:
    return Step(title, _step(project, words, *link), is_done)
