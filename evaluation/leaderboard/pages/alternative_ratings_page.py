"""Show how robust the ranking is: the same votes rated in other ways, and as files."""

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
from evaluation.core.kept_figures import BeingComputed
from evaluation.core.while_computed import file_waits
from evaluation.leaderboard.alternative_ratings import (
    AlternativeRatings,
    Column,
    alternative_ratings_of,
    flat_ratings,
)
from evaluation.leaderboard.pages import annotator_choice
from evaluation.leaderboard.snapshots import current, votes_by_kind
from evaluation.ratings.tie_probabilities import MODELS

CHECKS = ("plain", "style", "drawn")  # on the page
ADVANCED = ("plain", *MODELS, "reliability")  # behind a click; the API and the files have online Elo as well
OTHER_POINTS = ("plain", *MODELS)  # the ranking's itself, and those whose points mean something else
COLUMNS = ("model", "connected", "way", "rating", "lower", "upper")
WORTH = {"length": ("twice as long", 1 / 3), "headers": ("with headers, instead of none", 1.0),
         "lists": ("with lists, instead of none", 1.0), "bold": ("with bold words, instead of none", 1.0)}  # fmt: skip


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


@dataclass(frozen=True)
class Table:
    titles: list[str]
    rows: list[Row]


@dataclass(frozen=True)
class StyleWorth:
    """Say how often an answer with more of a feature is chosen over one that is as good otherwise."""

    feature: str
    words: str
    chance: float
    lower: float
    upper: float

    @property
    def verdict(self) -> str:
        if self.lower > 0.5:
            return "is preferred"
        return "is a disadvantage" if self.upper < 0.5 else "makes no visible difference"


@in_project(get="read")
def page(request: HttpRequest, project: Project) -> HttpResponse:
    judge = annotator_choice.requested_kind(request, project)
    board = current(project=project, judge=judge)
    context: dict[str, Any] = {
        "project": project,
        "tab": "other-ways",
        "judge": judge,
        "kind_votes": votes_by_kind(project),
    }
    try:
        ratings = alternative_ratings_of(project, board)
    except BeingComputed as waiting:
        context |= {"waits_for": board.votes, "kept": waiting.row}
        return render(request, "evaluation/leaderboard/other_ways.html", context, status=202)
    if ratings is not None:
        models = LanguageModel.objects.in_bulk(ratings.models)
        context |= {
            "ways": ratings,
            "board": board,
            "tables": [_table(ratings, models, keys) for keys in (CHECKS, ADVANCED)],
            "apart": [models[ratings.models[i]] for i in ratings.order if i in ratings.apart],
            "picture": svg(_picture(ratings, models)),
            "styles": _styles(ratings),
            "left_styles": [c for c in ratings.style.coefficients if c.reason] if ratings.style else [],
            "careless": _careless(ratings),
            "levels": [(tie_fit, tie_fit.level_ties) for tie_fit in ratings.ties or ()],
        }
    return render(request, "evaluation/leaderboard/other_ways.html", context)


@in_project(get="read")
@file_waits
def file(request: HttpRequest, project: Project, form: str) -> HttpResponse:
    judge = annotator_choice.requested_kind(request, project)
    ratings = alternative_ratings_of(project, current(project=project, judge=judge))
    models = LanguageModel.objects.in_bulk(ratings.models) if ratings else {}
    if form == "png":
        scene = _picture(ratings, models) if ratings else nothing("No votes yet.")
        return HttpResponse(png(scene), content_type="image/png")
    rows = flat_ratings(ratings, models) if ratings else []
    if form == "json":
        return JsonResponse(
            {"project": project.slug, "judge": judge, "votes": ratings.votes if ratings else 0, "rows": rows}
        )
    return csv_file(f"{project.slug}-counted-otherwise-{judge}.csv", COLUMNS, rows)


def _table(ratings: AlternativeRatings, models: dict[int, LanguageModel], keys: tuple[str, ...]) -> Table:
    """Return the models that votes join, best first, rated in the ways that `keys` name."""
    plain, columns = ratings.columns[0].rating, [column for column in ratings.columns if column.key in keys]
    rows = [
        Row(models[ratings.models[i]], [_cell(column, i, plain[i]) for column in columns])
        for i in ratings.order
        if i not in ratings.apart
    ]
    return Table([column.title for column in columns], rows)


def _cell(column: Column, index: int, plain: float) -> Cell:
    rating = float(column.rating[index])
    moved = None if column.key in OTHER_POINTS else rating - float(plain)
    return Cell(rating, float(column.lower[index]), float(column.upper[index]), moved)


def _picture(ratings: AlternativeRatings, models: dict[int, LanguageModel]) -> Scene:
    """Return the ranking's own ratings of the first ten models, each with those without style and by the bootstrap
    under it."""
    columns = [column for column in ratings.columns if column.key in CHECKS]
    rows = [
        Interval(
            models[ratings.models[i]].name if column.key == "plain" else f"– {column.title}",
            *(float(x[i]) for x in (column.rating, column.lower, column.upper)),
        )
        for i in [i for i in ratings.order if i not in ratings.apart][:10]
        for column in columns
        if math.isfinite(column.rating[i]) and (column.key == "plain" or math.isfinite(column.lower[i]))
    ]
    return interval_chart(rows, "Ratings under several assumptions, with their 95 % intervals")


def _styles(ratings: AlternativeRatings) -> list[StyleWorth]:
    if ratings.style is None:
        return []
    coefficients = [c for c in ratings.style.coefficients if math.isfinite(c.value)]
    return [StyleWorth(c.feature, WORTH[c.feature][0], *c.chance(WORTH[c.feature][1])) for c in coefficients]


def _careless(ratings: AlternativeRatings) -> dict[str, Any] | None:
    """Return how many annotators agree little with the others: counts alone, no names."""
    if ratings.reliability is None:
        return None
    voters = ratings.reliability.voters
    return {
        "voters": len(voters.voter),
        "share": ratings.reliability.careless,
        "low": int((voters.lower > 0.5).sum()),
    }
