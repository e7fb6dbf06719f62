"""The page that counts the same votes otherwise, and its files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from annotate.core.page_access import in_project
from annotate.models import LanguageModel, Project
from common.charts.rating_charts import Interval, interval_chart, nothing
from common.charts.scene import Scene, png, svg
from evaluation.core.csv_files import csv_file
from evaluation.leaderboard.alternative_ratings import BeingCounted, Column, Ways, flat_ways, other_ways
from evaluation.leaderboard.pages import annotator_choice
from evaluation.leaderboard.snapshots import current
from evaluation.ratings.tie_probabilities import MODELS

OTHER_POINTS = ("plain", *MODELS)  # the ranking's itself, and those whose points mean something else
COLUMNS = ("model", "connected", "way", "rating", "lower", "upper")
WORTH = {"length": ("twice as long", 1 / 3), "headers": ("with headers, against none", 1.0),
         "lists": ("with lists, against none", 1.0), "bold": ("with bold words, against none", 1.0)}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    rating: float
    lower: float
    upper: float
    moved: float | None  # less the ranking's own rating; None where a point means something else

    @property
    def is_known(self) -> bool:
        return math.isfinite(self.rating)

    @property
    def has_interval(self) -> bool:
        return math.isfinite(self.lower) and math.isfinite(self.upper)


@dataclass(frozen=True)
class Row:
    model: LanguageModel
    cells: list[Cell]
    is_apart: bool  # no votes join it to the largest group


@dataclass(frozen=True)
class StyleWorth:
    """How often an answer with more of a feature is chosen over one that is as good otherwise."""

    feature: str
    words: str
    chance: float
    lower: float
    upper: float

    @property
    def verdict(self) -> str:
        if self.lower > 0.5:
            return "is preferred"
        return "is held against it" if self.upper < 0.5 else "makes no difference that can be seen"


@in_project(get="read")
def page(request: HttpRequest, project: Project) -> HttpResponse:
    judge = annotator_choice.asked(request, project)
    board = current(project=project, judge=judge)
    context: dict[str, Any] = {"project": project, "section": "leaderboard", "tab": "other-ways", "judge": judge}
    try:
        ways = other_ways(project, board)
    except BeingCounted:
        return render(request, "evaluation/other_ways.html", context | {"waits_for": board.votes}, status=202)
    if ways is not None:
        models = LanguageModel.objects.in_bulk(ways.models)
        context |= {
            "ways": ways,
            "board": board,
            "rows": [row for row in _rows(ways, models) if not row.is_apart],
            "apart": [row.model for row in _rows(ways, models) if row.is_apart],
            "picture": svg(_picture(ways, models)),
            "styles": _styles(ways),
            "left_styles": [c for c in ways.style.coefficients if c.why] if ways.style else [],
            "careless": _careless(ways),
            "levels": [(way, way.level_ties) for way in ways.ties or ()],
        }
    return render(request, "evaluation/other_ways.html", context)


@in_project(get="read")
def file(request: HttpRequest, project: Project, form: str) -> HttpResponse:
    judge = annotator_choice.asked(request, project)
    try:
        ways = other_ways(project, current(project=project, judge=judge))
    except BeingCounted:
        return HttpResponse("These votes are being counted; ask again in a minute.\n", "text/plain", status=202)
    models = LanguageModel.objects.in_bulk(ways.models) if ways else {}
    if form == "png":
        scene = _picture(ways, models) if ways else nothing("No votes yet.")
        return HttpResponse(png(scene), content_type="image/png")
    rows = flat_ways(ways, models) if ways else []
    if form == "json":
        return JsonResponse({"project": project.slug, "judge": judge, "votes": ways.votes if ways else 0, "rows": rows})
    return csv_file(f"{project.slug}-counted-otherwise-{judge}.csv", COLUMNS, rows)


def _rows(ways: Ways, models: dict[int, LanguageModel]) -> list[Row]:
    plain = ways.columns[0].rating
    return [
        Row(models[ways.models[i]], [_cell(column, i, plain[i]) for column in ways.columns], i in ways.apart)
        for i in ways.order
    ]


def _cell(column: Column, place: int, plain: float) -> Cell:
    rating = float(column.rating[place])
    moved = None if column.key in OTHER_POINTS else rating - float(plain)
    return Cell(rating, float(column.lower[place]), float(column.upper[place]), moved)


def _picture(ways: Ways, models: dict[int, LanguageModel]) -> Scene:
    """Return the ranking's own ratings of the first ten models, each with those without style and by reliability under
    it."""
    shown = [ways.columns[0], *[c for c in ways.columns if c.key in ("style", "reliability")]]
    rows = [
        Interval(
            models[ways.models[i]].name if column.key == "plain" else f"– {column.title}",
            *(float(x[i]) for x in (column.rating, column.lower, column.upper)),
        )
        for i in [i for i in ways.order if i not in ways.apart][:10]
        for column in shown
        if math.isfinite(column.rating[i])
    ]
    return interval_chart(rows, "Ratings by several ways of counting, with their 95 % intervals")


def _styles(ways: Ways) -> list[StyleWorth]:
    if ways.style is None:
        return []
    known = [c for c in ways.style.coefficients if math.isfinite(c.value)]
    return [StyleWorth(c.feature, WORTH[c.feature][0], *c.chance(WORTH[c.feature][1])) for c in known]


def _careless(ways: Ways) -> dict[str, Any] | None:
    """Return how many annotators say little that the others would: counts alone, no names."""
    if ways.reliability is None:
        return None
    voters = ways.reliability.voters
    return {
        "voters": len(voters.voter),
        "share": ways.reliability.careless,
        "low": int((voters.lower > 0.5).sum()),
    }
