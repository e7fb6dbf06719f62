"""Serve the figures beside the leaderboard to programs: pairs, and the same votes rated under other assumptions."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import allows
from annotate.core.api.serializer_fields import refusals
from annotate.models import AnnotatorKind, LanguageModel
from evaluation.core.while_computed import BeingComputedOut, api_waits
from evaluation.leaderboard.alternative_ratings import alternative_ratings_of, flat_ratings
from evaluation.leaderboard.api.leaderboard import LEADERBOARD, requested_board
from evaluation.leaderboard.pair_findings import findings, flat_pair, models_of
from evaluation.leaderboard.rating_history import flat_history, history
from evaluation.leaderboard.snapshots import current


class PairOut(serializers.Serializer):
    model = serializers.CharField(help_text="The model with the higher rating.")
    against = serializers.CharField()
    votes = serializers.IntegerField()
    wins = serializers.IntegerField()
    ties = serializers.IntegerField()
    losses = serializers.IntegerField()
    score = serializers.FloatField(help_text="Mean of the model's votes, a tie as half.")
    always_valid_lower = serializers.FloatField(help_text="Lower end of the always-valid 95 % interval.")
    always_valid_upper = serializers.FloatField()
    expected = serializers.FloatField(allow_null=True, help_text="The score that the ratings predict.")
    residual = serializers.FloatField(allow_null=True, help_text="In standard deviations.")
    verdict = serializers.ChoiceField(["better", "worse", "undecided"])
    more_votes = serializers.IntegerField(allow_null=True, help_text="About how many more votes decide it; null: none.")


class FirstPlaceOut(serializers.Serializer):
    votes = serializers.IntegerField(help_text="If this many votes were missing, another model would be first.")
    of = serializers.IntegerField()
    new_first = serializers.CharField()
    is_minimal = serializers.BooleanField(
        help_text="true: proven minimal; false: the smallest that a greedy search found."
    )


class PairsOut(serializers.Serializer):
    project = serializers.CharField()
    judge = serializers.ChoiceField(AnnotatorKind.choices)
    chi_square = serializers.FloatField(
        allow_null=True, help_text="All pairs compared with the prediction of the ratings."
    )
    degrees = serializers.IntegerField(allow_null=True)
    p_value = serializers.FloatField(allow_null=True)
    is_connected = serializers.BooleanField()
    first_place = FirstPlaceOut(allow_null=True)
    pairs = PairOut(many=True)


@extend_schema(responses={200: PairsOut} | refusals(400, 404), parameters=LEADERBOARD)
@allows(get="read")
def pairs(request: Request) -> Response:
    """Return each two models' own votes with their always-valid interval, and what one number per model does not
    explain."""
    project, judge = requested_board(request)
    pair_findings = findings(project, current(project=project, judge=judge))
    body: dict[str, Any] = {"project": project.slug, "judge": judge, "is_connected": False, "pairs": []}
    body |= dict.fromkeys(("chi_square", "degrees", "p_value", "first_place"))
    if pair_findings is not None:
        models, residuals, fragile = models_of(pair_findings), pair_findings.residuals, pair_findings.fragility
        body |= {"chi_square": residuals.chi_square, "degrees": residuals.degrees, "p_value": residuals.p_value}
        body["is_connected"] = pair_findings.connectivity.is_connected
        body["pairs"] = [flat_pair(pair, models) for pair in pair_findings.pairs]
        body["first_place"] = fragile and {
            "votes": fragile.votes,
            "of": fragile.of,
            "new_first": models[pair_findings.models[fragile.new_first]].name,
            "is_minimal": fragile.is_minimal,
        }
    return Response(PairsOut(body).data)


class WayOut(serializers.Serializer):
    model = serializers.CharField()
    connected = serializers.BooleanField(
        help_text="Connected by votes with the largest group; otherwise not comparable."
    )
    way = serializers.CharField(help_text="plain, davidson, rao-kupper, style, reliability, drawn or elo.")
    rating = serializers.FloatField(allow_null=True)
    lower = serializers.FloatField(allow_null=True)
    upper = serializers.FloatField(allow_null=True)


class WaysOut(serializers.Serializer):
    project = serializers.CharField()
    judge = serializers.ChoiceField(AnnotatorKind.choices)
    votes = serializers.IntegerField()
    missing = serializers.DictField(
        child=serializers.CharField(), help_text="Ways that could not be computed, and why."
    )
    rows = WayOut(many=True)


@extend_schema(responses={200: WaysOut, 202: BeingComputedOut} | refusals(400, 404), parameters=LEADERBOARD)
@allows(get="read")
@api_waits
def counted_otherwise(request: Request) -> Response:
    """Rate by the same votes with ties of their own, without style, by reliability, by a bootstrap over voters, and by
    online Elo."""
    project, judge = requested_board(request)
    ratings = alternative_ratings_of(project, current(project=project, judge=judge))
    models = LanguageModel.objects.in_bulk(ratings.models) if ratings else {}
    body = {
        "project": project.slug,
        "judge": judge,
        "votes": ratings.votes if ratings else 0,
        "missing": ratings.missing if ratings else {},
        "rows": flat_ratings(ratings, models) if ratings else [],
    }
    return Response(WaysOut(body).data)


class MomentOut(serializers.Serializer):
    moment = serializers.DateTimeField()
    votes = serializers.IntegerField()
    model = serializers.CharField()
    rating = serializers.FloatField()
    lower = serializers.FloatField()
    upper = serializers.FloatField()


class OverTimeOut(serializers.Serializer):
    project = serializers.CharField()
    judge = serializers.ChoiceField(AnnotatorKind.choices)
    rows = MomentOut(many=True)


@extend_schema(responses={200: OverTimeOut} | refusals(400, 404), parameters=LEADERBOARD)
@allows(get="read")
def over_time(request: Request) -> Response:
    """Return ratings at up to sixty moments since the first vote, each as the ledger had it then."""
    project, judge = requested_board(request)
    rating_history = history(project, judge)
    models = LanguageModel.objects.in_bulk(rating_history.models) if rating_history else {}
    rows = flat_history(rating_history, models) if rating_history else []
    return Response({"project": project.slug, "judge": judge, "rows": rows})
