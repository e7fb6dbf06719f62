"""People's opinion beside the reward model's, over the pairs of a run's reviews. Pure.

A review asks which of two answers to one prompt is better: the policy's or its parent's. A pair counts once, however
many people judged it: for the policy, for the parent, or as undecided. Agreement is over the decided pairs in which the
reward model has a favourite.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from common.distributions import ROUNDED_Z95
from common.intervals import wilson
from common.texts import percent

RECENT = 3  # reviews that a pause is decided on


@dataclass(frozen=True)
class Opinion:
    """Hold the opinions of one pair: the step it was sampled at, the share of votes that the reward model expects for
    the policy's answer, and the share that people gave it; a tie is half a vote in both."""

    step: int
    predicted: float
    people: float

    @property
    def is_decided(self) -> bool:
        return self.people != 0.5 and self.predicted != 0.5

    @property
    def agrees(self) -> bool:
        return self.is_decided and (self.people > 0.5) == (self.predicted > 0.5)


@dataclass(frozen=True)
class Agreement:
    """Hold the agreement of people with the reward model: `agreed` of `decided` pairs, with Wilson's 95 % interval; the
    mean of what either side says of all pairs."""

    pairs: int
    decided: int
    agreed: int
    predicted: float
    people: float

    @property
    def share(self) -> float:
        return self.agreed / self.decided if self.decided else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.agreed, self.decided, ROUNDED_Z95)


def agreement(opinions: Iterable[Opinion]) -> Agreement:
    rows = list(opinions)
    n = max(1, len(rows))
    return Agreement(
        pairs=len(rows),
        decided=sum(o.is_decided for o in rows),
        agreed=sum(o.agrees for o in rows),
        predicted=sum(o.predicted for o in rows) / n,
        people=sum(o.people for o in rows) / n,
    )


def of_rows(rows: Iterable[dict[str, Any]], judge: str) -> list[Opinion]:
    """Return the opinions of a run's opinions.jsonl, of people or of simulations and never of both."""
    return [Opinion(row["step"], row["predicted"], row["people"]) for row in rows if row["judge"] == judge]


def recent(opinions: Sequence[Opinion], after: int = -1) -> list[Opinion]:
    """Return those of the last few reviews that were judged, taken later than step `after`."""
    steps = sorted({o.step for o in opinions if o.step > after})[-RECENT:]
    return [o for o in opinions if o.step in steps]


def disagree(agreement: Agreement, least: float) -> bool:
    """Return whether even the upper end of the interval is below what was asked for."""
    return agreement.decided > 0 and agreement.interval[1] < least


def in_words(agreement: Agreement, people: str, reward: str = "the reward model") -> str:
    """Return both opinions and how often they are one, as a sentence without its full stop."""
    low, high = agreement.interval
    return (
        f"{people} agree with {reward} on {agreement.agreed} of {agreement.decided} pairs that they decided, "
        f"{percent(agreement.share)} [{100 * low:.0f}, {100 * high:.0f}]; it expects {percent(agreement.predicted)} of "
        f"the votes for the policy's answers against the parent's, and they got {percent(agreement.people)}"
    )
