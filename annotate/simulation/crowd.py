"""Make a crowd of annotators of known habits: most honest and unlike each other, some lazy, some biased, and two bots.

What they are is known to whoever made them and to nobody else: it is what a look at their annotations should find out.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from .annotator import Annotator, Habits, Taste

HONEST, LAZY, BIASED, BOT = "honest", "lazy", "biased", "bot"


@dataclass(frozen=True)
class Member:
    kind: str
    annotator: Annotator

    @property
    def habits(self) -> Habits:
        return self.annotator.habits


def crowd(taste: Taste, size: int, *, lazy: int = 3, biased: int = 3, seed: int = 0) -> list[Member]:
    """Return `size` annotators, two bots among them: one presses the first button at once, one clicks at random, and
    fast.

    The dishonest come first. Honest ones err in up to a quarter of the cases, lean to a side a little, and are severe
    or mild by up to a star. Raises ValueError when there is no room for the honest.
    """
    if size <= lazy + biased + 2:
        raise ValueError(f"{lazy} lazy, {biased} biased and two bots leave no honest ones among {size}: take more.")
    draw = random.Random(seed)
    dishonest = [
        (BOT, Habits(positional_bias=1.0, laziness=0.0, haste=1.0)),
        (BOT, Habits(noise=1.0, laziness=0.0, haste=0.7)),
        *[(LAZY, Habits(noise=0.4, laziness=0.0, haste=0.5, ties=0.2)) for _ in range(lazy)],
        *[(BIASED, Habits(positional_bias=0.6, laziness=0.0)) for _ in range(biased)],
    ]
    honest = [(HONEST, _honest(draw)) for _ in range(size - len(dishonest))]
    return [
        Member(kind, Annotator(taste, habits, seed=seed * 1000 + number))
        for number, (kind, habits) in enumerate([*dishonest, *honest])
    ]


def _honest(draw: random.Random) -> Habits:
    return Habits(
        noise=draw.uniform(0.02, 0.25),
        ties=draw.uniform(0.6, 1.0),
        laziness=draw.uniform(0.0, 0.04),
        positional_bias=draw.uniform(0.0, 0.06),
        length_bias=draw.uniform(0.0, 0.1),
        severity=draw.uniform(-1.0, 1.0),
    )
