"""Votes on answers that stand, as `live_battles.vote` checks and stores them."""

from __future__ import annotations

from typing import Any

from annotate.arena.battles import votes
from annotate.arena.battles.scene import stored
from annotate.arena.vote_guard import actions as vote_guard
from annotate.models import Battle, Comparison, LanguageModel, Project, Prompt
from tests.support import factories

ME, HERE = "v" * 64, "a" * 32  # the visitor, and where they come from


def vote(*, battle: Battle, origin: vote_guard.Origin = vote_guard.NOWHERE, **fields: Any) -> Comparison:
    """Cast a ballot of these fields; no answer is stopped for it."""
    battle.refresh_from_db()  # as `own_battle` reads it for each request
    ballot = votes.Ballot(**fields)
    return votes.cast_vote(battle, ballot, origin, end_answers=lambda: stored(battle.pk))


def make_battle(project: Project, pair: list[LanguageModel], prompt: Prompt | None = None, **fields: Any) -> Battle:
    """Both answers stand, written for this battle alone: no visitor is shown an answer that another was told of."""
    prompt = prompt or factories.make_prompt(project, side="eval")
    answers = [factories.make_completion(prompt, model=model) for model in pair]
    who = {} if "user" in fields else {"visitor": ME}
    return Battle.objects.create(
        **{
            "project": project,
            "prompt": prompt,
            "model_a": pair[0],
            "model_b": pair[1],
            "completion_a": answers[0],
            "completion_b": answers[1],
            "is_drawn": True,
            **who,
            **fields,
        }
    )


def cast(battle: Battle, *, address: str = HERE, proof: str = "", **fields: Any) -> Comparison:
    """Vote as whoever started the battle, from that address."""
    return vote(
        battle=battle,
        token=votes.issue_token(battle),
        visitor=battle.visitor,
        user=battle.user,
        origin=vote_guard.Origin(((address, 1),) if address else (), proof),
        **{"winner": "model_a", **fields},
    )
