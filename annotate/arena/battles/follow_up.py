"""Ask a further question in a battle: each side continues its own conversation, in the split in which it began."""

from __future__ import annotations

from typing import Literal

from django.conf import settings
from django.db import transaction

from annotate.arena.battles import actions as arena
from annotate.arena.battles.scene import Place, questions_of
from annotate.core.errors import Refused
from annotate.data.prompts.actions import add_prompt
from annotate.models import Battle, BattleTurn, Comparison, Completion, Prompt, User
from annotate.models.prompts import ARENA

MOST_TURNS = 8  # questions of one battle, the first one included


@transaction.atomic
def ask_on(*, battle: Battle, text: str, user: User | None = None, number: int | None = None) -> BattleTurn:
    """Return the next turn; its answers still have to be written. `number` distinguishes a question sent twice from
    two."""
    arena.check_question(text)
    battle = Battle.objects.select_for_update(of=("self",)).select_related("prompt").get(pk=battle.pk)
    questions = questions_of(battle)
    if number is not None and (same := _sent_before(questions, number, text)):
        return same
    _check_open(battle, questions)
    prompts = [_prompt(battle, questions, letter, text.strip(), user) for letter in ("a", "b")]
    Battle.objects.filter(pk=battle.pk).update(
        stop_asked_at=None, draft_a="", draft_b="", claim=None, claimed_until=None
    )
    turns = len(questions)
    return BattleTurn.objects.create(battle=battle, number=turns + 1, prompt_a=prompts[0], prompt_b=prompts[1])


def _sent_before(questions: list[Place], number: int, text: str) -> BattleTurn | None:
    last_question = questions[-1]
    if (
        isinstance(last_question, BattleTurn)
        and last_question.number == number
        and last_question.prompt_a.text == text.strip()
    ):
        return last_question
    if number != len(questions) + 1:
        raise Refused(
            409, number=f"The next question of this battle has number {len(questions) + 1}; reload the battle."
        )
    return None


def _check_open(battle: Battle, questions: list[Place]) -> None:
    if Comparison.objects.filter(battle=battle).exists():
        raise Refused(409, battle="You have already voted in this battle; start another one.")
    if battle.spoilt_reason:
        raise Refused(409, battle=f"{battle.spoilt_reason} Start another battle.")
    last = questions[-1]
    if not last.spoilt_reason and not (last.completion_a_id and last.completion_b_id):
        raise Refused(409, battle="Wait until both answers are finished, or stop them. Then ask a follow-up.")
    if len(questions) >= MOST_TURNS:
        raise Refused(409, text=f"A battle has at most {MOST_TURNS} questions; vote, and start another one.")


def _prompt(battle: Battle, questions: list[Place], letter: Literal["a", "b"], text: str, user: User | None) -> Prompt:
    messages = list(battle.prompt.messages)
    for number, question in enumerate(questions, 1):
        answer: Completion | None = question.completion_a if letter == "a" else question.completion_b
        if question.spoilt_reason or answer is None:  # a question that failed is no part of what was said
            continue
        if number > 1:
            messages.append({"role": "user", "content": question.prompt_a.text})  # type: ignore[union-attr]
        messages.append({"role": "assistant", "content": answer.text})
    messages.append({"role": "user", "content": text})
    # Neither side is told from the other: which of the two conversations is the longer one is not for the voter.
    if sum(len(turn["content"]) for turn in messages) > settings.MAX_PROMPT_CHARACTERS:
        raise Refused(
            413,
            text=f"This conversation is longer than {settings.MAX_PROMPT_CHARACTERS:,} characters; "
            "vote, and start another one.",
        )
    return add_prompt(project=battle.project, messages=messages, source=ARENA, by=user, root=battle.prompt)
