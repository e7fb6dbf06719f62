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

MOST_DRAWN = 12  # models: more lines than can be told apart
COLUMNS = ("moment", "votes", "model", "rating", "lower", "upper")


@in_project(get="read")
def page(request: HttpRequest, project: Project) -> HttpResponse:
    judge = annotator_choice.asked(request, project)
    found = history(project, judge)
    context: dict[str, Any] = {"project": project, "section": "leaderboard", "tab": "over-time", "judge": judge}
    if found is not None:
        models = LanguageModel.objects.in_bulk(found.models)
        drawn = _best(found)
        context |= {
            "history": found,
            "picture": svg(_picture(found, models, drawn)),
            "models": [models[found.models[i]] for i in drawn],
            "drawn_all": len(drawn) == len(found.models),
            "rows": _table(found, drawn),
        }
    return render(request, "evaluation/over_time.html", context)


@in_project(get="read")
def file(request: HttpRequest, project: Project, form: str) -> HttpResponse:
    judge = annotator_choice.asked(request, project)
    found = history(project, judge)
    models = LanguageModel.objects.in_bulk(found.models) if found else {}
    if form == "png":
        scene = _picture(found, models, _best(found)) if found else nothing("No votes yet.")
        return HttpResponse(png(scene), content_type="image/png")
    rows = flat_history(found, models) if found else []
    if form == "json":
        return JsonResponse({"project": project.slug, "judge": judge, "rows": rows})
    return csv_file(f"{project.slug}-over-time-{judge}.csv", COLUMNS, rows)


def _best(history: History) -> list[int]:
    """Places of the models to draw, best first as they stand now; those without a rating now come last."""
    now = history.rating[-1]
    order = sorted(
        range(len(history.models)), key=lambda i: (not math.isfinite(now[i]), -now[i] if now[i] == now[i] else 0)
    )
    return order[:MOST_DRAWN]


def _picture(history: History, models: dict[int, LanguageModel], drawn: list[int]) -> Scene:
    times = [moment.timestamp() for moment in history.moments]
    series = [
        Series(
            models[history.models[i]].name,
            [
                (at, float(history.rating[k, i]), float(history.lower[k, i]), float(history.upper[k, i]))
                for k, at in enumerate(times)
            ],
        )
        for i in drawn
    ]
    title = f"Ratings of {len(drawn)} models at {len(times)} moments, with their 95 % intervals"
    return line_chart(series, title, "rating", day_ticks(history.moments))


def _table(history: History, drawn: list[int]) -> list[tuple[Any, int, list[tuple[float, float] | None]]]:
    """Return the newest moments first: (moment, votes, rating and half its interval of each drawn model)."""
    return [
        (history.moments[k], int(history.votes[k]), [_shown(history, k, i) for i in drawn])
        for k in reversed(range(len(history.moments)))
    ]


def _shown(history: History, moment: int, model: int) -> tuple[float, float] | None:
    rating = float(history.rating[moment, model])
    return (rating, float(history.upper[moment, model]) - rating) if math.isfinite(rating) else None
