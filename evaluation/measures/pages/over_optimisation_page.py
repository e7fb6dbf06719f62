"""Download score and people's opinion along a PPO run: the table behind the picture, all figures, the picture."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse

from annotate.core.page_access import allows
from common.charts.scene import png
from evaluation.core.csv_files import csv_file
from evaluation.measures import over_optimisation_panel, over_optimisation_pictures
from evaluation.measures.over_optimisation_pictures import Judges
from evaluation.metrics.win_rates import Mean, WinRate
from training.runs.access import find_run

COLUMNS = ("judges", "first_step", "last_step", "votes", "expected", "preferred", "lower", "upper")


@allows(get="read")
def download(request: HttpRequest, run_id: int, format: str) -> HttpResponse:
    if format not in ("csv", "json", "png"):
        raise Http404("The formats are csv, json and png.")
    run, refusal = find_run(request, run_id)
    if refusal:
        return refusal
    panel = over_optimisation_panel.of_run(run) if run.kind == "ppo" else None
    if panel is None:
        raise Http404("This run has no score to compare with people.")
    name = f"run-{run.pk}-score-and-people.{format}"
    rows = [row for side in panel["sides"] for row in flat_rows(side)]
    if format == "csv":
        return csv_file(name, COLUMNS, rows)
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    if format == "png":
        return HttpResponse(
            png(over_optimisation_pictures.sheet(panel["pictures"])), content_type="image/png", headers=headers
        )
    body = {"run": run.pk, "verdicts": [_verdict(side) for side in panel["sides"]], "rows": rows}
    return JsonResponse({**body, "curves": {curve.name: curve.points for curve in panel["curves"]}}, headers=headers)


def flat_rows(side: Judges) -> list[dict[str, Any]]:
    """Return a row for each bin of steps, and one for the arena, which has neither steps nor an expectation."""
    rows = [
        _row(side, one.people, first_step=one.first, last_step=one.last, expected=round(one.expected, 4))
        for one in side.bins
    ]
    if side.arena is not None:
        rows.append(_row(side, side.arena, first_step="arena", last_step="arena", expected=None))
    return rows


def _row(side: Judges, rate: WinRate, **more: Any) -> dict[str, Any]:
    preferred, lower, upper = (round(value, 4) for value in (rate.value, rate.lower, rate.upper))
    return {"judges": side.group, "votes": rate.n, "preferred": preferred, "lower": lower, "upper": upper, **more}


def _verdict(side: Judges) -> dict[str, Any]:
    verdict = side.verdict
    return {
        "judges": side.group,
        "verdict": verdict.what,
        "opinions": verdict.opinions,
        "growth_of_the_gap": _mean(verdict.growth),
        "trend_of_preference": _mean(verdict.trend),
        "more_opinions": verdict.more,
        "sentences": side.sentences,
    }


def _mean(mean: Mean | None) -> dict[str, float] | None:
    return None if mean is None else {"value": mean.value, "lower": mean.lower, "upper": mean.upper}
