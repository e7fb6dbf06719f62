"""Enrol a new policy in the arena, blind against its parent and against what is served now, by itself.

A signal starts it; the background worker finds what a kill between the run's commit and the signal has left out.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.core.periodic_tasks import each_alone
from annotate.data.datasets import sampled_prompts
from annotate.language_models.actions import enter_arena
from annotate.models import Completion, Contestant, Dataset, LanguageModel, Project, Split
from annotate.models.prompts import ARENA
from evaluation.leaderboard.snapshots import default_annotator_kind
from evaluation.models import Candidacy, Decision, Promotion, PromotionRule
from evaluation.registry.ancestry import parent_of
from training.models import Run
from training.runs.ordering.actions import queue_run

FEW_PROMPTS = 100  # eval prompts that a small model answers in a few minutes of two cores
FRESH = timedelta(
    days=2
)  # older runs, found by the background worker of a site that was upgraded, are not answered for anew
_NO_ANSWERS = "Answers are not sampled automatically"
log = logging.getLogger("assay.decisions")


class _Freezing(Exception):
    """Raised while eval prompts are frozen in the background."""


def enrol(run: Run) -> Candidacy | None:
    """Enrol a policy of a run that succeeded, once; return None when there is nothing to enrol, and while the prompts
    that it is to answer are frozen in the background: whoever enrols what is missing comes again."""
    model = run.output_model
    if run.state != Run.State.SUCCEEDED or model is None or model.kind != LanguageModel.Kind.POLICY:
        return None
    if model.retired_at is not None or not run.enters_arena or not model.answers:
        return None
    if standing := Candidacy.objects.filter(project=run.project, model=model).first():
        return standing
    begins = _begins(run.project, model)
    try:
        sampling = _plan_sampling(Candidacy(project=run.project, model=model, run=run, **begins))
    except _Freezing:
        return None
    with transaction.atomic():
        candidacy, is_new = Candidacy.objects.get_or_create(
            project=run.project, model=model, defaults={"run": run, **begins}
        )
        if is_new:
            sentences = [_enter(candidacy), _have_sampled(candidacy, sampling)]
            Decision.objects.create(
                project=run.project,
                candidacy=candidacy,
                rule=rule_of(run.project),
                what=Decision.What.ENROLLED,
                sentence=" ".join(filter(None, sentences)),
            )
    return candidacy


def _begins(project: Project, model: LanguageModel) -> dict[str, object]:
    """Return the new candidacy; what is served already, by an earlier promotion, needs no candidacy."""
    champion = champion_of(project)
    state = Candidacy.State.PROMOTED if champion == model else Candidacy.State.OPEN
    return {"champion": champion, "state": state}


def enrol_missing() -> int:
    """Enrol what no signal reached; return how many. One that cannot be enrolled holds up no other."""
    standing = Candidacy.objects.filter(project=OuterRef("project"), model=OuterRef("output_model"))
    runs = Run.objects.filter(
        state=Run.State.SUCCEEDED,
        output_model__in=LanguageModel.objects.policies().that_answer().available(),
        enters_arena=True,
    ).exclude(Exists(standing))
    rows = list(runs.select_related("project", "output_model__parent", "created_by").order_by("id"))
    each_alone(rows, enrol, log, "The model of %s could not be enrolled; trying again.")
    return len(rows)


def rule_of(project: Project) -> PromotionRule | None:
    """Return the rule in force."""
    return PromotionRule.objects.filter(project=project).first()


def annotator_kind_of(project: Project) -> str:
    """Return whose votes decide: as the rule says, else people's as soon as there are any."""
    rule = rule_of(project)
    return rule.judge if rule else default_annotator_kind(project)


def champion_of(project: Project) -> LanguageModel | None:
    """Return what is served by default now."""
    in_force = Promotion.objects.filter(project=project).select_related("model").first()
    return in_force.model if in_force else None


def opponents(candidacy: Candidacy) -> list[LanguageModel]:
    """Return its parent and the champion of the moment it entered, each once."""
    candidates = (parent_of(candidacy.model), candidacy.champion)
    return list(dict.fromkeys(model for model in candidates if model is not None and model != candidacy.model))


def _enter(candidacy: Candidacy) -> str:
    """Enter the model and its opponents into the arena; whoever was taken out of it by a person stays out."""
    project, entered, absent = candidacy.project, [], []
    for model in (candidacy.model, *opponents(candidacy)):
        has_left = Contestant.objects.filter(project=project, model=model).exclude(left_at=None).exists()
        if model.retired_at is None and not has_left:
            enter_arena(project=project, model=model)
            entered.append(model.name)
        elif model != candidacy.model:
            absent.append(f"{model} is {'retired' if model.retired_at else 'out of the arena'} and does not return.")
    opponent_names = [name for name in entered if name != candidacy.model.name]
    meets = f", against {' and '.join(opponent_names)}" if opponent_names else ""
    return " ".join([f"{candidacy.model} has entered the arena{meets}.", *absent])


@dataclass(frozen=True)
class _Sampling:
    """Say who is to answer the eval prompts, and the frozen prompts; `reason` says why nobody is, or is empty."""

    models: tuple[LanguageModel, ...] = ()
    prompts: Dataset | None = None
    reason: str = ""


def _plan_sampling(candidacy: Candidacy) -> _Sampling:
    """Freeze the eval prompts that a new candidate is to answer: before its transaction, for it writes files."""
    rule = rule_of(candidacy.project)
    sampling = rule.sampling if rule else PromotionRule.Sampling.AUTO
    n, run = sampled_prompts.prompts_to_sample(candidacy.project, Split.EVAL).count(), candidacy.run
    if sampling == PromotionRule.Sampling.NEVER or n == 0 or run is None or run.created_by is None:
        return _Sampling()
    if run.finished_at is None or timezone.now() - run.finished_at > FRESH:
        return _Sampling()
    if sampling == PromotionRule.Sampling.AUTO and n > FEW_PROMPTS:
        return _Sampling(reason=f"{_NO_ANSWERS}: there are {n:,} eval prompts, more than {FEW_PROMPTS}.")
    missing = [model for model in (candidacy.model, *opponents(candidacy)) if _can_sample(model, candidacy.project)]
    try:
        return _Sampling(tuple(missing), _eval_prompts(candidacy)) if missing else _Sampling()
    except Refused as refused:
        return _Sampling(reason=f"{_NO_ANSWERS}: {' '.join(refused.errors.values())}")


def _have_sampled(candidacy: Candidacy, plan: _Sampling) -> str:
    """Queue runs that answer the eval prompts in bulk, so that battles wait for no server; say what was done."""
    if plan.prompts is None:
        return plan.reason
    try:
        with transaction.atomic():
            for model in plan.models:
                _queue_sampling(candidacy, model, plan.prompts)
    except Refused as refused:
        return f"{_NO_ANSWERS}: {' '.join(refused.errors.values())}"
    return f"The eval prompts are being answered by {', '.join(m.name for m in plan.models)}."


def _can_sample(model: LanguageModel, project: Project) -> bool:
    """Return whether the model can sample: with weights of its own, and without answers of that sort or a run for
    them."""
    if project.runs.unfinished().filter(kind="sample", parent=model, dataset__side=Split.EVAL).exists():
        return False
    answers = Completion.objects.filter(model=model, prompt__project=project, prompt__side=Split.EVAL)
    return bool(model.folder) and model.retired_at is None and not answers.exclude(source=ARENA).exists()


def _queue_sampling(candidacy: Candidacy, model: LanguageModel, prompts: Dataset) -> None:
    run = candidacy.run
    assert run is not None and run.created_by is not None
    queue_run(
        kind="sample",
        project=candidacy.project,
        name=f"{model.name[:90]}: answers for the arena",
        by=run.created_by,
        parent=model,
        dataset=prompts,
        config=_sampled_like(candidacy),
        idempotency_key=f"enrolled:{candidacy.pk}:{model.pk}",
        was_allowed=True,  # who ordered the candidate may have left since
    )


def _eval_prompts(candidacy: Candidacy) -> Dataset:
    """Return the latest frozen eval prompts when they are still all of them, else frozen anew. Raises _Freezing while
    many are frozen in the background."""
    project, run = candidacy.project, candidacy.run
    assert run is not None
    if latest := sampled_prompts.latest_complete(project, Split.EVAL):
        return latest
    name = f"eval prompts for the candidate of run {run.pk}"
    frozen = sampled_prompts.freeze_all(project, Split.EVAL, name=name, by=run.created_by)
    if not isinstance(frozen, Dataset):
        raise _Freezing
    return frozen


def _sampled_like(candidacy: Candidacy) -> dict[str, object]:
    """Return the sampling of its opponents, so that neither has more room; else two answers a prompt, as the project
    draws them."""
    runs = Run.objects.filter(project=candidacy.project, kind="sample", dataset__side=Split.EVAL)
    earlier = runs.filter(parent__in=opponents(candidacy), state=Run.State.SUCCEEDED).first()
    return dict(earlier.config) if earlier else {"completions_per_prompt": 2}
