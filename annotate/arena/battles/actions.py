"""Battles in the arena: start one, ask on, vote in it, and say what the vote counts for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac

from annotate.arena.battles import pairing
from annotate.arena.battles import scene as battle_scene
from annotate.arena.battles.scene import Scene
from annotate.arena.masking import masked_text as masking
from annotate.arena.vote_guard import actions as vote_guard
from annotate.core import events
from annotate.core.errors import Refused
from annotate.data.prompts.actions import add_prompt
from annotate.labelling.forms.validation import check_extras
from annotate.models import (
    AnnotatorKind,
    Battle,
    BattleTurn,
    Comparison,
    Completion,
    Guideline,
    LanguageModel,
    Project,
    Prompt,
    Split,
    Status,
    User,
    Winner,
)
from annotate.models.feedback import annotator_kind_of
from annotate.models.prompts import ARENA

LONGEST_SECONDS = 24 * 3600.0
MOST_DRAWS = 3  # of a battle whose answers somebody else is shown at the same moment
# What whoever acts on a battle needs of it, in one query.
_RELATED = ("project", "prompt", "completion_a", "completion_b", "model_a", "model_b")
NAMED_ITSELF = "a model named itself in its answer"


RANKS, FOR_TRAINING, KEPT = "counted", "for training", "kept, counts for nothing"


@dataclass(frozen=True)
class Counting:
    """Whether a vote moves the ranking, and why, in words for whoever cast it; `tag` says it in one or two."""

    ranks: bool
    words: str
    tag: str

    @property
    def is_of_use(self) -> bool:
        """Whether it ranks or teaches."""
        return self.tag in (RANKS, FOR_TRAINING)


def start_battle(
    *, project: Project, visitor: str, user: User | None = None, text: str | None = None, drawn: bool = False
) -> Battle:
    """Two models of the arena on what was asked, or on a drawn prompt. Its answers may have to be written yet."""
    if not (visitor or user):
        raise Refused(403, visitor="A battle belongs to somebody: sign in, or allow this site its session cookie.")
    if drawn == (text is not None):
        raise Refused(400, text="Either ask something or draw a prompt, and not both.")
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
    pair, mine = pairing.choose_pair(project), battles_of(project=project, visitor=visitor, user=user)
    draw = pairing.draw(project, pair, mine, is_outside=is_outside)
    if draw.completions is None and not set(pair) <= set(answering):
        can_write = len(answering) >= 2
        pair = (
            pairing.choose_pair(project, answering)
            if can_write
            else pairing.choose_stored_pair(project, is_outside=is_outside)
        )
        draw = pairing.draw(project, pair, mine, is_outside=is_outside)
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
    told = battle_scene.masking_context(battle, battle)
    if any(masking.names_itself(answer.text, told) for answer in draw.completions or ()):
        battle.hold_reason = NAMED_ITSELF
    return battle


def battles_of(*, project: Project, visitor: str, user: User | None) -> QuerySet[Battle]:
    """The battles that this person has started here."""
    mine = Q(user=user) if user else Q(user=None, visitor=visitor)
    return Battle.objects.filter(mine, project=project) if user or visitor else Battle.objects.none()


def own_battle(*, token: UUID | str, visitor: str, user: User | None) -> Battle | None:
    """Return the battle of this token if this person has started it; a stranger gets None, as if there were none.

    Ownership is checked here and nowhere else: pages, API and sockets act on battles that they have found so.
    Raises ValidationError for a token that is no UUID.
    """
    battle = Battle.objects.select_related(*_RELATED).filter(token=token).first()
    return battle if battle is not None and _belongs_to(battle, visitor, user) else None


def _belongs_to(battle: Battle, visitor: str, user: User | None) -> bool:
    if battle.user_id is not None:
        return user is not None and battle.user_id == user.pk
    return bool(visitor) and battle.visitor == visitor


def issue_token(battle: Battle) -> str:
    """The token that one vote uses up: to be given out once both answers have begun. "" when it is used up.

    It is the same in every tab of whoever the battle belongs to, and nobody else can make it.
    """
    owner = f"{battle.token} {battle.user_id or ''} {battle.visitor}"
    token = salted_hmac("annotate.arena.vote", owner, algorithm="sha256").hexdigest()
    if Comparison.objects.filter(battle=battle).exists() or battle.spoilt_reason:
        return ""
    new = Battle.objects.filter(~Q(vote_token_hash=_hash(token)) | Q(begun_at=None), pk=battle.pk)
    new.update(vote_token_hash=_hash(token), begun_at=Coalesce("begun_at", timezone.now()))
    return token


@dataclass(frozen=True)
class Ballot:
    """A vote as it is sent. `token` is of `issue_token`; `seconds` None: since both answers had begun."""

    winner: str
    token: str
    visitor: str
    user: User | None = None
    seconds: float | None = None
    comment: str = ""
    idempotency_key: str | None = None


def cast_vote(
    battle: Battle, ballot: Ballot, origin: vote_guard.Origin = vote_guard.NOWHERE, *, end_answers: Callable[[], Scene]
) -> Comparison:
    """Check a vote and store it, counted or held: once per battle. The same idempotency key gets the first vote again.

    `battle` is as `own_battle` has just read it. `end_answers` is called for a good vote on answers that are still
    being written: it ends both, and returns how they stand. Refused where they do not stand even so.
    """
    if cast := _check_ballot(battle, ballot):
        return cast
    if not _is_answered(battle) and not end_answers().is_over:
        raise Refused(409, battle="The answers could not be stopped in time. Your vote is not cast; send it once more.")
    battle.refresh_from_db(from_queryset=Battle.objects.select_related(*_RELATED))  # a stop may have spoilt it
    _require_unspoilt(battle)
    guideline = battle.project.guideline
    try:
        with transaction.atomic():
            _use_up(battle, ballot.token)  # from here on no further question comes: `ask_on` waits for the battle's row
            comparison = _comparison(battle, ballot, guideline)
            vote_guard.store(comparison, battle, ballot.user, origin)
            data = {"comparison": comparison.pk, "winner": ballot.winner, "status": comparison.status}
            events.announce(project=battle.project, event="battle.voted", data=data)
    except (IntegrityError, Refused):  # another request came first: between the look and the write
        if cast := _already_cast(battle, ballot.idempotency_key):
            return cast
        raise
    return comparison


def _check_ballot(battle: Battle, ballot: Ballot) -> Comparison | None:
    """Refuse a bad vote before it stops any answers; return the vote that this very request has cast before, if any."""
    if ballot.winner not in Winner.values:
        raise Refused(400, winner=f"{ballot.winner!r} is not one of {', '.join(Winner.values)}.")
    check_extras(key=ballot.idempotency_key, comment=ballot.comment)
    _require_unspoilt(battle)
    if cast := _already_cast(battle, ballot.idempotency_key):
        return cast
    _check_token(battle, ballot.token)
    return None


def _is_answered(battle: Battle) -> bool:
    """Return whether nothing is written any more: to the newest question both answers stand, or it is spoilt."""
    newest: Battle | BattleTurn = battle.turns.order_by("number").last() or battle
    return bool(newest.spoilt_reason) or None not in (newest.completion_a_id, newest.completion_b_id)


def _require_unspoilt(battle: Battle) -> None:
    if battle.spoilt_reason:
        raise Refused(409, battle=f"{battle.spoilt_reason} Start another battle.")


def counting(comparison: Comparison) -> Counting:
    """Return what a vote counts for. The splits: what may train does not rank."""
    if comparison.status != Status.COUNTED:
        why = f": {comparison.status_reason}" if comparison.status_reason else ""
        return Counting(False, f"Not counted: this vote is {comparison.status}{why}.", comparison.status)
    if comparison.prompt.side == Split.TRAIN and comparison.completion_a.prompt_id != comparison.completion_b.prompt_id:
        return Counting(
            False,
            "Kept, but it neither ranks nor teaches: this question is in the training split, and after the first "
            "answers the two conversations had gone apart, so that they are no pair to learn from.",
            KEPT,
        )
    if comparison.prompt.side == Split.TRAIN:
        return Counting(
            False,
            "Counted for training, not for the ranking: this prompt is in the training split, and what a model "
            "may learn from must not rank it.",
            FOR_TRAINING,
        )
    if comparison.judge == AnnotatorKind.SIMULATION:
        return Counting(
            True, "Counted for the ranking by simulated annotators, which is kept apart from people's.", RANKS
        )
    return Counting(True, "Counted for the ranking.", RANKS)


def check_question(text: str) -> None:
    if not text.strip():
        raise Refused(400, text="Ask something: the question is empty.")
    if len(text) > settings.MAX_PROMPT_CHARACTERS:
        raise Refused(
            413,
            text=f"A question may have {settings.MAX_PROMPT_CHARACTERS:,} characters and this has {len(text):,}; "
            "shorten it.",
        )


def _ask(project: Project, text: str, user: User | None) -> Prompt:
    try:
        messages = [{"role": "user", "content": text.strip()}]
        return add_prompt(project=project, messages=messages, source=ARENA, by=user)
    except Refused as refused:  # the person gave a text and knows nothing of messages
        raise Refused(refused.status, text=" ".join(refused.errors.values())) from refused


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _check_token(battle: Battle, token: str) -> None:
    if not token:
        raise Refused(400, token="Send the token that came with this battle once both answers had begun.")
    if not battle.vote_token_hash or not constant_time_compare(battle.vote_token_hash, _hash(token)):
        raise Refused(
            403, token="This token is not, or no longer, that of this battle. Open the battle again, and vote there."
        )


def _use_up(battle: Battle, token: str) -> None:
    """One vote per token, whichever process it reaches."""
    if not Battle.objects.filter(pk=battle.pk, vote_token_hash=_hash(token)).update(vote_token_hash=""):
        raise Refused(409, token="This token has been used: you have voted in this battle already.")


def _already_cast(battle: Battle, key: str | None) -> Comparison | None:
    """The vote that this very request has cast before. 409 when another one stands in its way."""
    if key and (cast := Comparison.objects.filter(idempotency_key=key).first()):
        if cast.battle_id == battle.pk:
            return cast
        raise Refused(409, idempotency_key="This key was used for another vote; make a new one.")
    if Comparison.objects.filter(battle=battle).exists():
        raise Refused(409, battle="You have voted in this battle already; start another one.")
    return None


def _judged(battle: Battle) -> tuple[Prompt, Completion, Completion]:
    """What a vote is about: the newest answers that stand, on the prompt that begins the conversation.

    Later turns differ where the answers before them differ; then the two answers share no prompt, and no model learns
    from them (docs/adr/0015-a-vote-on-a-conversation.md).
    """
    turns = battle.turns.select_related("prompt_a", "completion_a", "completion_b").order_by("number")
    whole = [turn for turn in turns if turn.completion_a and turn.completion_b and not turn.spoilt_reason]
    is_open = len([turn for turn in turns if not turn.spoilt_reason]) > len(whole)
    if is_open or not (battle.completion_a and battle.completion_b):
        raise Refused(409, battle="Both answers must stand before a vote; wait for them, or try them again.")
    if whole and (last := whole[-1]):
        assert last.completion_a and last.completion_b
        shared = last.prompt_a if last.prompt_a_id == last.prompt_b_id else battle.prompt
        return shared, last.completion_a, last.completion_b
    return battle.prompt, battle.completion_a, battle.completion_b


def _comparison(battle: Battle, ballot: Ballot, guideline: Guideline | None) -> Comparison:
    prompt, completion_a, completion_b = _judged(battle)
    shown_at = battle.begun_at or battle.created_at
    taken = (timezone.now() - shown_at).total_seconds() if ballot.seconds is None else ballot.seconds
    user = ballot.user
    return Comparison(
        project=battle.project,
        prompt=prompt,
        battle=battle,
        completion_a=completion_a,
        completion_b=completion_b,
        winner=ballot.winner,
        author=user,
        visitor=ballot.visitor,
        judge=annotator_kind_of(user) if user else AnnotatorKind.PERSON,
        source=ARENA,
        seconds=min(max(taken, 0.0), LONGEST_SECONDS),
        guideline_version=guideline.version if guideline else None,
        idempotency_key=ballot.idempotency_key or None,
        comment=ballot.comment.strip(),
    )
