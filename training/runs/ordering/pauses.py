"""Let a person choose when a run has paused by itself, and let it go on.

The config of a run is frozen; a choice that changes an option is an *amendment*, an event of the run with its author,
its step and its reason. Amendments go to the recipe with the next attempt, and stand on the page, in the API and on the
card of the model.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.models import User
from training import configs
from training.models import Run
from training.runs.ordering.checks import check_in_use

Changes = dict[str, Any]


def choose(*, run: Run, by: User, choice: str, changes: Changes | None = None) -> Run:
    """Take one of the choices of a paused run, with other values where `changes` gives them; it is queued again."""
    require(by, "research", run.project)
    with transaction.atomic():
        run = Run.objects.select_for_update(of=("self",)).select_related("parent", "reward_model").get(pk=run.pk)
        if run.state != Run.State.PAUSED:
            raise Refused(409, state=f"The run is {run.state}; only a paused run needs a choice.")
        chosen = _find(run, choice)
        changes = {
            **configs.current_names(run.kind, chosen["changes"]),
            **configs.current_names(run.kind, changes or {}),
        }
        _check(run, changes)
        check_in_use(parent=run.parent, reward_model=run.reward_model)
        check_in_use(**{f"reward model {model.name}": model for model in run.reward_models[1:]})
        run.amendments = [*run.amendments, _amendment(run, chosen, changes, by)]
        go_on(run)
        before = configs.current_names(run.kind, run.config)
        old_and_new = {name: [before.get(name), value] for name, value in changes.items()}
        about = f"{run.kind} {run.name}: {chosen['name']}"
        audit.record(action="run.amended", about=about, by=by, project=run.project, changes=old_and_new)
    return run


def go_on(run: Run) -> None:
    """Queue the run again, from the checkpoint of its pause. Call inside a transaction that holds the run."""
    run.state = Run.State.QUEUED
    run.reason_code = run.reason = run.remedy = run.phase = ""
    run.cancel_requested_at = run.finished_at = run.ends_at = None
    run.queued_at = timezone.now()
    run.pause = {}
    run.save()


def config_now(run: Run) -> Changes:
    """Return the config with all amendments: what the recipe goes by at present."""
    config = configs.current_names(run.kind, run.config)
    for amendment in run.amendments:
        config.update(configs.current_names(run.kind, amendment["changes"]))
    return config


def amendable(run: Run) -> tuple[str, ...]:
    return getattr(configs.CONFIGS.get(run.kind), "amendable", ())


def _find(run: Run, name: str) -> Changes:
    choices = {choice["name"]: choice for choice in run.pause.get("choices", [])}
    if name not in choices:
        raise Refused(400, choice=f"{name!r} is not a choice of this pause; choose one of {', '.join(choices)}.")
    return choices[name]


def _check(run: Run, changes: Changes) -> None:
    allowed = amendable(run)
    errors = {
        f"changes.{name}": f"cannot change during a run; you can change {', '.join(allowed)}."
        for name in changes
        if name not in allowed
    }
    if errors:
        raise Refused(400, **errors)
    try:
        checked = configs.parse(run.kind, {**config_now(run), **changes})
    except configs.ConfigError as error:
        raise Refused(400, **{f"changes.{name}": text for name, text in error.errors.items()}) from error
    changes.update({name: getattr(checked, name) for name in changes})


def _amendment(run: Run, chosen: Changes, changes: Changes, by: User) -> Changes:
    reason = {name: run.pause[name] for name in ("code", "step", "message")}
    return {
        **reason,
        "choice": chosen["name"],
        "action": chosen["action"],
        "changes": changes,
        "by": by.username,
        "at": timezone.now().isoformat(timespec="seconds"),
    }
