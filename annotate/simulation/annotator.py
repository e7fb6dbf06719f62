"""Simulate one annotator: a taste, and the ways in which people depart from their own taste."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field

Taste = Callable[[str, str], float]


@dataclass(frozen=True)
class Habits:
    """Say how an annotator departs from the taste. All are probabilities but for `severity`, which is in stars."""

    noise: float = 0.1  # judges as if by a coin
    ties: float = 0.95  # says so when two answers are equally good, instead of picking one
    laziness: float = 0.02  # skips, or sends a hurried answer without reading
    positional_bias: float = 0.0  # takes the first of two whatever they say
    length_bias: float = 0.0  # takes the longer of two whatever they say
    haste: float = 0.0  # answers within a second, read or not
    severity: float = 0.0  # stars less than others would give; negative for a mild annotator

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name == "severity":
                if not -4 <= value <= 4:
                    raise ValueError(f"severity is in stars: it must be between -4 and 4, not {value}.")
            elif not 0 <= value <= 1:
                raise ValueError(f"{name} is a probability: it must be between 0 and 1, not {value}.")


@dataclass(frozen=True)
class Annotation:
    """Hold what to send: `fields` for the API, or nothing but a reason to skip."""

    fields: dict[str, object] = field(default_factory=dict)
    skip_reason: str = ""


@dataclass
class Annotator:
    """An annotator by `taste`. Two with the same seed annotate alike."""

    taste: Taste
    habits: Habits = Habits()
    seed: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def rate(self, prompt: str, completion: str) -> Annotation:
        draw = self._random.random
        seconds = self._reading_time(completion)
        if draw() < self.habits.laziness:
            return self._lazy({"thumbs": True, "stars": 3})
        quality = self.taste(prompt, completion)
        if draw() < self.habits.noise:
            quality = draw()
        fields: dict[str, object] = {"thumbs": quality >= 0.5, "seconds": seconds}
        # Not everybody gives stars as well as a thumb.
        if draw() < 0.7:
            stars = 1 + 4 * quality + self._random.gauss(0, 0.4) - self.habits.severity
            fields["stars"] = min(5, max(1, round(stars)))
        return Annotation(fields)

    def compare(self, prompt: str, completion_a: str, completion_b: str, *, with_strength: bool = True) -> Annotation:
        draw = self._random.random
        if draw() < self.habits.laziness:
            return self._lazy({"winner": "model_a"})
        seconds = self._reading_time(completion_a + completion_b)
        if draw() < self.habits.positional_bias:
            return Annotation({"winner": "model_a", "seconds": seconds})
        if self.habits.length_bias and draw() < self.habits.length_bias and len(completion_a) != len(completion_b):
            longer = "model_a" if len(completion_a) > len(completion_b) else "model_b"
            return Annotation({"winner": longer, "seconds": seconds})
        a, b = self.taste(prompt, completion_a), self.taste(prompt, completion_b)
        if draw() < self.habits.noise:
            a, b = draw(), draw()
        if a == b and draw() < self.habits.ties:
            return Annotation({"winner": "both_bad" if a < 0.25 and draw() < 0.5 else "tie", "seconds": seconds})
        a_wins = a > b or (a == b and draw() < 0.5)
        fields: dict[str, object] = {"winner": "model_a" if a_wins else "model_b", "seconds": seconds}
        if with_strength and a != b:
            fields["strength"] = 1 + round(2 * abs(a - b))
        return Annotation(fields)

    def _lazy(self, hurried: dict[str, object]) -> Annotation:
        if self._random.random() < 0.5:
            return Annotation(skip_reason="too long to read today")
        return Annotation({**hurried, "seconds": round(self._random.uniform(0.3, 0.9), 1)})

    def _reading_time(self, text: str) -> float:
        """Return seconds at some 250 words a minute, give or take: what a person would have taken, unless in haste."""
        if self.habits.haste and self._random.random() < self.habits.haste:
            return round(self._random.uniform(0.2, 0.9), 1)
        return round(1.0 + len(text.split()) * 0.24 * self._random.uniform(0.7, 1.4), 1)


def taste_named(dotted_path: str) -> Taste:
    """Return the function at a dotted path. Raises ValueError that names what is missing."""
    module_name, _, name = dotted_path.rpartition(".")
    try:
        taste = getattr(importlib.import_module(module_name or "builtins"), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{dotted_path!r} names no function ({error}); give a dotted path such as "
            "annotate.simulation.tastes.addresses_the_reader."
        ) from None
    if not callable(taste):
        raise ValueError(
            f"{dotted_path!r} is not a function; a taste takes prompt and completion and returns a number."
        )
    return taste
