"""Write the leaderboard as files: one row per model, and the totals from which anyone can fit the ratings again."""

from __future__ import annotations

from typing import Any

from annotate.models import LanguageModel
from common.charts.rating_charts import Interval, interval_chart
from common.charts.scene import Scene, Text
from evaluation.core.csv_files import csv_of
from evaluation.leaderboard import fluency_columns as fluency
from evaluation.leaderboard.leaderboard_rows import Standing, standings, with_fluency
from evaluation.models import Leaderboard

COLUMNS = (
    "rank", "worst_rank", "model", "stage", "rating", "lower", "upper", "battles", "wins", "ties", "losses",
    "connected", "penalised", "against", "difference", "difference_lower", "difference_upper", "verdict", "more_votes",
    *fluency.COLUMNS,
)  # fmt: skip


def flat_row(row: Standing) -> dict[str, Any]:
    """Return one row with plain values; the comparison with the nearest rated ancestor is None throughout without
    one."""
    against = row.against
    return {
        "rank": row.rank if row.is_connected else None,
        "worst_rank": row.worst_rank if row.is_connected else None,
        "model": row.model.name,
        "stage": row.model.stage,
        "rating": round(row.rating, 2),
        "lower": round(row.lower, 2),
        "upper": round(row.upper, 2),
        "battles": row.battles,
        "wins": row.wins,
        "ties": row.ties,
        "losses": row.losses,
        "connected": row.is_connected,
        "penalised": row.is_penalised,
        "against": against and against.model.name,
        "difference": against and round(against.difference, 2),
        "difference_lower": against and round(against.lower, 2),
        "difference_upper": against and round(against.upper, 2),
        "verdict": against and against.verdict,
        "more_votes": against and against.more_votes,
        **fluency.flat(row.fluency),
    }


def as_csv(board: Leaderboard) -> str:
    return csv_of(COLUMNS, (flat_row(row) for row in with_fluency(board)))


def as_json(board: Leaderboard) -> dict[str, Any]:
    names = dict(LanguageModel.objects.values_list("id", "name"))
    return {
        "project": board.project.slug,
        "judge": board.judge,
        "votes": board.votes,
        "judges": board.ratings["judges"],
        "signature": board.signature,
        "created_at": board.created_at,
        "rows": [flat_row(row) for row in with_fluency(board)],
        "totals": [
            {"model_a": names[a], "model_b": names[b], "winner": winner, "votes": n}
            for a, b, winner, n in board.ratings["totals"]
        ],
    }


def as_scene(board: Leaderboard) -> Scene:
    """Return a picture of the ratings with their intervals, best first, of the models in the largest group."""
    rows = [Interval(row.model.name, row.rating, row.lower, row.upper) for row in standings(board) if row.is_connected]
    if not rows:
        return Scene(300, 60, "No votes yet.", [Text((20, 34), "No votes yet.")])
    return interval_chart(rows, f"Ratings of {len(rows)} models with their 95 % intervals")
