"""Show what a vote has changed: the ratings of its two models, which only another app can tell, and their meetings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.db.models import Count

from annotate.core.hooks import Hook
from annotate.labelling.records.battle_filter import Battles
from annotate.models import Battle, Comparison, Status, Winner


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
    "Called with a vote that ranks when the arena reveals its models; returns {id of the model: its rating}. Without "
    "it the page shows none.",
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
    return VoteEffect(ratings.get(battle.model_a_id), ratings.get(battle.model_b_id), _meetings_of(vote, battle))


def _meetings_of(vote: Comparison, battle: Battle) -> Meetings:
    votes = Comparison.objects.filter(
        project=vote.project_id,
        status=Status.COUNTED,
        judge=vote.judge,
        prompt__side=vote.prompt.side,
    )
    as_here, swapped = (
        dict(part.order_by().values_list("winner").annotate(Count("pk")))
        for part in Battles(battle.model_a, battle.model_b).parts(votes)
    )
    a = as_here.get(Winner.MODEL_A, 0) + swapped.get(Winner.MODEL_B, 0)
    b = as_here.get(Winner.MODEL_B, 0) + swapped.get(Winner.MODEL_A, 0)
    return Meetings(a, b, sum(as_here.values()) + sum(swapped.values()) - a - b)
