"""Say which models are not in the arena though something waits for votes on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from annotate.models import Contestant, LanguageModel, Project

_NAMED = 3


def why_absent(project: Project, models: Iterable[LanguageModel | None]) -> str:
    """Return which of these models get no votes in the arena, and the remedy; empty where all can get some."""
    asked = list(dict.fromkeys(model for model in models if model is not None))
    entered = Contestant.objects.filter(project=project, model__in=asked, left_at=None)
    inside = set(entered.values_list("model", flat=True))
    retired = [model for model in asked if model.retired_at is not None]
    outside = [model for model in asked if model.pk not in inside and model not in retired]
    parts = []
    if retired:
        it, page = ("it", "its page") if len(retired) == 1 else ("them", "their pages")
        parts.append(f"{_names(retired)} retired, without votes in the arena. Bring {it} back on {page}.")
    if outside:
        it, page = ("it", "its page") if len(outside) == 1 else ("them", "their pages")
        parts.append(f"{_names(outside)} not in the arena, without votes there. Enter {it} on {page}.")
    return " ".join(parts)


def _names(models: Sequence[LanguageModel]) -> str:
    """Return the names with their verb."""
    names = [model.name for model in models[:_NAMED]]
    if more := len(models) - len(names):
        names.append(f"{more} more")
    return f"{names[0]} is" if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]} are"
