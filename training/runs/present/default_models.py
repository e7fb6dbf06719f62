"""Choose the models that the form of a new run begins with: this project's newest ones that go together."""

from __future__ import annotations

from django.db.models import Q

from annotate.models import LanguageModel, Project
from annotate.models.language_models import LanguageModelQuerySet

_MOST_LOOKED_AT = 20


def newest_model(models: LanguageModelQuerySet, project: Project) -> LanguageModel | None:
    """Return the project's newest of these models, else the newest that no run made; never another project's child."""
    return _of_project(models, project).first() or _imported(models).first()


def newest_pair(
    parents: LanguageModelQuerySet, rewards: LanguageModelQuerySet, project: Project
) -> LanguageModel | None:
    """Return the newest model of the project that has a reward model of its line, else the newest at all."""
    with_reward = (
        model for model in _of_project(parents, project)[:_MOST_LOOKED_AT]
        if newest_reward_model(rewards, project, model) is not None
    )  # fmt: skip
    return next(with_reward, None) or newest_model(parents, project)


def newest_reward_model(
    models: LanguageModelQuerySet, project: Project, parent: LanguageModel | None
) -> LanguageModel | None:
    """Return the newest that was made from the parent, else from the nearest of its line, else one made from nothing.

    Scores of a reward model of another line mean little for what this parent writes.
    """
    candidates = list(_of_project(models, project)) or list(_imported(models))
    if parent is None:
        return candidates[0] if candidates else None
    line = _line(parent)
    for ancestor in line:
        for model in candidates:
            if model.parent_id == ancestor:
                return model
    fits = (model for model in candidates if model.parent_id is None or _line(model)[-1] == line[-1])
    return next(fits, None)


def _of_project(models: LanguageModelQuerySet, project: Project) -> LanguageModelQuerySet:
    """Return what was made or is used here, newest first, without what another project made or registered."""
    made_here = Q(made_by=None, kept_checkpoint=None) | Q(made_by__project=project)
    of_here = models.of_projects([project]).filter(made_here, Q(project=None) | Q(project=project))
    return of_here.select_related("parent").order_by("-pk")


def _imported(models: LanguageModelQuerySet) -> LanguageModelQuerySet:
    return models.imported().filter(project=None).order_by("-pk")


def _line(model: LanguageModel) -> list[int]:
    """Return the model and its parents, nearest first; a loop in the records ends it."""
    line = [model.pk]
    while model.parent is not None and model.parent_id not in line:
        model = model.parent
        line.append(model.pk)
    return line
