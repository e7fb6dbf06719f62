"""Show the pairs: who beat whom, whether that is decided, what the ratings do not explain, how fragile the order is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from annotate.core.page_access import in_project
from annotate.models import LanguageModel, Project
from common.charts.rating_charts import heat_map, nothing
from common.charts.scene import Scene, png
from common.whole_numbers import row_id
from evaluation.core.csv_files import csv_file
from evaluation.leaderboard.leaderboard_rows import Meeting, Standing, standings, win_matrix
from evaluation.leaderboard.pages import annotator_choice
from evaluation.leaderboard.pair_findings import PAIR_COLUMNS, Findings, Pair, findings, flat_pair, models_of
from evaluation.leaderboard.present import board_of, parse_query
from evaluation.leaderboard.snapshots import current, votes_by_kind
from evaluation.models import Leaderboard
from evaluation.ratings.fragility import Removal

SHOWN = 60
MOST_DRAWN = 30  # models in the win matrix


@dataclass(frozen=True)
class Row:
    pair: Pair
    a: LanguageModel
    b: LanguageModel

    @property
    def address(self) -> str:
        """Return the two models as the page of votes has them in its address."""
        return f"{self.a.pk}-{self.b.pk}"


@dataclass(frozen=True)
class Exposure:
    """Say how often a model was shown, and what being shown first did for it."""

    model: LanguageModel
    battles: int
    share: float
    ratio: float
    effect: float | None
    lower: float | None
    upper: float | None


@in_project(get="read")
def pairs(request: HttpRequest, project: Project) -> HttpResponse:
    judge = annotator_choice.requested_kind(request, project)
    board = current(project=project, judge=judge)
    pair_findings = findings(project, board)
    context: dict[str, Any] = {"project": project, "tab": "pairs", "judge": judge, "kind_votes": votes_by_kind(project)}
    if pair_findings is None:
        return render(request, "evaluation/leaderboard/pairs.html", context)
    asked = parse_query(project, request.GET.dict())
    part_board = board_of(asked) if asked.part or asked.at else board  # the matrix may be of a part of the votes
    models = models_of(pair_findings)
    chosen_model = models.get(row_id(request.GET.get("model", "")))
    listed = pair_findings.of_model(chosen_model.pk) if chosen_model else list(pair_findings.pairs)
    context |= {
        "found": pair_findings,
        "board": board,
        "intervals": board.ratings["intervals"],
        "models": sorted(models.values(), key=lambda model: model.name),
        "chosen": chosen_model,
        "rows": [Row(pair, models[pair.a], models[pair.b]) for pair in listed[: None if chosen_model else SHOWN]],
        "listed": len(listed),
        "asked": asked,
        "matrix": _matrix(part_board),
        "is_whole": len(pair_findings.order) <= MOST_DRAWN,
        "exposures": _exposures(pair_findings, models),
        "cycles": [
            [models[pair_findings.models[i]] for i in cycle.models]
            for cycle in pair_findings.cycles.listed
            if cycle.is_sure
        ],
        **_fragility(pair_findings, models),
        **_connectivity(pair_findings, models),
    }
    return render(request, "evaluation/leaderboard/pairs.html", context)


@in_project(get="read")
def pairs_file(request: HttpRequest, project: Project, form: str) -> HttpResponse:
    """Return the pairs as CSV or JSON, or the heat map as PNG."""
    judge = annotator_choice.requested_kind(request, project)
    pair_findings = findings(project, current(project=project, judge=judge))
    models = models_of(pair_findings) if pair_findings else {}
    if form == "png":
        scene = _picture(pair_findings, models) if pair_findings else nothing("No votes yet.")
        return HttpResponse(png(scene), content_type="image/png")
    rows = [flat_pair(pair, models) for pair in pair_findings.pairs] if pair_findings else []
    if form == "json":
        return JsonResponse({"project": project.slug, "judge": judge, "pairs": rows})
    return csv_file(f"{project.slug}-pairs-{judge}.csv", PAIR_COLUMNS, rows)


def _matrix(board: Leaderboard) -> list[tuple[Standing, list[Meeting | None]]]:
    connected_rows = [row for row in standings(board) if row.is_connected] if board.votes else []
    return win_matrix(board, connected_rows[:MOST_DRAWN]) if connected_rows else []


def _picture(findings: Findings, models: dict[int, LanguageModel]) -> Scene:
    order = findings.order[:MOST_DRAWN]
    names = [models[findings.models[i]].name for i in order]
    shares = [row[: len(order)] for row in findings.shares[: len(order)]]
    return heat_map(names, shares, f"Scores of {len(names)} models against each other, in percent")


def _exposures(findings: Findings, models: dict[int, LanguageModel]) -> list[Exposure]:
    sampling, position = findings.sampling, findings.position
    rows = [
        Exposure(
            models[pk],
            int(sampling.battles[i]),
            float(sampling.share[i]),
            float(sampling.ratio[i]),
            *(
                float(x[i]) if x[i] == x[i] else None
                for x in (position.effect, position.effect_lower, position.effect_upper)
            ),
        )
        for i, pk in enumerate(findings.models)
    ]
    return sorted(rows, key=lambda row: -row.battles)


def _fragility(findings: Findings, models: dict[int, LanguageModel]) -> dict[str, Any]:
    votes, voters = findings.fragility, findings.voters

    def at(i: int) -> LanguageModel:
        return models[findings.models[i]]

    return {
        "first": at(votes.first) if votes else None,
        "new_first": at(votes.new_first) if votes else None,
        "removals": [(at(r.model), at(r.other), _happened(r), r.votes) for r in votes.removals[:12]] if votes else [],
        "voters_first": at(voters.new_first) if voters else None,
    }


def _happened(removal: Removal) -> str:
    return "won against" if removal.outcome == "won" else "tied with"


def _connectivity(findings: Findings, models: dict[int, LanguageModel]) -> dict[str, Any]:
    joined = findings.connectivity

    def at(i: int) -> LanguageModel:
        return models[findings.models[i]]

    return {
        "apart": [[at(i) for i in part] for part in joined.parts[1:]],
        "bridges": [(at(bridge.i), at(bridge.j), bridge.votes) for bridge in joined.bridges],
        "cut": joined.weakest_cut[0] if joined.weakest_cut else None,
        "cut_side": [at(i) for i in joined.weakest_cut[1]] if joined.weakest_cut else [],
    }
