"""The same thing judged again: by one person, and by many visitors of one address."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet
from django.utils import timezone

from annotate.models import Battle, Comparison, Contestant, Hold, User

DAYS = 7
FEWEST = 4  # votes from one address on one pair of answers, below which nothing is asked
ALPHA = 0.001  # share of honest votes that may be held for the address they share


def repeated(battle: Battle, *, visitor: str, user: User | None, address: str) -> str:
    """The reason to hold a vote in this battle for, or ""."""
    if _earlier(battle, visitor, user).exists():
        return Hold.REPEAT
    if address and battle.is_drawn and _is_crowded(battle, address):
        return Hold.SAME_ITEM
    return ""


def _earlier(battle: Battle, visitor: str, user: User | None) -> QuerySet[Comparison]:
    """This person's votes on the same question and the same two models, whichever way round."""
    mine = Q(author=user) if user else Q(author=None, visitor=visitor)
    a, b = battle.model_a_id, battle.model_b_id
    pair = Q(battle__model_a=a, battle__model_b=b) | Q(battle__model_a=b, battle__model_b=a)
    return Comparison.objects.filter(mine, pair, project=battle.project_id, battle__prompt=battle.prompt_id)


def _is_crowded(battle: Battle, address: str) -> bool:
    """Does one address vote on this pair of answers more often than the draw would bring it there?

    Of the votes in drawn battles of the last DAYS, the share on this pair among all *other* addresses is what chance
    gives each vote of this one; a binomial tail, divided among as many pairs as the address has votes. Since the pair
    could be drawn at all: else a class that comes after a new model would be compared with days that had none.
    """
    since = max(timezone.now() - timedelta(days=DAYS), *_drawn_since(battle))
    drawn = Comparison.objects.filter(
        project=battle.project_id, battle__is_drawn=True, battle__trace__cast_at__gt=since
    ).exclude(battle__trace=None)
    answers = {battle.completion_a_id, battle.completion_b_id}
    here = drawn.filter(battle__trace__address=address)
    on_this = Q(completion_a__in=answers, completion_b__in=answers)
    seen = here.filter(on_this).count() + 1
    if seen < FEWEST:
        return False
    votes, others = here.count() + 1, drawn.exclude(battle__trace__address=address)
    share = (others.filter(on_this).count() + 1) / (others.count() + 1)
    return votes * tail(seen, votes, share) <= ALPHA


def _drawn_since(battle: Battle) -> list[datetime]:
    """When the question was there, and when its models had entered."""
    entered = Contestant.objects.filter(project=battle.project_id, model__in=[battle.model_a_id, battle.model_b_id])
    return [battle.prompt.created_at, *entered.values_list("entered_at", flat=True)]


def tail(seen: int, votes: int, share: float) -> float:
    """P(X ≥ seen) of a binomial, by the bound exp(−n·KL) (Chernoff, 1952): never too small."""
    observed = seen / votes
    if observed <= share:
        return 1.0
    if share <= 0:
        return 0.0
    gain = observed * math.log(observed / share)
    if observed < 1:
        gain += (1 - observed) * math.log((1 - observed) / (1 - share))
    return math.exp(-votes * gain)
