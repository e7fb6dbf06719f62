"""Gather what the page of each step shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest

from annotate.core.errors import Refused
from annotate.core.permissions import Person, can
from annotate.data import formats
from annotate.models import Import, LanguageModel, Project, Split, User
from annotate.projects.actions import may_start
from evaluation.first_model import facts, path_steps, present
from evaluation.first_model.path_steps import ANNOTATIONS, ANSWERS, MODEL, PROMPTS, TRAINING
from evaluation.first_model.present import TrainingOption
from evaluation.first_model.prompt_preview import preview
from evaluation.models import FirstModel
from training.core.bundled_model import BundledModelMissing, bundled_gguf
from training.models import Run
from training.runs.present.default_models import newest_model

_MOST_MODELS = 200


def of_start(person: Person, projects: QuerySet[Project]) -> dict[str, Any]:
    """Return the projects that somebody may go on in, and whether they may begin a new one."""
    return {"projects": list(projects[:50]), "may_start": may_start(person), **_sources(person)}


def of_step(path: FirstModel, step: str, person: User) -> dict[str, Any]:
    known = facts.facts_of(path)
    steps = path_steps.steps(known)
    context = {
        "project": path.project,
        "path": path,
        "steps": steps,
        "step": next(each for each in steps if each.name == step),
        "facts": known,
        "base": facts.base_of(path),
        "child": facts.child_of(path),
        **of_wait(path, step),
    }
    return context | _OF[step](path, person)


def of_wait(path: FirstModel, step: str) -> dict[str, Any]:
    """Return what is under way in this step, and what came of the last run where that was no success."""
    run = present.runs_of(path).get(step)
    under_way = present.waiting(run)
    import_ = path.prompts if step == PROMPTS else None
    is_checking = import_ is not None and import_.state in facts.IN_HAND
    is_between = step == TRAINING and facts.is_between_runs(path)
    freeze = path.freeze if step == facts.freezing_step(path) else None
    is_freezing = freeze is not None and facts.is_freezing(path)
    return {
        "project": path.project,
        "path": path,
        "step_name": step,
        "under_way": under_way,
        "import": import_,
        "is_between": is_between,
        "freeze": freeze,
        "is_freezing": is_freezing,
        "is_waiting": under_way is not None or is_checking or is_between or is_freezing,
        "failed": run
        if freeze is None and run is not None and run.state in (Run.State.FAILED, Run.State.CANCELLED)
        else None,
    }


def by_field(refused: Refused) -> Refused:
    """Return the refusal of a run by the fields of the step's own form: `config.source` is `source` there."""
    errors = {name.removeprefix("config."): text for name, text in refused.errors.items()}
    return Refused(refused.status, **errors)


def _of_model(path: FirstModel, person: User) -> dict[str, Any]:
    models = LanguageModel.objects.usable_in(path.project).filter(kind=LanguageModel.Kind.POLICY, retired_at=None)
    return {"models": list(models.order_by("-id")[:_MOST_MODELS]), **_sources(person)}


def _of_prompts(path: FirstModel, person: User) -> dict[str, Any]:
    context: dict[str, Any] = {"eval": path.project.prompts.filter(side=Split.EVAL).count()}
    if path.prompts is not None and path.prompts.state != Import.State.DONE:
        known = {**formats.FORMATS, **formats.INCOMING}.get(path.prompts.format)
        context |= {"preview": preview(path.prompts), "format_title": known.title if known else path.prompts.format}
    return context


def _of_answers(path: FirstModel, person: User) -> dict[str, Any]:
    completions, length = present.sampling_defaults(path.project, facts.base_of(path))
    size = present.sampling_size(path, completions, length)
    return {"completions": completions, "length": length, "size": size}


def _of_annotations(path: FirstModel, person: User) -> dict[str, Any]:
    annotated, choice = facts.choice_of(path)
    return {
        "annotated": annotated,
        "choice": choice,
        "uncounted": facts.uncounted_simulations(path.project),
        "annotating_time": present.annotating_time(path.project, annotated),
        "may_invite": can(person, "manage", path.project),
        "guideline": path.project.guideline,
    }


def _of_training(path: FirstModel, person: User) -> dict[str, Any]:
    annotated, choice = facts.choice_of(path)
    reward = path.reward_run
    return {
        "annotated": annotated,
        "choice": choice,
        "uncounted": facts.uncounted_simulations(path.project),
        "options": present.training_options(path, annotated, choice),
        "may_go_on": reward is not None and reward.output_model is not None and path.training_run is None,
        "may_trust": facts.is_reward_unproven(path),
        **(_models_to_train(path.project) if facts.is_model_chosen_now(path) else {}),
    }


def chosen_kind(options: Sequence[TrainingOption], request: HttpRequest) -> str:
    """Return the recipe that is ticked: the one that was sent or that a link names, if it is possible, else the one
    that is proposed."""
    wanted = request.POST.get("kind") or request.GET.get("kind", "")
    possible = [row for row in options if row.option.is_possible]
    rows = [row for row in possible if row.option.kind == wanted] or [row for row in possible if row.is_proposed]
    return rows[0].option.kind if rows else ""


def _models_to_train(project: Project) -> dict[str, Any]:
    """Return the models that a project may train where none is chosen, or the chosen one has a child; and its
    newest."""
    models = LanguageModel.objects.usable_in(project).policies().available().exclude(folder="")
    return {"models": list(models.order_by("-id")[:_MOST_MODELS]), "newest": newest_model(models, project)}


def _sources(person: Person) -> dict[str, Any]:
    """Return what the form says of where weights are: the operators' own folder to those alone who may look there."""
    return {"bundled": _has_bundled(), "models_folder": settings.MODELS_DIR if person.is_staff else ""}


def _has_bundled() -> bool:
    try:
        return bool(bundled_gguf())
    except BundledModelMissing:
        return False


_OF = {
    MODEL: _of_model,
    PROMPTS: _of_prompts,
    ANSWERS: _of_answers,
    ANNOTATIONS: _of_annotations,
    TRAINING: _of_training,
}
