"""Add judge models and versions of their rubrics. Nothing is edited: a new text is a new version."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.utils import timezone

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.models import LanguageModel, Project, User
from common.judging import rubrics
from common.texts import is_storable
from evaluation.models import JudgeModel, Rubric
from training.models import Run
from training.runs.ordering.actions import queue_run

LONGEST_RUBRIC = 20_000  # characters


def create_judge(
    *, project: Project, by: User, name: str, model: LanguageModel | None, text: str = "", form: str = rubrics.PAIRWISE
) -> JudgeModel:
    """Create a judge with the first version of its rubric, ours where no text is given.

    Refused with `name`, `model`, `text` or `form`; 409 where its twin came first.
    """
    require(by, "research", project)
    name = name.strip()
    errors = _text_errors(text, form)
    if not name or len(name) > 120 or not is_storable(name):
        errors["name"] = "Enter a name of 1 to 120 characters."
    elif JudgeModel.objects.filter(project=project, name=name).exists():
        errors["name"] = _name_taken(project, name)
    if model is None:
        errors["model"] = "Choose a model that answers: one with an endpoint, or one that the model server serves."
    elif not LanguageModel.objects.usable_in(project).policies().that_answer().available().filter(pk=model.pk).exists():
        errors["model"] = f"{project.name} cannot use this model as a judge; register a model that answers."
    if errors or model is None:
        raise Refused(400, **errors)
    try:
        with transaction.atomic():
            judge = JudgeModel.objects.create(project=project, name=name, model=model, created_by=by)
            _add(judge, form, text, by)
            audit.record(action="judge_model.created", about=name, by=by, project=project)
    except IntegrityError as error:  # a double click: its twin came first
        raise Refused(409, name=_name_taken(project, name)) from error
    return judge


def add_rubric(*, judge: JudgeModel, by: User, text: str, form: str = rubrics.PAIRWISE) -> Rubric:
    """Add a version of the rubric; the newest one again where nothing has changed. Refused with `text` or `form`."""
    require(by, "research", judge.project)
    if errors := _text_errors(text, form):
        raise Refused(400, **errors)
    with transaction.atomic():
        newest = JudgeModel.objects.select_for_update().get(pk=judge.pk).rubrics.first()
        if newest is not None and (newest.form, newest.text) == (form, text.strip() or rubrics.DEFAULTS[form]):
            return newest
        rubric = _add(judge, form, text, by)
        audit.record(action="judge_model.rubric_added", about=str(rubric), by=by, project=judge.project)
    return rubric


def retire(*, judge: JudgeModel, by: User, is_retired: bool) -> None:
    """Take a judge out of use, or bring it back. What it said stays."""
    require(by, "research", judge.project)
    judge.retired_at = timezone.now() if is_retired else None
    judge.save(update_fields=["retired_at"])
    done = "retired" if is_retired else "brought_back"
    audit.record(action=f"judge_model.{done}", about=judge.name, by=by, project=judge.project)


def order_verdicts(*, judge: JudgeModel, by: User, name: str = "", **options: object) -> Run:
    """Queue a run that asks the judge, with options of VerdictsConfig. Refused as `queue_run` refuses."""
    name = name or f"verdicts of {judge.name}"[:120]
    return queue_run(kind="verdicts", project=judge.project, name=name, by=by, config={"judge": judge.name, **options})


def _name_taken(project: Project, name: str) -> str:
    return f"{project.name} has a judge model {name} already; choose another name."


def _add(judge: JudgeModel, form: str, text: str, by: User) -> Rubric:
    newest = judge.rubrics.first()
    return Rubric.objects.create(
        judge=judge,
        version=newest.version + 1 if newest else 1,
        form=form,
        text=text.strip() or rubrics.DEFAULTS[form],
        created_by=by,
    )


def _text_errors(text: str, form: str) -> dict[str, str]:
    if form not in rubrics.FORMS:
        return {"form": f"{form!r} is not a form of verdicts; use {' or '.join(rubrics.FORMS)}."}
    if len(text) > LONGEST_RUBRIC or not is_storable(text):
        return {"text": f"A rubric is valid text of at most {LONGEST_RUBRIC:,} characters; shorten it."}
    return {}
