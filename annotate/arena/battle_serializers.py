"""Serialize what programs send to the arena and get from it: battles, answers, votes, puzzles."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from annotate.arena.battles import scene as battle_scene
from annotate.arena.battles import votes
from annotate.arena.streaming import live_battles
from annotate.core.api.serializer_fields import Input, Turn
from annotate.models import Battle, Comparison, LanguageModel

WAIT_SECONDS = 100.0


class NewBattle(Input):
    project = serializers.SlugField(max_length=50)
    text = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False, help_text="Ask something.")
    drawn = serializers.BooleanField(required=False, default=False, help_text="Or draw a prompt of the project.")
    wait = serializers.FloatField(required=False, default=WAIT_SECONDS, min_value=0, max_value=WAIT_SECONDS)


class NewTurn(Input):
    text = serializers.CharField(allow_blank=True, trim_whitespace=False)
    number = serializers.IntegerField(
        required=False,
        allow_null=True,
        default=None,
        min_value=2,
        max_value=99,
        help_text="The number of the new turn.",
    )
    wait = serializers.FloatField(required=False, default=WAIT_SECONDS, min_value=0, max_value=WAIT_SECONDS)


class Vote(Input):
    winner = serializers.CharField(help_text="model_a, model_b, tie or both_bad")
    token = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=100, help_text="The battle's `vote_token`; used once."
    )
    seconds = serializers.FloatField(required=False, allow_null=True, min_value=0, max_value=86400)
    proof = serializers.CharField(
        required=False, default="", allow_blank=True, help_text="The solved puzzle, where the battle asks for one."
    )
    comment = serializers.CharField(required=False, default="", allow_blank=True, max_length=10_000)


class AskedOut(serializers.Serializer):
    messages = Turn(many=True)


class AnswerOut(serializers.Serializer):
    text = serializers.CharField()
    state = serializers.CharField(help_text="waiting, writing, stands, stopped or failed")
    problem = serializers.CharField(help_text="Why the question does not count; the same for both.")
    cut = serializers.CharField(
        help_text="A note that the answer was cut at the length limit; empty if it is complete."
    )


class TurnOut(serializers.Serializer):
    number = serializers.IntegerField()
    question = serializers.CharField()
    completions = AnswerOut(many=True)
    problem = serializers.CharField()


class BattleOut(serializers.Serializer):
    id = serializers.UUIDField()
    project = serializers.CharField()
    prompt = AskedOut()
    completions = AnswerOut(many=True, help_text="To the first question: A, then B. Nothing reveals a model.")
    turns = TurnOut(many=True, help_text="All questions with their answers, the first one included.")
    ready = serializers.BooleanField(help_text="Both answers have begun, so you can vote; a vote stops them.")
    done = serializers.BooleanField(help_text="true: both answers are finished; false: GET the battle again.")
    vote_token = serializers.CharField(help_text="Send it with the vote; empty until you can vote.")
    voted = serializers.BooleanField()
    visitor = serializers.CharField(help_text="Send it in the `Visitor` header with the vote; empty for accounts.")


class NameOut(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    stage = serializers.CharField()


class VoteOut(serializers.Serializer):
    winner = serializers.CharField()
    model_a = NameOut()
    model_b = NameOut()
    counted = serializers.BooleanField(help_text="Whether the vote counts for anything.")
    ranks = serializers.BooleanField(help_text="Whether it moves the leaderboard.")
    why = serializers.CharField()
    comparison = serializers.IntegerField()


class PuzzleOut(serializers.Serializer):
    challenge = serializers.CharField(
        allow_null=True,
        help_text="1.bits.expires.salt.signature. Find a number n so that SHA-256 of `challenge.n` begins with so many "
        "zero bits, and send `challenge.n` as `proof`. null: no proof is needed; vote without it.",
    )


def shown(battle: Battle, visitor_token: str) -> dict[str, Any]:
    is_voted = Comparison.objects.filter(battle=battle).exists()
    scenes = battle_scene.scenes(battle, named=is_voted)
    if not is_voted:
        scenes[-1] = live_battles.look(battle)
    turns = [_turn(scene) for scene in scenes]
    can_vote = scenes[-1].can_vote and not is_voted
    return {
        "id": str(battle.token),
        "project": battle.project.slug,
        "prompt": {"messages": battle.prompt.messages},
        "completions": turns[0]["completions"],
        "turns": turns,
        "ready": can_vote,
        "done": scenes[-1].is_over,
        "vote_token": votes.issue_token(battle) if can_vote else "",
        "voted": is_voted,
        "visitor": visitor_token,
    }


def _turn(scene: battle_scene.Scene) -> dict[str, Any]:
    answers = [
        {"text": side.text, "state": side.state, "problem": scene.problem, "cut": side.cut} for side in scene.sides
    ]
    return {
        "number": scene.number,
        "question": scene.question,
        "completions": answers,
        "problem": scene.problem,
    }


def revealed(battle: Battle, comparison: Comparison) -> dict[str, Any]:
    counting = votes.counting(comparison)
    return {
        "winner": comparison.winner,
        "model_a": name_out(battle.model_a),
        "model_b": name_out(battle.model_b),
        "counted": comparison.status == "counted",
        "ranks": counting.ranks,
        "why": counting.words,
        "comparison": comparison.pk,
    }


def name_out(model: LanguageModel) -> dict[str, Any]:
    return {"id": model.pk, "name": model.name, "stage": model.stage}
