"""Votes in battles: the token that one uses up, the ballot, how it is checked and stored, and what it counts for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac

from annotate.arena.battles.actions import RELATED
from annotate.arena.battles.scene import Scene
from annotate.arena.vote_guard import actions as vote_guard
from annotate.core import events
from annotate.core.errors import Refused
from annotate.core.metrics.counters import BATTLE, VOTES
from annotate.labelling.forms.validation import check_extras
from annotate.models import (
    AnnotatorKind,
    Battle,
    BattleTurn,
    Comparison,
    Completion,
    Prompt,
    Split,
    Status,
    User,
    Winner,
)
from annotate.models.feedback import annotator_kind_of
from annotate.models.prompts import ARENA

LONGEST_SECONDS = 24 * 3600.0
RANKS, FOR_TRAINING, KEPT = "counted", "for training", "saved, does not count"


@dataclass(frozen=True)
class Counting:
    """Say whether a vote moves the ranking, and why, in words for whoever cast it; `tag` says it in one or two."""

    ranks: bool
    words: str
    tag: str

    @property
    def is_of_use(self) -> bool:
        """Return whether it ranks or teaches."""
        return self.tag in (RANKS, FOR_TRAINING)


def issue_token(battle: Battle) -> str:
    """Return the token that one vote uses up: to be given out once both answers have begun. "" when it is used up.

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
        raise Refused(
            409, battle="The answers could not be stopped in time, so your vote was not saved; send it again."
        )
    battle.refresh_from_db(from_queryset=Battle.objects.select_related(*RELATED))  # a stop may have spoilt it
    _require_unspoilt(battle)
    version = battle.project.guideline_version_at(battle.created_at)
    try:
        with transaction.atomic():
            _use_up(battle, ballot.token)  # from here on no further question comes: `ask_on` waits for the battle's row
            comparison = _comparison(battle, ballot, version)
            vote_guard.store(comparison, battle, ballot.user, origin)
            data = {"comparison": comparison.pk, "winner": ballot.winner, "status": comparison.status}
            events.announce(project=battle.project, event="battle.voted", data=data)
            outcome = "held" if comparison.status == Status.HELD else "accepted"
            transaction.on_commit(VOTES.labels(BATTLE, outcome).inc)
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
        reason_text = f": {comparison.status_reason}" if comparison.status_reason else ""
        return Counting(False, f"Not counted: this vote is {comparison.status}{reason_text}.", comparison.status)
    if comparison.prompt.side == Split.TRAIN and comparison.completion_a.prompt_id != comparison.completion_b.prompt_id:
        return Counting(
            False,
            "Saved, but it does not count: this question is in the training split, and after the first "
            "answers the two conversations differ, so models cannot learn from this pair.",
            KEPT,
        )
    if comparison.prompt.side == Split.TRAIN:
        return Counting(
            False,
            "Counted for training, not for the ranking: this prompt is in the training split, and a prompt "
            "for training must not rank models.",
            FOR_TRAINING,
        )
    if comparison.judge == AnnotatorKind.SIMULATION:
        return Counting(
            True, "Counted for the ranking by simulated annotators, which is separate from people's ranking.", RANKS
        )
    return Counting(True, "Counted for the ranking.", RANKS)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _check_token(battle: Battle, token: str) -> None:
    if not token:
        raise Refused(400, token="Send the token of this battle; it is available when both answers have begun.")
    if not battle.vote_token_hash or not constant_time_compare(battle.vote_token_hash, _hash(token)):
        raise Refused(403, token="This token is not valid for this battle. Open the battle again, and vote there.")


def _use_up(battle: Battle, token: str) -> None:
    """Use a token up: one vote per token, whichever process it reaches."""
    if not Battle.objects.filter(pk=battle.pk, vote_token_hash=_hash(token)).update(vote_token_hash=""):
        raise Refused(409, token="You have already voted in this battle, so the token is used; start another battle.")


def _already_cast(battle: Battle, key: str | None) -> Comparison | None:
    """Return the vote that this very request has cast before. 409 when another one stands in its way."""
    if key and (cast := Comparison.objects.filter(idempotency_key=key).first()):
        if cast.battle_id == battle.pk:
            return cast
        raise Refused(409, idempotency_key="This key was used for another vote; use a new one.")
    if Comparison.objects.filter(battle=battle).exists():
        raise Refused(409, battle="You have already voted in this battle; start another one.")
    return None


def _judged_answers(battle: Battle) -> tuple[Prompt, Completion, Completion]:
    """Return what a vote is about: the newest answers that stand, on the prompt that begins the conversation.

    Later turns differ where the answers before them differ; then the two answers share no prompt, and no model learns
    from them (docs/adr/0015-a-vote-on-a-conversation.md).
    """
    turns = battle.turns.select_related("prompt_a", "completion_a", "completion_b").order_by("number")
    answered_turns = [turn for turn in turns if turn.completion_a and turn.completion_b and not turn.spoilt_reason]
    is_open = len([turn for turn in turns if not turn.spoilt_reason]) > len(answered_turns)
    if is_open or not (battle.completion_a and battle.completion_b):
        raise Refused(409, battle="You can vote when both answers are finished; wait, or try again.")
    if answered_turns and (last := answered_turns[-1]):
        assert last.completion_a and last.completion_b
        shared = last.prompt_a if last.prompt_a_id == last.prompt_b_id else battle.prompt
        return shared, last.completion_a, last.completion_b
    return battle.prompt, battle.completion_a, battle.completion_b


def _comparison(battle: Battle, ballot: Ballot, version: int | None) -> Comparison:
    prompt, completion_a, completion_b = _judged_answers(battle)
    shown_at = battle.begun_at or battle.created_at
    seconds_taken = (timezone.now() - shown_at).total_seconds() if ballot.seconds is None else ballot.seconds
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
        seconds=min(max(seconds_taken, 0.0), LONGEST_SECONDS),
        guideline_version=version,
        idempotency_key=ballot.idempotency_key or None,
        comment=ballot.comment.strip(),
    )
