"""A further question in a battle: each side goes on with its own conversation, in the split in which it began."""

from __future__ import annotations

from typing import Literal

from django.conf import settings
from django.db import transaction

from annotate.arena.battles import actions as arena
from annotate.arena.battles.scene import Place, places_of
from annotate.core.errors import Refused
from annotate.data.prompts.actions import add_prompt
from annotate.models import Battle, BattleTurn, Comparison, Completion, Prompt, User
from annotate.models.prompts import ARENA

MOST_TURNS = 8  # questions of one battle, the first one included


@transaction.atomic
def ask_on(*, battle: Battle, text: str, user: User | None = None, number: int | None = None) -> BattleTurn:
    """Return the next turn; its answers have to be written yet. `number` tells a question that was sent twice from
    two."""
    arena.check_question(text)
    battle = Battle.objects.select_for_update(of=("self",)).select_related("prompt").get(pk=battle.pk)
    places = places_of(battle)
    if number is not None and (same := _sent_before(places, number, text)):
        return same
    _check_open(battle, places)
    prompts = [_prompt(battle, places, letter, text.strip(), user) for letter in ("a", "b")]
    Battle.objects.filter(pk=battle.pk).update(
        stop_asked_at=None, draft_a="", draft_b="", claim=None, claimed_until=None
    )
    turns = len(places)
    return BattleTurn.objects.create(battle=battle, number=turns + 1, prompt_a=prompts[0], prompt_b=prompts[1])


def _sent_before(places: list[Place], number: int, text: str) -> BattleTurn | None:
    place = places[-1]
    if isinstance(place, BattleTurn) and place.number == number and place.prompt_a.text == text.strip():
        return place
    if number != len(places) + 1:
        raise Refused(409, number=f"The next question of this battle is number {len(places) + 1}; look at it again.")
    return None


def _check_open(battle: Battle, places: list[Place]) -> None:
    if Comparison.objects.filter(battle=battle).exists():
        raise Refused(409, battle="You have voted in this battle; start another one to go on.")
    if battle.spoilt_reason:
        raise Refused(409, battle=f"{battle.spoilt_reason} Start another battle.")
    last = places[-1]
    if not last.spoilt_reason and not (last.completion_a_id and last.completion_b_id):
        raise Refused(409, battle="Wait until both answers stand, or stop them; then ask on.")
    if len(places) >= MOST_TURNS:
        raise Refused(409, text=f"After {MOST_TURNS} questions a battle ends: vote, and start another one.")


def _prompt(battle: Battle, places: list[Place], letter: Literal["a", "b"], text: str, user: User | None) -> Prompt:
    messages = list(battle.prompt.messages)
    for number, place in enumerate(places, 1):
        answer: Completion | None = place.completion_a if letter == "a" else place.completion_b
        if place.spoilt_reason or answer is None:  # a question that failed is no part of what was said
            continue
        if number > 1:
            messages.append({"role": "user", "content": place.prompt_a.text})  # type: ignore[union-attr]
        messages.append({"role": "assistant", "content": answer.text})
    messages.append({"role": "user", "content": text})
    # Neither side is told from the other: which of the two conversations is the longer one is not for the voter.
    if sum(len(turn["content"]) for turn in messages) > settings.MAX_PROMPT_CHARACTERS:
        raise Refused(
            413,
            text=f"This conversation has become longer than {settings.MAX_PROMPT_CHARACTERS:,} characters: "
            "vote, and start another one.",
        )
    return add_prompt(project=battle.project, messages=messages, source=ARENA, by=user, root=battle.prompt)
