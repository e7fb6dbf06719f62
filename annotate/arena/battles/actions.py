"""Battles in the arena: start one, on a question or a drawn prompt, and find one's own."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet

from annotate.arena.battles import pairing
from annotate.arena.battles import scene as battle_scene
from annotate.arena.masking import masked_text as masking
from annotate.arena.vote_guard import actions as vote_guard
from annotate.core.errors import Refused
from annotate.data.prompts.actions import add_prompt
from annotate.models import (
    Battle,
    LanguageModel,
    Project,
    Prompt,
    User,
)
from annotate.models.prompts import ARENA

MOST_DRAWS = 3  # of a battle whose answers somebody else is shown at the same moment
# What whoever acts on a battle needs of it, in one query.
RELATED = ("project", "prompt", "completion_a", "completion_b", "model_a", "model_b")
NAMED_ITSELF = "a model named itself in its answer"


def start_battle(
    *, project: Project, visitor: str, user: User | None = None, text: str | None = None, is_drawn: bool = False
) -> Battle:
    """Start a battle of two models on what was asked, or on a drawn prompt. Its answers may have to be written yet."""
    if not (visitor or user):
        raise Refused(403, visitor="Sign in, or allow the session cookie of this site: a battle needs one of them.")
    if is_drawn == (text is not None):
        raise Refused(400, text="Ask a question or draw a prompt, not both.")
    if text is not None:
        check_question(text)
        served = pairing.served_contestants(project)
        # Who meets whom may need ratings fitted: before the transaction, for nobody else writes during it.
        pair = pairing.choose_pair(project, served)
        with transaction.atomic():
            battle = _battle(project, pair, pairing.Draw(_ask(project, text, user), None), visitor, user)
            battle.save()
        return battle
    is_outside, answering = vote_guard.is_outside(user, project), pairing.answering_contestants(project)
    for tries_left in reversed(range(MOST_DRAWS)):
        battle = _draw(project, answering, visitor, user, is_outside)
        with transaction.atomic():
            # Somebody else may have been shown these answers in the meantime. At the worst this vote will be held.
            if not is_outside or pairing.is_free(battle) or not tries_left:
                battle.save()
                break
    return battle


def _draw(
    project: Project, answering: list[LanguageModel], visitor: str, user: User | None, is_outside: bool
) -> Battle:
    """Return a battle on a drawn prompt, unsaved. Without stored answers both of its models are `answering`."""
    pair, own_battles = pairing.choose_pair(project), battles_of(project=project, visitor=visitor, user=user)
    draw = pairing.draw(project, pair, own_battles, is_outside=is_outside)
    if draw.completions is None and not set(pair) <= set(answering):
        can_write = len(answering) >= 2
        pair = (
            pairing.choose_pair(project, answering)
            if can_write
            else pairing.choose_stored_pair(project, is_outside=is_outside)
        )
        draw = pairing.draw(project, pair, own_battles, is_outside=is_outside)
        if draw.completions is None and not can_write:
            raise Refused(409, drawn="Others have just been shown the last stored answers of two models. Draw again.")
    return _battle(project, pair, draw, visitor, user)


def _battle(project: Project, pair: pairing.Pair, draw: pairing.Draw, visitor: str, user: User | None) -> Battle:
    """Return the battle, unsaved; held for review where an answer that stands names its own model."""
    completion_a, completion_b = draw.completions or (None, None)
    battle = Battle(
        project=project,
        prompt=draw.prompt,
        model_a=pair[0],
        model_b=pair[1],
        completion_a=completion_a,
        completion_b=completion_b,
        user=user,
        visitor=visitor,
        is_drawn=draw.is_drawn,
    )
    masking_context = battle_scene.masking_context(battle, battle)
    if any(masking.names_itself(answer.text, masking_context) for answer in draw.completions or ()):
        battle.hold_reason = NAMED_ITSELF
    return battle


def battles_of(*, project: Project, visitor: str, user: User | None) -> QuerySet[Battle]:
    """Return the battles that this person has started here."""
    is_own = Q(user=user) if user else Q(user=None, visitor=visitor)
    return Battle.objects.filter(is_own, project=project) if user or visitor else Battle.objects.none()


def own_battle(*, token: UUID | str, visitor: str, user: User | None) -> Battle | None:
    """Return the battle of this token if this person has started it; a stranger gets None, as if there were none.

    Ownership is checked here and nowhere else: pages, API and sockets act on battles that they have found so.
    Raises ValidationError for a token that is no UUID.
    """
    battle = Battle.objects.select_related(*RELATED).filter(token=token).first()
    return battle if battle is not None and _belongs_to(battle, visitor, user) else None


def _belongs_to(battle: Battle, visitor: str, user: User | None) -> bool:
    if battle.user_id is not None:
        return user is not None and battle.user_id == user.pk
    return bool(visitor) and battle.visitor == visitor


def check_question(text: str) -> None:
    if not text.strip():
        raise Refused(400, text="The question is empty; write one.")
    if len(text) > settings.MAX_PROMPT_CHARACTERS:
        raise Refused(
            413,
            text=f"The question has {len(text):,} characters; the limit is {settings.MAX_PROMPT_CHARACTERS:,}; "
            "shorten it.",
        )


def _ask(project: Project, text: str, user: User | None) -> Prompt:
    try:
        messages = [{"role": "user", "content": text.strip()}]
        return add_prompt(project=project, messages=messages, source=ARENA, by=user)
    except Refused as refused:  # the person gave a text and knows nothing of messages
        raise Refused(refused.status, text=" ".join(refused.errors.values())) from refused
