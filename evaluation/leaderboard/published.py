"""Publish a leaderboard: rows, the basis of the intervals, and totals from which anyone can fit it again."""

from __future__ import annotations

from typing import Any

import numpy as np

from annotate.models import LanguageModel
from evaluation.leaderboard.rating_intervals import Spread
from evaluation.models import Leaderboard
from evaluation.ratings import LABELS, Fit, Tally, tally_totals
from evaluation.ratings.bradley_terry import fit
from evaluation.ratings.voter_clusters import FEW

VERSION = 2


class Ratings(dict):
    """Hold what a leaderboard publishes; the totals, a row for each pair and label, are listed only on demand."""

    def __init__(self, tally: Tally, fitted: Fit | None, spread: Spread | None, **published: Any) -> None:
        super().__init__(published)
        self.tally, self.fitted, self.spread = tally, fitted, spread

    def __missing__(self, key: str) -> Any:
        if key != "totals":
            raise KeyError(key)
        self[key] = listed(self.tally)
        return self[key]


def tally_of(board: Leaderboard) -> Tally:
    """Return the counts that a leaderboard was fitted to."""
    if isinstance(board.ratings, Ratings):
        return board.ratings.tally
    return tally_totals([tuple(total) for total in board.ratings["totals"]])


def state_of(board: Leaderboard) -> tuple[int, int, int]:
    """Return a text that changes after every vote, undo and ban, also when the number of votes stays the same."""
    return board.votes, board.last_comparison_id, board.ratings.get("last_status_change", 0)


def listed(tally: Tally) -> list[list[Any]]:
    """Return (model A, model B, winner, how many votes) of all cells that are not empty."""
    cells = np.argwhere(tally.cells)
    counts = tally.cells[tuple(cells.T)]
    return [
        [tally.models[a], tally.models[b], LABELS[label], int(n)]
        for (a, b, label), n in zip(cells.tolist(), counts.tolist(), strict=True)
    ]


def fit_of(board: Leaderboard) -> Fit | None:
    """Return the fit as published, with its intervals; of a stored one fitted again from its totals, votes by votes."""
    if isinstance(board.ratings, Ratings):
        return board.ratings.fitted
    return fit(tally_of(board)) if board.votes else None


def published(fitted: Fit | None, tally: Tally, spread: Spread | None, *, part: str, judge: str) -> dict[str, Any]:
    """Return the fields of a Leaderboard that follow from a fit; without one it is empty."""
    return {
        "ratings": Ratings(
            tally,
            fitted,
            spread,
            version=VERSION,
            part=part,
            judges=spread.voters if spread else None if tally.votes else 0,
            intervals=_intervals(spread, tally.votes),
            a_wins_share=tally.a_wins_share,
            rows=rows_of(fitted) if fitted else [],
        ),
        "signature": _signature(spread, tally.votes, part, judge),
    }


def rows_of(fitted: Fit) -> list[dict[str, Any]]:
    """Return the rows, best first; models that no chain of votes joins to the largest group come last."""
    parents = dict(LanguageModel.objects.values_list("id", "parent"))
    index_by_model = {model: index for index, model in enumerate(fitted.models)}
    ranks, tally = fitted.ranks(), fitted.tally
    battles, wins, ties, losses = tally.battles, tally.wins.sum(axis=1), tally.ties.sum(axis=1), tally.wins.sum(axis=0)
    lower, upper = fitted.lower, fitted.upper
    order = sorted(range(len(fitted.models)), key=lambda i: (fitted.group[i], ranks[i, 0], -fitted.rating[i]))
    return [
        {
            "model": fitted.models[i],
            "rating": float(fitted.rating[i]),
            "lower": float(lower[i]),
            "upper": float(upper[i]),
            "rank": int(ranks[i, 0]),
            "worst_rank": int(ranks[i, 1]),
            "group": int(fitted.group[i]),
            "is_penalised": bool(fitted.is_penalised[i]),
            "battles": int(battles[i]),
            "wins": int(wins[i]),
            "ties": int(ties[i]),
            "losses": int(losses[i]),
            "against": _against_ancestor(fitted, i, parents, index_by_model),
        }
        for i in order
    ]


def _intervals(spread: Spread | None, votes: int) -> dict[str, Any]:
    """Return what the intervals rest on; `as_of` is how many votes there were when voters were last read."""
    if spread is None:
        return {"by": "votes", "is_read": False}
    return {
        "by": spread.by,
        "is_read": True,
        "voters": spread.voters,
        "effective": spread.effective,
        "is_marked": spread.by == "voters" and spread.effective < FEW,
        "as_of": spread.votes,
        "last_comparison_id": spread.last_comparison_id,
        "is_scaled": spread.votes != votes,
    }


def _signature(spread: Spread | None, votes: int, part: str, judge: str) -> str:
    text = "sandwich by votes, voters not read yet"
    if spread is not None:
        people = f"{spread.voters:,} voter{'' if spread.voters == 1 else 's'}, effectively {spread.effective:,.0f}"
        text = {
            "votes": "sandwich, nobody voted twice",
            "few": f"sandwich by votes of {people}",
            "voters": f"sandwich by voters, Student ({people})",
        }[spread.by]
        text += f", scaled as of {spread.votes:,} votes" if spread.votes != votes and spread.by == "voters" else ""
    part_name = f"; {part}" if part else ""
    return (
        f"bradley-terry {VERSION}; tie and both_bad half a win; mean 1000; {text}, 95 %; side eval; {judge}{part_name}"
    )


def _against_ancestor(
    fitted: Fit, i: int, parents: dict[int, int | None], index_by_model: dict[int, int]
) -> dict[str, Any] | None:
    """Return the difference to the parent, or to the nearest ancestor that has been in a battle."""
    ancestor, visited = parents.get(fitted.models[i]), set()
    while ancestor is not None and ancestor not in index_by_model and ancestor not in visited:
        visited.add(ancestor)
        ancestor = parents.get(ancestor)
    if ancestor is None or ancestor not in index_by_model:
        return None
    difference = fitted.difference(i, index_by_model[ancestor])
    if difference is None:
        return None
    return {
        "model": ancestor,
        "difference": difference.value,
        "lower": difference.lower,
        "upper": difference.upper,
        "verdict": difference.verdict,
        "more_votes": fitted.more_votes(i, index_by_model[ancestor]),
    }
