"""Ratings over time: lines with their bands, the numbers behind them, and the same as files."""

from __future__ import annotations

import math
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from annotate.core.page_access import in_project
from annotate.models import LanguageModel, Project
from common.charts.rating_charts import Series, day_ticks, line_chart, nothing
from common.charts.scene import Scene, png, svg
from evaluation.core.csv_files import csv_file
from evaluation.leaderboard.pages import annotator_choice
from evaluation.leaderboard.rating_history import History, flat_history, history
from evaluation.leaderboard.snapshots import votes_by_kind

MOST_DRAWN = 12  # models: more lines than can be told apart
COLUMNS = ("moment", "votes", "model", "rating", "lower", "upper")


@in_project(get="read")
def page(request: HttpRequest, project: Project) -> HttpResponse:
    judge = annotator_choice.requested_kind(request, project)
    rating_history = history(project, judge)
    context: dict[str, Any] = {
        "project": project,
        "tab": "over-time",
        "judge": judge,
        "kind_votes": votes_by_kind(project),
    }
    if rating_history is not None:
        models = LanguageModel.objects.in_bulk(rating_history.models)
        best = _best(rating_history)
        context |= {
            "history": rating_history,
            "picture": svg(_picture(rating_history, models, best)),
            "models": [models[rating_history.models[i]] for i in best],
            "drawn_all": len(best) == len(rating_history.models),
            "rows": _table(rating_history, best),
        }
    return render(request, "evaluation/leaderboard/over_time.html", context)


@in_project(get="read")
def file(request: HttpRequest, project: Project, form: str) -> HttpResponse:
    judge = annotator_choice.requested_kind(request, project)
    rating_history = history(project, judge)
    models = LanguageModel.objects.in_bulk(rating_history.models) if rating_history else {}
    if form == "png":
        scene = _picture(rating_history, models, _best(rating_history)) if rating_history else nothing("No votes yet.")
        return HttpResponse(png(scene), content_type="image/png")
    rows = flat_history(rating_history, models) if rating_history else []
    if form == "json":
        return JsonResponse({"project": project.slug, "judge": judge, "rows": rows})
    return csv_file(f"{project.slug}-over-time-{judge}.csv", COLUMNS, rows)


def _best(history: History) -> list[int]:
    """Return the indices of the models to draw, best first by their present rating; models without one come last."""
    now = history.rating[-1]
    order = sorted(
        range(len(history.models)), key=lambda i: (not math.isfinite(now[i]), -now[i] if now[i] == now[i] else 0)
    )
    return order[:MOST_DRAWN]


def _picture(history: History, models: dict[int, LanguageModel], indices: list[int]) -> Scene:
    times = [moment.timestamp() for moment in history.moments]
    series = [
        Series(
            models[history.models[i]].name,
            [
                (at, float(history.rating[k, i]), float(history.lower[k, i]), float(history.upper[k, i]))
                for k, at in enumerate(times)
            ],
        )
        for i in indices
    ]
    title = f"Ratings of {len(indices)} models at {len(times)} times, with their 95 % intervals"
    return line_chart(series, title, "rating", day_ticks(history.moments))


def _table(history: History, indices: list[int]) -> list[tuple[Any, int, list[tuple[float, float] | None]]]:
    """Return (moment, votes, rating and half its interval of each drawn model), the newest moment first."""
    return [
        (history.moments[k], int(history.votes[k]), [_shown(history, k, i) for i in indices])
        for k in reversed(range(len(history.moments)))
    ]


def _shown(history: History, moment: int, model: int) -> tuple[float, float] | None:
    rating = float(history.rating[moment, model])
    return (rating, float(history.upper[moment, model]) - rating) if math.isfinite(rating) else None
