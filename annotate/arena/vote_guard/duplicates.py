"""Find votes on the same item: by one person, by many visitors of one address, and by whoever asks the question
again."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet
from django.utils import timezone

from annotate.models import Battle, Comparison, Contestant, Hold, Status, User

DAYS = 7
FEWEST = 4  # votes from one address on one question and two models, below which nothing is asked
ALPHA = 0.001  # share of honest votes that may be held for the address they share


def repeated(battle: Battle, *, visitor: str, user: User | None, address: str, is_outside: bool) -> str:
    """Return the reason to hold a vote in this battle for, or ""."""
    if _of_this_item(battle).filter(_by(visitor, user)).exists():
        return Hold.REPEAT
    if not battle.is_drawn:
        return Hold.SAME_ITEM if is_outside and _is_repeated(battle) else ""
    return Hold.SAME_ITEM if address and _is_crowded(battle, address) else ""


def _by(visitor: str, user: User | None) -> Q:
    return Q(author=user) if user else Q(author=None, visitor=visitor)


def _of_this_item(battle: Battle) -> QuerySet[Comparison]:
    """Return all votes on the same question and the same two models, in either order."""
    a, b = battle.model_a_id, battle.model_b_id
    pair = Q(battle__model_a=a, battle__model_b=b) | Q(battle__model_a=b, battle__model_b=a)
    return Comparison.objects.filter(pair, battle__prompt=battle.prompt_id)


def _is_repeated(battle: Battle) -> bool:
    """Return whether a vote on it counts already, whoever asked.

    Sessions cost nothing: whoever knows a question whose answers identify the models could ask it from each. All of
    them together have one vote on it.
    """
    earlier = _of_this_item(battle).filter(status=Status.COUNTED).exclude(author__is_simulated=True)
    return earlier.exists()


def _is_crowded(battle: Battle, address: str) -> bool:
    """Return whether one address votes on this question and these models more often than the draw brings it there.

    Of the votes in drawn battles of the last DAYS, the share on this item among all *other* addresses is what chance
    gives each vote of this one; a binomial tail, divided among as many items as the address has votes. Since the item
    could be drawn at all: else a class that comes after a new model would be compared with days that had none.
    """
    since = max(timezone.now() - timedelta(days=DAYS), *_drawn_since(battle))
    recent = Q(battle__is_drawn=True, battle__trace__cast_at__gt=since)
    drawn_votes = Comparison.objects.filter(recent, project=battle.project_id)
    from_address, on_this = Q(battle__trace__address=address), _of_this_item(battle).filter(recent)
    on_item = on_this.filter(from_address).count() + 1
    if on_item < FEWEST:
        return False
    votes, other_addresses = drawn_votes.filter(from_address).count() + 1, drawn_votes.exclude(from_address)
    share = (on_this.exclude(from_address).count() + 1) / (other_addresses.count() + 1)
    return votes * tail(on_item, votes, share) <= ALPHA


def _drawn_since(battle: Battle) -> list[datetime]:
    """Return since when the question could be drawn: it was there, and its models had entered."""
    entered = Contestant.objects.filter(project=battle.project_id, model__in=[battle.model_a_id, battle.model_b_id])
    return [battle.prompt.created_at, *entered.values_list("entered_at", flat=True)]


def tail(successes: int, votes: int, share: float) -> float:
    """Return P(X ≥ successes) of a binomial, by the bound exp(−n·KL) (Chernoff, 1952): never too small."""
    observed = successes / votes
    if observed <= share:
        return 1.0
    if share <= 0:
        return 0.0
    gain = observed * math.log(observed / share)
    if observed < 1:
        gain += (1 - observed) * math.log((1 - observed) / (1 - share))
    return math.exp(-votes * gain)
