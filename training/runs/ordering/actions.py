"""Queue, cancel and resume runs for people and programs. Each is one transaction or no change at all."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.language_models.model_settings import sampling_for, system_prompt_for
from annotate.models import Dataset, LanguageModel, Project, User
from common.sampling import sampling_of
from training import configs
from training.models import Run
from training.runs.ordering import hub_access as hubs
from training.runs.ordering import priorities
from training.runs.ordering.checks import check_in_use, check_name, check_order, free_name
from training.runs.ordering.code_version import code_version
from training.runs.ordering.end_events import announce_end, tell_finished
from training.runs.ordering.reward_order import named_models
from training.storage import actions as storage
from training.storage import quotas

_KEY_LENGTH = 100
# So begin the keys of their runs; in any case, for SQLite looks for them so.
_OF_A_STEP = re.compile(r"(^|:)(experiment|rounds|enrolled|first-model):\d", re.IGNORECASE)


def queue_run(
    *,
    kind: str,
    project: Project,
    name: str,
    by: User,
    parent: LanguageModel | None = None,
    dataset: Dataset | None = None,
    other_dataset: Dataset | None = None,
    reward_model: LanguageModel | None = None,
    config: dict[str, Any] | None = None,
    seed: int = 0,
    priority: str = Run.Priority.NORMAL,
    enters_arena: bool = True,
    cloned_from: Run | None = None,
    idempotency_key: str | None = None,
    is_step: bool = False,
    was_allowed: bool = False,
    finds_name: bool = False,
) -> Run:
    """Queue a run and return it; the first one again when the idempotency key is known.

    `is_step` says that the run is a step of a longer order, and that the key is the order's and no person's.
    `was_allowed` says that it is one, too, of an order that `by` had the right to give when they gave it: it is carried
    out though they have left since. With `finds_name` a name that is taken, perhaps in another project, gets a number:
    nobody is there to choose another.

    Refused with the field that is wrong: `kind, name, parent, dataset, other_dataset, reward_model, seed, priority,
    cloned_from` or `config.<field>`; or with the quota that the project has used up, `gpu_hours` or `disk_gb`.
    """
    if not was_allowed:
        require(by, "research", project)
    key = _scoped_key(by, idempotency_key, is_step=is_step or was_allowed)
    if key and (first := Run.objects.filter(idempotency_key=key).first()):
        return first
    if cloned_from is not None and cloned_from.project_id != project.pk:
        raise Refused(400, cloned_from=f"Run {cloned_from.pk} is in another project; leave it out.")
    priorities.check(priority, Run.Priority.NORMAL, project, by)
    try:
        return _queue(
            Run(
                kind=kind,
                project=project,
                name=name,
                parent=parent,
                dataset=dataset,
                other_dataset=other_dataset,
                reward_model=reward_model,
                config=config or {},
                seed=seed,
                priority=priority,
                enters_arena=enters_arena,
                cloned_from=cloned_from,
                idempotency_key=key,
                created_by=by,
            ),
            finds_name=finds_name,
        )
    except (IntegrityError, Refused):
        # The same request arrived twice at the same moment, and its twin came first: it may have taken the name, too.
        if key and (first := Run.objects.filter(idempotency_key=key).first()):
            return first
        raise


def _queue(run: Run, *, finds_name: bool) -> Run:
    """Check an order, and save it as a run."""
    wanted = run.name
    if finds_name:
        run.name = free_name(kind=run.kind, project=run.project, name=wanted)
    # Before the transaction, for they look at files and ask git: nobody else writes during it.
    checked = check_order(
        kind=run.kind,
        project=run.project,
        name=run.name,
        parent=run.parent,
        dataset=run.dataset,
        other_dataset=run.other_dataset,
        reward_model=run.reward_model,
        config={**defaults_of(run.kind, run.project, run.parent), **run.config},
        seed=run.seed,
    )
    quotas.check(run.project)
    run.code_version, run.config, run.name = code_version(), asdict(checked), run.name.strip()
    named = list(named_models(run.project, checked).values())
    run.reward_model = run.reward_model or next(iter(named), None)
    with transaction.atomic():
        # Again: a twin may have taken it meanwhile.
        if finds_name:
            run.name = free_name(kind=run.kind, project=run.project, name=wanted)
        else:
            check_name(kind=run.kind, project=run.project, name=wanted)
        run.save(force_insert=True)
        if others := [model for model in named if model != run.reward_model]:
            run.other_reward_models.set(others)
        hubs.record_order(run)
    return run


def defaults_of(kind: str, project: Project, parent: LanguageModel | None = None) -> dict[str, Any]:
    """Return the options that the model's or else the project's settings fill: people annotate answers drawn as they
    are served."""
    if kind not in ("sample", "best_of"):
        return {}
    if parent is None:
        return {**sampling_of(project), "system_prompt": project.system_prompt}
    return {**sampling_for(project, parent), "system_prompt": system_prompt_for(project, parent)}


def queue_again(
    *, run: Run, by: User, changes: dict[str, Any] | None = None, idempotency_key: str | None = None
) -> Run:
    """Queue a run like an earlier one but for these options, and return it; without any, those that are the remedy of
    its failure."""
    changes = run.remedy_changes if changes is None else changes
    return queue_run(
        kind=run.kind,
        project=run.project,
        name=run.name,  # free again once that run has ended without a model; else the refusal says so
        by=by,
        parent=run.parent,
        dataset=run.dataset,
        other_dataset=run.other_dataset,
        reward_model=run.reward_model,
        config={**configs.as_ordered(run.kind, run.config), **changes},
        seed=run.seed,
        enters_arena=run.enters_arena,
        cloned_from=run,
        idempotency_key=idempotency_key,
    )


def cancel(*, run: Run, by: User, was_allowed: bool = False) -> Run:
    """Cancel a run: a queued one ends at once, a running one as soon as its worker has stopped the recipe.

    `was_allowed` says that it ends with the longer order that it is a step of, whoever gave it."""
    if not was_allowed:
        require(by, "research", run.project)
    with transaction.atomic():
        run = Run.objects.select_for_update().get(pk=run.pk)
        if run.is_finished:
            raise Refused(409, state=f"The run has already {run.state}, so it cannot be cancelled.")
        now = timezone.now()
        run.cancel_requested_at = run.cancel_requested_at or now
        if run.state in (Run.State.QUEUED, Run.State.PAUSED):
            where = "waited in the queue" if run.state == Run.State.QUEUED else "was paused"
            run.state, run.finished_at, run.pause = Run.State.CANCELLED, now, {}
            run.reason_code, run.reason = "cancelled", f"Cancelled while it {where}."
            run.remedy = "Resume it to queue it again."
            announce_end(run)
            transaction.on_commit(lambda: tell_finished(run))
        run.save()
        _note("run.cancelled", run, by)
    return run


def cancel_unfinished(*, runs: Iterable[Run], by: User) -> None:
    """Cancel those of the runs that are not finished. One that ends meanwhile does not keep the others at work."""
    for run in runs:
        if run.is_finished:
            continue
        try:
            cancel(run=run, by=by)
        except Refused as refused:
            if refused.status != 409:
                raise


def resume_all(*, runs: Iterable[Run], by: User) -> tuple[int, Refused | None]:
    """Resume the runs of a longer order; return how many, and why the first was refused that was. One that is keeps no
    other from it."""
    count, first = 0, None
    for run in runs:
        try:
            resume(run=run, by=by)
            count += 1
        except Refused as refused:
            first = first or refused
    return count, first


def resume(*, run: Run, by: User) -> Run:
    """Queue a failed or cancelled run again, from its last complete checkpoint; a name that somebody has taken since
    gets a number. For a paused one there is a choice to make: `training.runs.ordering.pauses.choose`."""
    require(by, "research", run.project)
    quotas.check(run.project)
    with transaction.atomic():
        run = Run.objects.select_for_update().get(pk=run.pk)
        if run.state == Run.State.PAUSED:
            names = ", ".join(choice["name"] for choice in run.pause.get("choices", []))
            raise Refused(409, choice=f"The run has paused and waits for a choice: {names}. Choose one on its page.")
        if run.state not in (Run.State.FAILED, Run.State.CANCELLED):
            raise Refused(409, state=f"The run is {run.state}; only a failed or cancelled run can be resumed.")
        check_in_use(parent=run.parent, reward_model=run.reward_model)
        check_in_use(**{f"reward model {model.name}": model for model in run.reward_models[1:]})
        name, run.name = run.name, free_name(kind=run.kind, project=run.project, name=run.name)
        run.state = Run.State.QUEUED
        run.reason_code = run.reason = run.remedy = run.phase = ""
        run.remedy_changes = {}
        run.cancel_requested_at = run.finished_at = run.ends_at = None
        run.queued_at = timezone.now()
        run.save()
        _note("run.resumed", run, by, changes={"name": [name, run.name]} if run.name != name else None)
    return run


def make_room_and_resume(*, run: Run, by: User) -> Run:
    """Delete, after a full disk, the checkpoints that the rule lets go, and resume the run."""
    storage.prune(project=run.project, by=by)
    return resume(run=run, by=by)


def _note(action: str, run: Run, by: User, changes: dict[str, list[Any]] | None = None) -> None:
    audit.record(action=action, about=f"{run.kind} {run.name}", by=by, project=run.project, changes=changes)


def _scoped_key(by: User, key: str | None, *, is_step: bool) -> str | None:
    """Return the key with its sender: two people who choose the same key do not get each other's runs. And nobody's key
    is that of a step of a longer order, which would take up their run as its own."""
    if not key:
        return None
    if len(key) > _KEY_LENGTH or not key.isprintable():
        raise Refused(400, idempotency_key=f"Use at most {_KEY_LENGTH} printable characters, such as a UUID.")
    if not is_step and _OF_A_STEP.search(key):
        key = f"sha256 {hashlib.sha256(key.encode()).hexdigest()}"
    return f"{by.pk}:{key}"
