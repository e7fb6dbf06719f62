"""Show what a vote has changed: the ratings of its two models, which only another app can tell, and their meetings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.db.models import Q

from annotate.core.hooks import Hook
from annotate.models import Comparison, Status, Winner


@dataclass(frozen=True)
class RatingAfterVote:
    """A model's rating, its 95 % interval's half width, and by how much this vote has moved it; in rating points."""

    rating: float
    margin: float
    battles: int
    change: float | None  # None: it had no rating before
    is_early: bool = False  # so few votes that the number says little


RATINGS_AFTER_VOTE: Hook[Callable[[Comparison], Mapping[int, RatingAfterVote]]] = Hook(
    "ratings after a vote",
    "Called with a vote that ranks when its models are told; returns {id of the model: its rating}. Without it the "
    "page shows none.",
    most=1,
)


@dataclass(frozen=True)
class Meetings:
    """How often the two models of a vote have met, this vote included: wins of its A, wins of its B, and neither."""

    a: int
    b: int
    neither: int

    @property
    def total(self) -> int:
        return self.a + self.b + self.neither


@dataclass(frozen=True)
class VoteEffect:
    """What a vote has changed; a model without a rating has None."""

    a: RatingAfterVote | None
    b: RatingAfterVote | None
    meetings: Meetings


def effect_of(vote: Comparison) -> VoteEffect:
    """Return what a vote that counts for the ranking has changed."""
    battle = vote.battle
    assert battle is not None
    tell = RATINGS_AFTER_VOTE.first
    ratings = tell(vote) if tell else {}
    return VoteEffect(ratings.get(battle.model_a_id), ratings.get(battle.model_b_id), _meetings_of(vote))


def _meetings_of(vote: Comparison) -> Meetings:
    a, b = vote.completion_a.model_id, vote.completion_b.model_id
    votes = Comparison.objects.filter(
        Q(completion_a__model=a, completion_b__model=b) | Q(completion_a__model=b, completion_b__model=a),
        project=vote.project_id,
        status=Status.COUNTED,
        judge=vote.judge,
        prompt__side=vote.prompt.side,
    )
    wins: dict[int | None, int] = {a: 0, b: 0, None: 0}
    for first, second, winner in votes.values_list("completion_a__model", "completion_b__model", "winner"):
        wins[first if winner == Winner.MODEL_A else second if winner == Winner.MODEL_B else None] += 1
    return Meetings(wins[a], wins[b], wins[None])
