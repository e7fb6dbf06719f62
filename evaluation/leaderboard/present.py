"""Present the leaderboard as a page: which votes, its parts, and a stamp that changes with them.

The page, its polls and its socket render the same parts from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django.conf.locale import LANG_INFO
from django.core.cache import cache
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from annotate.arena.battles import pairing
from annotate.models import AnnotatorKind, Comparison, Contestant, LanguageModel, Project, Split
from evaluation.core import served_model
from evaluation.core.recent_values import Recent
from evaluation.leaderboard import fluency_columns as fluency
from evaluation.leaderboard.interval_pictures import axis_over, axis_picture, interval_picture
from evaluation.leaderboard.leaderboard_rows import Standing, position_share, with_fluency
from evaluation.leaderboard.rating_history import board_at
from evaluation.leaderboard.snapshots import FEW_VOTES, current, default_annotator_kind, left_out, votes_by_kind
from evaluation.leaderboard.votes.counts import parts_of
from evaluation.leaderboard.votes.languages import UNKNOWN
from evaluation.models import Leaderboard, VoteCounts

MOST_CHOICES = 200  # of categories; those with the most votes
MANY_VOTES = 10_000  # from so many on, those that train are counted once in _KEPT_SECONDS
_KEPT_SECONDS = 60
PARTS = ("board", "how")
_recent = Recent(32)


@dataclass(frozen=True)
class BoardQuery:
    """Say which leaderboard: whose votes, on what, and when (now without `at`); `problem` says what was not
    understood."""

    project: Project
    judge: str
    category: str = ""
    language: str = ""
    at: datetime | None = None
    problem: str = ""
    problem_in: str = "at"

    @property
    def query(self) -> str:
        """Return the query as an address has it, a past moment included."""
        fields = {"judge": self.judge, "category": self.category, "language": self.language}
        fields["at"] = self.at.strftime("%Y-%m-%dT%H:%M:%S") if self.at else ""
        return urlencode({name: value for name, value in fields.items() if value})

    @property
    def part(self) -> str:
        """Return the part in words, empty for all votes."""
        if self.category:
            return f"the category {self.category}"
        return language_name(self.language) if self.language else ""


def parse_query(project: Project, query: Mapping[str, str]) -> BoardQuery:
    """Return the query of an address. Raises ValueError on an unknown kind of annotators."""
    judge = query.get("judge") or default_annotator_kind(project)
    if judge not in AnnotatorKind.values:
        raise ValueError(f"judge is one of {', '.join(AnnotatorKind.values)}, not {judge!r}.")
    category, language = (query.get(name, "").replace("\x00", "") for name in ("category", "language"))
    problem = (
        "Choose a category or a language, not both. This is the leaderboard of the category."
        if category and language
        else ""
    )
    board_query = BoardQuery(
        project, judge, category, "" if category else language, None, problem, "category" if problem else "at"
    )
    if not query.get("at"):
        return board_query
    at = moment_in(query["at"])
    if at is None:
        wrong = f"{query['at'][:40]!r} is not a time; use the form 2026-03-31T18:00 (UTC)."
        return replace(board_query, problem=wrong, problem_in="at")
    if at > timezone.now():
        if at.date() == timezone.now().date() and len(query["at"]) == 10:
            return board_query  # today has not ended: that is now
        wrong = f"{at:%Y-%m-%d %H:%M} UTC is in the future; this is the current leaderboard."
        return replace(board_query, problem=wrong, problem_in="at")
    return replace(board_query, at=at)


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
        return "no particular language"
    return str(LANG_INFO.get(code, {}).get("name", code))


def board_of(query: BoardQuery) -> Leaderboard:
    project, judge, category, language = query.project, query.judge, query.category, query.language
    if query.at:
        return board_at(project=project, judge=judge, at=query.at, category=category, language=language)
    return current(project=project, judge=judge, category=category, language=language)


def stamp(query: BoardQuery, board: Leaderboard) -> str:
    """Return a text that changes whenever the page would look different: a few look-ups, whatever the votes."""
    if query.at:
        return "past"
    served = served_model.promoted(query.project)
    fighting = Contestant.objects.filter(project=query.project, left_at=None, model__retired_at=None).count()
    other_votes = 0 if board.votes else votes_by_kind(query.project)[_other(query.judge)].votes
    measured = fluency.measured(query.project).order_by("-pk").values_list("pk", flat=True).first() or 0
    return f"{board.state or 'none'}-{served.pk if served else 0}-{fighting}-{other_votes}-{measured}"


def context(query: BoardQuery, board: Leaderboard) -> dict[str, Any]:
    """Return the context of the page's parts."""
    rows = with_fluency(board)
    rated_rows = [row for row in rows if row.is_connected]
    is_now = query.at is None
    kind_votes = votes_by_kind(query.project)
    return {
        "project": query.project,
        "tab": "board",
        "asked": query,
        "board": board,
        "judge": query.judge,
        "judges": board.ratings["judges"],
        "intervals": board.ratings["intervals"],
        "kind_votes": kind_votes,
        "others": kind_votes[_other(query.judge)],
        "left_out": left_out(query.project, query.judge) if is_now and not query.part else {},
        "training_votes": training_votes(query, board) if is_now and not query.part else 0,
        "stamp": stamp(query, board),
        "promotion": served_model.promoted(query.project) if is_now else None,
        **_pictures(rated_rows),
        "unconnected": [row for row in rows if not row.is_connected],
        "untried": _untried(query.project, rows) if is_now and not query.part else [],
        "is_arena_open": len(pairing.contestants(query.project)) >= 2,
        "few_votes": FEW_VOTES,
        "is_thin": 0 < board.votes < FEW_VOTES * len(rows),
        "one_sided": any(row.is_penalised for row in rated_rows),
        "position": position_share(board),
        "has_fluency": any(row.fluency for row in rated_rows),
    }


def choices(query: BoardQuery) -> dict[str, list[tuple[str, str, int, bool]]]:
    """Return the parts of the votes that can be chosen: (value, name, votes, whether it is shown)."""
    options_by_title: dict[str, list[tuple[str, str, int, bool]]] = {"Categories": [], "Languages": []}
    for row in parts_of(query.project, query.judge):
        is_category = row.part == VoteCounts.Part.CATEGORY
        name = row.name if is_category else language_name(row.name)
        is_chosen = row.name == (query.category if is_category else query.language)
        options_by_title["Categories" if is_category else "Languages"].append(
            (f"{row.part}:{row.name}", name, row.votes, is_chosen)
        )
    return {title: options[:MOST_CHOICES] for title, options in options_by_title.items() if options}


def rendered(query: BoardQuery, board: Leaderboard) -> str:
    """Return the HTML of the parts that change with the votes, for htmx: rendered once for all open pages."""
    key, state = (query.project.pk, query.query), stamp(query, board)
    html = _recent.get(key, state) if board.state else None
    if html is None:
        values = context(query, board) | {"live": True}
        html = "".join(render_to_string(f"evaluation/leaderboard/leaderboard.html#{part}", values) for part in PARTS)
        _recent.put(key, state, html)
    return html


def training_votes(query: BoardQuery, board: Leaderboard) -> int:
    """Return how many counted arena votes are on questions of the train split: they may train models, and rank none.

    They stand in no counts, so they are read one by one; where there are many votes, once a minute and not with each.
    """
    key = f"training-votes:{query.project.pk}:{query.judge}"
    if (kept := cache.get(key)) is not None:
        return int(kept)
    votes = Comparison.objects.counted().by(query.judge).on_split(Split.TRAIN)
    n = votes.filter(project=query.project, battle__isnull=False).count()
    if board.votes + n >= MANY_VOTES:
        cache.set(key, n, _KEPT_SECONDS)
    return n


def _other(judge: str) -> str:
    return AnnotatorKind.PERSON if judge == AnnotatorKind.SIMULATION else AnnotatorKind.SIMULATION


def _pictures(rated_rows: list[Standing]) -> dict[str, Any]:
    """Return the rows with their intervals drawn on one axis."""
    if not rated_rows:
        return {"rows": []}
    axis = axis_over([(row.lower, row.upper) for row in rated_rows])
    return {
        "rows": [(row, interval_picture(axis, row.rating, row.lower, row.upper)) for row in rated_rows],
        "axis": axis_picture(axis),
    }


def _untried(project: Project, rows: list[Standing]) -> list[LanguageModel]:
    """Return the models in the arena that no counted vote is about yet."""
    rated_ids = [row.model.pk for row in rows]
    in_arena = LanguageModel.objects.filter(contests__project=project, contests__left_at=None)
    return list(in_arena.exclude(pk__in=rated_ids).order_by("name"))
