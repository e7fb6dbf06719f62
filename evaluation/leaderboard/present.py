"""The leaderboard as a page shows it: which votes were asked for, its parts, and what tells that they have changed.

The page, its polls and its socket render the same parts from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django.conf.locale import LANG_INFO
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from annotate.arena.battles import pairing
from annotate.models import AnnotatorKind, Contestant, LanguageModel, Project
from evaluation.core import served_model
from evaluation.core.recent_values import Recent
from evaluation.leaderboard import fluency_columns as fluency
from evaluation.leaderboard.interval_pictures import axis_over, axis_picture, interval_picture
from evaluation.leaderboard.leaderboard_rows import Standing, position_share, standings, win_matrix
from evaluation.leaderboard.rating_history import board_at
from evaluation.leaderboard.snapshots import current, default_annotator_kind, left_out
from evaluation.leaderboard.votes.counts import counts_of, parts_of
from evaluation.leaderboard.votes.languages import UNKNOWN
from evaluation.models import Leaderboard, VoteCounts

SMALL = 12  # models whose win matrix stands on this page; that of more is on the page of pairs
FEW_VOTES = 10  # per model, below which the order is mostly luck
MOST_CHOICES = 200  # of categories; those with the most votes
PARTS = ("board", "matrix", "how")
_recent = Recent(32)


@dataclass(frozen=True)
class Asked:
    """Which leaderboard: whose votes, on what, as of when (now without `at`); `problem` is what was not understood."""

    project: Project
    judge: str
    category: str = ""
    language: str = ""
    at: datetime | None = None
    problem: str = ""
    problem_in: str = "at"

    @property
    def query(self) -> str:
        """As in an address; a moment of the past included."""
        given = {"judge": self.judge, "category": self.category, "language": self.language}
        given["at"] = self.at.strftime("%Y-%m-%dT%H:%M:%S") if self.at else ""
        return urlencode({name: value for name, value in given.items() if value})

    @property
    def part(self) -> str:
        """In words, empty for all votes."""
        if self.category:
            return f"the category {self.category}"
        return language_name(self.language) if self.language else ""


def asked(project: Project, query: Mapping[str, str]) -> Asked:
    """From an address. Raises ValueError on a kind of annotator that there is not."""
    judge = query.get("judge") or default_annotator_kind(project)
    if judge not in AnnotatorKind.values:
        raise ValueError(f"judge is one of {', '.join(AnnotatorKind.values)}, not {judge!r}.")
    category, language = (query.get(name, "").replace("\x00", "") for name in ("category", "language"))
    problem = "Choose a category or a language, not both; this is the category." if category and language else ""
    found = Asked(
        project, judge, category, "" if category else language, None, problem, "category" if problem else "at"
    )
    if not query.get("at"):
        return found
    at = moment_in(query["at"])
    if at is None:
        wrong = f"{query['at'][:40]!r} is no moment; write one like 2026-03-31T18:00 (UTC)."
        return replace(found, problem=wrong, problem_in="at")
    if at > timezone.now():
        if at.date() == timezone.now().date() and len(query["at"]) == 10:
            return found  # today has not ended: that is now
        wrong = f"{at:%Y-%m-%d %H:%M} UTC is still to come; this is the leaderboard as of now."
        return replace(found, problem=wrong, problem_in="at")
    return replace(found, at=at)


def moment_in(text: str) -> datetime | None:
    """Return a moment by ISO 8601, UTC when it names no zone; a day alone is its end."""
    try:
        if len(text) == 10 and (day := parse_date(text)):
            return datetime(day.year, day.month, day.day, 23, 59, 59, 999999, UTC)
        at = parse_datetime(text)
        return at if at is None else at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # well written, and no day of any month; or before the first year in UTC
        return None


def language_name(code: str) -> str:
    if code == UNKNOWN:
        return "no language in particular"
    return str(LANG_INFO.get(code, {}).get("name", code))


def board_of(asked: Asked) -> Leaderboard:
    project, judge, category, language = asked.project, asked.judge, asked.category, asked.language
    if asked.at:
        return board_at(project=project, judge=judge, at=asked.at, category=category, language=language)
    return current(project=project, judge=judge, category=category, language=language)


def stamp(asked: Asked, board: Leaderboard) -> str:
    """Another one whenever the parts of the page would look different. A few look-ups, whatever the votes."""
    if asked.at:
        return "past"
    served = served_model.promoted(asked.project)
    fighting = Contestant.objects.filter(project=asked.project, left_at=None, model__retired_at=None).count()
    others = 0 if board.votes else _votes_of(asked.project, _other(asked.judge))
    measured = fluency.measured(asked.project).order_by("-pk").values_list("pk", flat=True).first() or 0
    return f"{board.state or 'none'}-{served.pk if served else 0}-{fighting}-{others}-{measured}"


def context(asked: Asked, board: Leaderboard) -> dict[str, Any]:
    """Return what the parts need."""
    rows = fluency.beside(board, standings(board))
    rated = [row for row in rows if row.is_connected]
    is_now = asked.at is None
    others = _votes_of(asked.project, _other(asked.judge))
    return {
        "project": asked.project,
        "section": "leaderboard",
        "tab": "board",
        "asked": asked,
        "board": board,
        "judge": asked.judge,
        "judges": board.ratings["judges"],
        "intervals": board.ratings["intervals"],
        "others_voted": bool(others),
        "other_votes": 0 if board.votes else others,
        "left_out": left_out(asked.project, asked.judge) if is_now and not asked.part else {},
        "stamp": stamp(asked, board),
        "promotion": served_model.promoted(asked.project) if is_now else None,
        **_pictures(rated),
        "unconnected": [row for row in rows if not row.is_connected],
        "untried": _untried(asked.project, rows) if is_now and not asked.part else [],
        "is_arena_open": len(pairing.contestants(asked.project)) >= 2,
        "is_small": len(rated) <= SMALL,
        "is_thin": 0 < board.votes < FEW_VOTES * len(rows),
        "one_sided": any(row.is_penalised for row in rated),
        "position": position_share(board),
        "has_fluency": any(row.fluency for row in rated),
        "matrix": win_matrix(board, rated) if len(rated) <= SMALL else [],
    }


def choices(asked: Asked) -> dict[str, list[tuple[str, str, int, bool]]]:
    """Return the parts of the votes that can be asked for: value, name, votes, whether it is shown."""
    found: dict[str, list[tuple[str, str, int, bool]]] = {"Categories": [], "Languages": []}
    for row in parts_of(asked.project, asked.judge):
        is_category = row.part == VoteCounts.Part.CATEGORY
        name = row.name if is_category else language_name(row.name)
        chosen = row.name == (asked.category if is_category else asked.language)
        found["Categories" if is_category else "Languages"].append((f"{row.part}:{row.name}", name, row.votes, chosen))
    return {title: options[:MOST_CHOICES] for title, options in found.items() if options}


def rendered(asked: Asked, board: Leaderboard) -> str:
    """Return the parts that move with the votes, for htmx: made once for all pages that are open."""
    key, state = (asked.project.pk, asked.query), stamp(asked, board)
    html = _recent.get(key, state) if board.state else None
    if html is None:
        values = context(asked, board) | {"live": True}
        html = "".join(render_to_string(f"evaluation/leaderboard.html#{part}", values) for part in PARTS)
        _recent.put(key, state, html)
    return html


def _votes_of(project: Project, judge: str) -> int:
    counts = counts_of(project, judge)
    return counts.votes if counts else 0


def _other(judge: str) -> str:
    return AnnotatorKind.PERSON if judge == AnnotatorKind.SIMULATION else AnnotatorKind.SIMULATION


def _pictures(rated: list[Standing]) -> dict[str, Any]:
    """Rows with their intervals drawn on one axis."""
    if not rated:
        return {"rows": []}
    axis = axis_over([(row.lower, row.upper) for row in rated])
    return {
        "rows": [(row, interval_picture(axis, row.rating, row.lower, row.upper)) for row in rated],
        "axis": axis_picture(axis),
    }


def _untried(project: Project, rows: list[Standing]) -> list[LanguageModel]:
    """Models in the arena that no counted vote has met yet."""
    met = [row.model.pk for row in rows]
    in_arena = LanguageModel.objects.filter(contests__project=project, contests__left_at=None)
    return list(in_arena.exclude(pk__in=met).order_by("name"))
