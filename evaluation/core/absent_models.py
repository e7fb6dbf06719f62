"""Say which models are not in the arena though something waits for votes on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from annotate.models import Contestant, LanguageModel, Project

_NAMED = 3


@dataclass(frozen=True)
class Lack:
    """What keeps votes or comparisons away, and the remedy. `words` follow the names of the models, where it is theirs;
    the remedy stands before them, for a text is cut where names are long. `state` says what is wrong of each."""

    state: str
    words: str
    models: tuple[LanguageModel, ...] = ()
    remedy: str = ""

    @property
    def links(self) -> list[tuple[str, LanguageModel]]:
        """Return each model that is named with what stands before it."""
        last = 0 if len(self.models) > _NAMED else len(self.models) - 1
        joined = enumerate(self.models[:_NAMED])
        return [(self.remedy if n == 0 else " and " if n == last else ", ", model) for n, model in joined]

    @property
    def rest(self) -> str:
        """Return what follows the named models."""
        more = len(self.models) - _NAMED
        return f" and {more} more {self.words}" if more > 0 else f" {self.words}" if self.models else self.words

    @property
    def text(self) -> str:
        return "".join(f"{before}{model.name}" for before, model in self.links) + self.rest

    @property
    def signs(self) -> list[str]:
        """Return what is wrong, with which models."""
        return [f"{self.state} {model.pk}" for model in self.models] or [self.state]


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
    return [*_lack(retired, "retired", "Bring {} back on {}"), *_lack(outside, "not in the arena", "Enter {} on {}")]


def _lack(models: Sequence[LanguageModel], state: str, remedy: str) -> list[Lack]:
    if not models:
        return []
    one = len(models) == 1
    do = remedy.format("it", "its page") if one else remedy.format("them", "their pages")
    words = f"is {state} and gets no votes." if one else f"are {state} and get no votes."
    return [Lack(state, words, tuple(models), f"{do}: ")]
