"""Say which models are not in the arena though something waits for votes on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from annotate.models import Contestant, LanguageModel, Project

_NAMED = 3


@dataclass(frozen=True)
class Lack:
    """What keeps votes or comparisons away, and the remedy: `models` come first in the sentence, where it is theirs,
    and `more` are left unnamed."""

    words: str
    models: tuple[LanguageModel, ...] = ()
    more: int = 0

    @property
    def links(self) -> list[tuple[str, LanguageModel]]:
        """Return each named model with what stands before it."""
        last = 0 if self.more else len(self.models) - 1
        return [("" if n == 0 else " and " if n == last else ", ", model) for n, model in enumerate(self.models)]

    @property
    def rest(self) -> str:
        """Return what follows the named models."""
        return f" and {self.more} more {self.words}" if self.more else f" {self.words}" if self.models else self.words

    @property
    def text(self) -> str:
        return "".join(f"{before}{model.name}" for before, model in self.links) + self.rest


def in_words(lacks: Iterable[Lack], before: str = "") -> str:
    """Return what is lacking in one text, behind the sentences of `before`."""
    return " ".join(filter(None, (before, *(lack.text for lack in lacks))))


def absent(project: Project, models: Iterable[LanguageModel | None]) -> list[Lack]:
    """Return which of these models get no votes in the arena, and the remedy; empty where all can get some."""
    asked = list(dict.fromkeys(model for model in models if model is not None))
    entered = Contestant.objects.filter(project=project, model__in=asked, left_at=None)
    inside = set(entered.values_list("model", flat=True))
    retired = [model for model in asked if model.retired_at is not None]
    outside = [model for model in asked if model.pk not in inside and model not in retired]
    return [*_lack(retired, "retired", "Bring {} back on {}."), *_lack(outside, "not in the arena", "Enter {} on {}.")]


def _lack(models: Sequence[LanguageModel], state: str, remedy: str) -> list[Lack]:
    if not models:
        return []
    one = len(models) == 1
    do = remedy.format("it", "its page") if one else remedy.format("them", "their pages")
    words = f"is {state} and gets no votes." if one else f"are {state} and get no votes."
    return [Lack(f"{words} {do}", tuple(models[:_NAMED]), max(0, len(models) - _NAMED))]
