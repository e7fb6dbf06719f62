"""Queue evaluations of a project: several models measured alike; and find the figures that stand at present."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Max, QuerySet

from annotate.core.errors import Refused
from annotate.models import Dataset, LanguageModel, Project, User
from evaluation.models import Evaluation
from training.models import Run
from training.runs.ordering import actions

MOST_ALIKE = 50


def queue_alike(
    *,
    project: Project,
    models: Sequence[LanguageModel],
    name: str,
    by: User,
    dataset: Dataset | None = None,
    other_dataset: Dataset | None = None,
    reward_model: LanguageModel | None = None,
    config: dict[str, Any] | None = None,
    seed: int = 0,
    cloned_from: Run | None = None,
    idempotency_key: str | None = None,
) -> list[Run]:
    """Queue a run for each of the models, with the same options, so that they compare item by item; all or none. Return
    the runs.

    Refused as `training.runs.ordering.actions.queue_run` refuses; what is wrong with a model is said of `models`.
    """
    chosen = list(dict.fromkeys(models))
    if not 1 <= len(chosen) <= MOST_ALIKE:
        raise Refused(400, models=f"Choose between 1 and {MOST_ALIKE} models to measure.")
    name = name.strip() if isinstance(name, str) else ""
    runs = []
    with transaction.atomic():
        for model in chosen:
            try:
                runs.append(
                    actions.queue_run(
                        kind="evaluate",
                        project=project,
                        name=name if len(chosen) == 1 else _name_of(name, model),
                        by=by,
                        parent=model,
                        dataset=dataset,
                        other_dataset=other_dataset,
                        reward_model=reward_model,
                        config=config,
                        seed=seed,
                        cloned_from=cloned_from if len(chosen) == 1 else None,
                        idempotency_key=_key_of(idempotency_key, model),
                    )
                )
            except Refused as refused:
                renamed = {("models" if field == "parent" else field): text for field, text in refused.errors.items()}
                raise Refused(refused.status, **renamed) from refused
    return runs


def _name_of(name: str, model: LanguageModel) -> str:
    """Return `perplexity of tide-sft`; a name that is empty stays so, and is refused."""
    return f"{name} of {model.name}"[:120] if name else ""


def _key_of(key: str | None, model: LanguageModel) -> str | None:
    """Return one key for each model, however long the request's is; too long a one is refused as it is."""
    if not key or len(key) > 100:
        return key
    return hashlib.sha256(f"{key} {model.pk}".encode()).hexdigest()


@dataclass(frozen=True)
class Chosen:
    """Say which of a project's figures are asked for; "" is all."""

    task: str = ""
    metric: str = ""
    model: int | None = None  # this one, its ancestors and its descendants
    groups: bool = False


def standing(project: Project, chosen: Chosen, models: Iterable[int] | None = None) -> QuerySet[Evaluation]:
    """Return the newest figure of each model, task, group, metric and opponent: an older one was measured again."""
    rows = project.evaluations.all()
    if chosen.task:
        rows = rows.filter(task=chosen.task)
    if chosen.metric:
        rows = rows.filter(metric=chosen.metric)
    if not chosen.groups:
        rows = rows.filter(group="")
    if models is not None:
        rows = rows.filter(model__in=list(models))
    keys = ("model", "task", "group", "metric", "opponent")
    newest = rows.order_by().values(*keys).annotate(newest=Max("pk")).values("newest")
    return Evaluation.objects.filter(pk__in=newest).select_related("model__parent", "run", "opponent").order_by("pk")


def line_of(model: LanguageModel) -> list[LanguageModel]:
    """Return its ancestors, the first ones first, itself, and all that came of it."""
    ancestors, above, visited = [], model.parent, {model.pk}
    while above is not None and above.pk not in visited:
        visited.add(above.pk)
        ancestors.append(above)
        above = above.parent
    line, generation = [*reversed(ancestors), model], [model]
    while generation:
        children = LanguageModel.objects.filter(parent__in=generation).exclude(pk__in=visited).order_by("pk")
        generation = list(children)
        visited |= {child.pk for child in generation}
        line += generation
    return line
