"""Tell which model a project serves when nobody names one. Another app decides it; this one only asks."""

from __future__ import annotations

from collections.abc import Callable

from annotate.core.hooks import Hook
from annotate.models import LanguageModel, Project

Default = Callable[[Project], LanguageModel | None]
DEFAULT_MODEL: Hook[Default] = Hook(
    "default model",
    "Called with a project; returns the model that it serves when nobody names one. Without it no project has a "
    "default.",
    most=1,
)


def default_model(project: Project) -> LanguageModel | None:
    """Return None where nothing has been promoted."""
    chosen_by = DEFAULT_MODEL.first
    return chosen_by(project) if chosen_by else None
