"""The leaderboard: which votes count for it, and ratings at a moment, computed anew only when the votes have changed.

Votes are counted comparisons of answers by two different models on eval-side prompts, of people or of simulated
judges, never both. A snapshot keeps the tally and all that was published from it; nobody edits a snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core.cache import cache
from django.db.models import Count, F, Max

from annotate.models import Comparison, Judge, LanguageModel, Project, Side, Status, StatusChange
from annotate.models.feedback import FeedbackQuerySet
from evaluation.models import Leaderboard
from evaluation.ratings import Fit, Tally, fit, tally_totals

VERSION = 1


@dataclass(frozen=True)
class Moment:
    """What tells one state of the votes from another, without reading them all again."""

    votes: int
    last_comparison: int
    last_status_change: int


def comparisons(project: Project, judge: str) -> FeedbackQuerySet:
    """Comparisons that could rank models, whatever their status."""
    if judge not in Judge.values:
        raise ValueError(f"unknown judge {judge!r}: use one of {', '.join(Judge.values)}.")
    return (
        Comparison.objects.by(judge)
        .on_side(Side.EVAL)
        .filter(project=project, completion_a__model__isnull=False, completion_b__model__isnull=False)
        .exclude(completion_a__model=F("completion_b__model"))
        .order_by()
    )


def votes(project: Project, judge: str) -> FeedbackQuerySet:
    """The comparisons that count."""
    return comparisons(project, judge).counted()


def left_out(project: Project, judge: str) -> dict[str, int]:
    """How many comparisons do not count, by status."""
    rows = comparisons(project, judge).exclude(status=Status.COUNTED).values_list("status").annotate(n=Count("id"))
    return dict(rows)


def default_judge(project: Project) -> str:
    """People, as soon as one of their votes counts; else simulations, when there are any."""
    if not votes(project, Judge.PERSON).exists() and votes(project, Judge.SIMULATION).exists():
        return Judge.SIMULATION
    return Judge.PERSON


def current(*, project: Project, judge: str) -> Leaderboard:
    """The leaderboard as the votes stand now. Stored when they have changed; an empty one is never stored."""
    # Read before the votes: what arrives in between makes the next reader look again.
    glance = _glance(project, judge)
    key = f"leaderboard:{project.pk}:{judge}"
    seen, pk = cache.get(key, (None, None))
    if seen == glance and (board := Leaderboard.objects.filter(pk=pk).first()):
        return board
    board = _as_of_now(project, judge)
    if board.pk:
        cache.set(key, (glance, board.pk))
    return board


def _glance(project: Project, judge: str) -> tuple[int, int]:
    """The newest comparison and the newest change of a status: two look-ups, however many votes there are."""
    newest = Comparison.objects.filter(project=project).by(judge).order_by("-id").values_list("id", flat=True).first()
    changed = StatusChange.objects.filter(kind=Comparison._meta.model_name).order_by("-id").values_list("id", flat=True)
    return newest or 0, changed.first() or 0


def _as_of_now(project: Project, judge: str) -> Leaderboard:
    moment = _moment(project, judge)
    latest = Leaderboard.objects.filter(project=project, judge=judge).first()
    if latest is not None and _moment_of(latest) == moment:
        return latest
    made = Leaderboard(
        project=project,
        judge=judge,
        votes=moment.votes,
        last_comparison_id=moment.last_comparison,
        ratings=_publish(project, judge, moment),
        signature=f"bradley-terry {VERSION}; tie and both_bad half a win; mean 1000; sandwich 95 %; side eval; {judge}",
    )
    if moment.votes:
        made.save()
    return made


def _moment(project: Project, judge: str) -> Moment:
    counted = votes(project, judge).aggregate(votes=Count("id"), last=Max("id"))
    changes = StatusChange.objects.filter(
        kind=Comparison._meta.model_name, feedback_id__in=comparisons(project, judge).values("id")
    )
    return Moment(counted["votes"], counted["last"] or 0, changes.aggregate(last=Max("id"))["last"] or 0)


def _moment_of(board: Leaderboard) -> Moment | None:
    if board.ratings.get("version") != VERSION:
        return None
    return Moment(board.votes, board.last_comparison_id, board.ratings["last_status_change"])


def _publish(project: Project, judge: str, moment: Moment) -> dict[str, Any]:
    """What a snapshot keeps: rows as published, and the totals from which anyone can fit them again."""
    totals = list(
        votes(project, judge)
        .values_list("completion_a__model", "completion_b__model", "winner")
        .annotate(n=Count("id"))
        .order_by("completion_a__model", "completion_b__model", "winner")
    )
    tally = tally_totals(totals)
    return {
        "version": VERSION,
        "last_status_change": moment.last_status_change,
        "judges": _judges(project, judge),
        "a_wins_share": tally.a_wins_share,
        "totals": [list(total) for total in totals],
        "rows": _rows(fit(tally)) if totals else [],
    }


def _judges(project: Project, judge: str) -> int:
    counted = votes(project, judge)
    people = counted.filter(author__isnull=False).aggregate(n=Count("author", distinct=True))["n"]
    visitors = counted.filter(author__isnull=True).aggregate(n=Count("visitor", distinct=True))["n"]
    return people + visitors


def _rows(fitted: Fit) -> list[dict[str, Any]]:
    """Best first; models that no chain of votes joins to the largest group come last."""
    parents = dict(LanguageModel.objects.values_list("id", "parent"))
    ranks, tally = fitted.ranks(), fitted.tally
    order = sorted(range(len(fitted.models)), key=lambda i: (fitted.group[i], ranks[i, 0], -fitted.rating[i]))
    return [
        {
            "model": fitted.models[i],
            "rating": float(fitted.rating[i]),
            "lower": float(fitted.lower[i]),
            "upper": float(fitted.upper[i]),
            "rank": int(ranks[i, 0]),
            "worst_rank": int(ranks[i, 1]),
            "group": int(fitted.group[i]),
            "is_penalised": bool(fitted.is_penalised[i]),
            "battles": int(tally.battles[i]),
            "wins": int(tally.wins[i].sum()),
            "ties": int(tally.ties[i].sum()),
            "losses": int(tally.wins[:, i].sum()),
            "against": _against_ancestor(fitted, i, parents),
        }
        for i in order
    ]


def _against_ancestor(fitted: Fit, i: int, parents: dict[int, int | None]) -> dict[str, Any] | None:
    """The difference to the parent, or to the nearest ancestor that has been in a battle."""
    place = {model: index for index, model in enumerate(fitted.models)}
    ancestor, seen = parents.get(fitted.models[i]), set()
    while ancestor is not None and ancestor not in place and ancestor not in seen:
        seen.add(ancestor)
        ancestor = parents.get(ancestor)
    if ancestor is None or ancestor not in place:
        return None
    difference = fitted.difference(i, place[ancestor])
    if difference is None:
        return None
    return {
        "model": ancestor,
        "difference": difference.value,
        "lower": difference.lower,
        "upper": difference.upper,
        "verdict": difference.verdict,
        "more_votes": fitted.more_votes(i, place[ancestor]),
    }


def tally_of(board: Leaderboard) -> Tally:
    """The counts that a snapshot was fitted to."""
    return tally_totals([tuple(total) for total in board.ratings["totals"]])
