"""Choose the models that the form of a new run begins with: this project's newest ones that go together."""

from __future__ import annotations

from annotate.models import LanguageModel, Project
from annotate.models.language_models import LanguageModelQuerySet


def newest_model(models: LanguageModelQuerySet, project: Project) -> LanguageModel | None:
    """Return the project's newest of these models, else the newest that no run made; never another project's child."""
    return _of_project(models, project).first() or _imported(models).first()


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
    return models.of_projects([project]).order_by("-pk")


def _imported(models: LanguageModelQuerySet) -> LanguageModelQuerySet:
    return models.filter(made_by=None).order_by("-pk")


def _line(model: LanguageModel) -> list[int]:
    """Return the model and its parents, nearest first; a loop in the records ends it."""
    line = [model.pk]
    while model.parent is not None and model.parent_id not in line:
        model = model.parent
        line.append(model.pk)
    return line
