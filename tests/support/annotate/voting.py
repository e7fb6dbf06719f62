"""Votes on answers that stand, as `live_battles.vote` checks and stores them."""

from __future__ import annotations

from typing import Any

from annotate.arena.battles import votes
from annotate.arena.battles.scene import stored
from annotate.arena.vote_guard import actions as vote_guard
from annotate.models import Battle, Comparison


def vote(*, battle: Battle, origin: vote_guard.Origin = vote_guard.NOWHERE, **fields: Any) -> Comparison:
    """Cast a ballot of these fields; no answer is stopped for it."""
    battle.refresh_from_db()  # as `own_battle` reads it for each request
    ballot = votes.Ballot(**fields)
    return votes.cast_vote(battle, ballot, origin, end_answers=lambda: stored(battle.pk))
