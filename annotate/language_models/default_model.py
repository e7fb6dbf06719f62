"""Which model a project serves when nobody names one. Another app decides it; this one only asks."""

from __future__ import annotations

from collections.abc import Callable

from annotate.models import LanguageModel, Project

Default = Callable[[Project], LanguageModel | None]
_registered: list[Default] = []


def register_default(function: Default | None) -> None:
    """The last one holds; None: no project has a default."""
    _registered[:] = [] if function is None else [function]


def default_model(project: Project) -> LanguageModel | None:
    """None where nothing has been promoted."""
    return _registered[0](project) if _registered else None
