"""Load annotations as columns of numbers: read from the ledger once, and again only for what is new.

Whose annotation a row is: its author's, where it was judged here; the annotator's whom the file names, where it came
with an import. Rows of an import without such a name are its importer's alone and judge nobody; votes of the arena are
watched elsewhere (`evaluation.vote_integrity.anomaly_detection`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Count, Max, Min, QuerySet
from django.db.models.functions import Length

from annotate.models import (
    Assignment,
    AuditEntry,
    Comparison,
    Completion,
    Project,
    Ranking,
    Rating,
    Scale,
    Span,
    StatusChange,
    User,
)
from annotate.models.feedback import Feedback, FeedbackQuerySet
from evaluation.core.kept_figures import Tell
from evaluation.core.recent_values import Recent

OWN = "annotation"  # the source of what was judged here
WORK, GOLD, REPEAT = (Assignment.Purpose[name].value for name in ("WORK", "GOLD", "REPEAT"))
_COMMON = (
    *("id", "author_id", "source", "source_judge", "seconds", "assignment_id", "assignment__purpose"),
    "assignment__repeats_id",
)
_recent = Recent(32)


class Annotator(NamedTuple):
    """An account, or a name in the file of an import."""

    user: int | None
    source: str = ""
    name: str = ""


class Row(NamedTuple):
    """Hold what all annotations have in common. `purpose` is "" where nothing was handed out."""

    id: int
    judge: Annotator
    seconds: float | None
    assignment: int | None
    purpose: str
    repeats: int | None

    @property
    def is_work(self) -> bool:
        return self.purpose in ("", WORK)


class Compared(NamedTuple):
    row: Row
    a: int
    b: int
    winner: str


class Rated(NamedTuple):
    row: Row
    completion: int
    thumbs: bool | None
    stars: int | None
    aspects: dict[str, int]


class Ranked(NamedTuple):
    row: Row
    order: list[list[int]]


class Marked(NamedTuple):
    row: Row
    completion: int
    start: int
    end: int
    label: str


class GoldAnswer(NamedTuple):
    judge: Annotator
    passed: bool


class Position(NamedTuple):
    """Say how far the ledger had come: how many rows of each table count and the newest; known answers; changes."""

    tables: tuple[tuple[int, int], ...]
    gold: tuple[int, str]
    changes: int


_BEGINNING = Position(((0, 0),) * 4, (0, ""), 0)


@dataclass
class Rows:
    """All that counts of one kind of annotator in a project, in the order in which it was said.

    `offered` says for each label of spans between which assignments its annotators could mark with it.
    """

    compared: list[Compared] = field(default_factory=list)
    rated: list[Rated] = field(default_factory=list)
    ranked: list[Ranked] = field(default_factory=list)
    marked: list[Marked] = field(default_factory=list)
    gold: list[GoldAnswer] = field(default_factory=list)
    characters: dict[int, int] = field(default_factory=dict)
    offered: dict[str, tuple[float, float]] = field(default_factory=dict)
    position: Position = _BEGINNING

    @property
    def tables(self) -> tuple[list[Any], ...]:
        return self.compared, self.rated, self.ranked, self.marked

    @property
    def judges(self) -> list[Annotator]:
        """Return the annotators, accounts first, each kind in order."""
        annotators = {item.row.judge for table in self.tables for item in table}
        annotators |= {gold.judge for gold in self.gold}
        return sorted(annotators, key=lambda judge: (judge.user is None, judge.user or 0, judge.source, judge.name))


_TABLES: tuple[tuple[type[Feedback], Callable[..., Any], tuple[str, ...]], ...] = (
    (Comparison, Compared, ("completion_a_id", "completion_b_id", "winner")),
    (Rating, Rated, ("completion_id", "thumbs", "stars", "aspects")),
    (Ranking, Ranked, ("order",)),
    (Span, Marked, ("completion_id", "start", "end", "label")),
)


def _quietly(stage: str, share: float) -> None:
    """Tell nobody how far it is."""


def rows_of(project: Project, kind: str, tell: Tell = _quietly) -> Rows:
    """Return the rows as the ledger stands now. Kept while nothing changes, and shared: nobody may change them."""
    key, position = key_of(project, kind), _position(project, kind)
    rows = _recent.get(key, repr(position))
    if rows is None:
        cached = _recent.last(key) or Rows()
        rows = _grown(project, kind, cached, position, tell) or _grown(project, kind, Rows(), position, tell)
        if rows is None:  # something came while it was read: the next look takes it in
            rows = _grown(project, kind, Rows(), position, tell, is_exact=False)
            assert rows is not None
        _recent.put(key, repr(position), rows)
    return rows


def rows_until(project: Project, kind: str, moment: datetime, tell: Tell = _quietly) -> Rows:
    """Return what counts now of what was said before the moment."""
    now = rows_of(project, kind, tell)
    cut: list[list[Any]] = []
    for (table, _, _), rows in zip(_TABLES, now.tables, strict=True):
        before = table.objects.filter(project=project, created_at__lt=moment).aggregate(last=Max("id"))["last"] or 0
        cut.append([item for item in rows if item.row.id <= before])
    gold_rows = _gold(project, kind).filter(closed_at__lt=moment).values_list("user_id", "gold_passed")
    gold = [GoldAnswer(Annotator(user), bool(has_passed)) for user, has_passed in gold_rows]
    compared, rated, ranked, marked = cut
    return Rows(compared, rated, ranked, marked, gold, now.characters, now.offered, now.position)


def key_of(project: Project, kind: str) -> tuple[Any, ...]:
    """Return the key of what is kept in memory; with the moment, as a database that was rolled back numbers its
    projects again."""
    return project.pk, project.created_at, kind


def _position(project: Project, kind: str) -> Position:
    """Return a position that differs after each annotation, status and gold answer. Numbers beside the newest, as a row
    may come late."""
    tables = []
    for table, _, _ in _TABLES:
        totals = _standing(table, project, kind).aggregate(n=Count("id"), last=Max("id"))
        tables.append((totals["n"], totals["last"] or 0))
    gold = _gold(project, kind).aggregate(n=Count("id"), last=Max("closed_at"))
    changes = StatusChange.objects.aggregate(last=Max("id"))["last"] or 0
    return Position(tuple(tables), (gold["n"], str(gold["last"])), changes)


def _standing(table: type[Feedback], project: Project, kind: str) -> FeedbackQuerySet:
    rows: FeedbackQuerySet = table.objects.filter(project=project).by(kind).counted().order_by()
    return rows.filter(battle=None, ranking=None) if table is Comparison else rows


def _gold(project: Project, kind: str) -> QuerySet[Assignment]:
    rows = project.assignments.filter(purpose=GOLD, state=Assignment.State.SUBMITTED, gold_passed__isnull=False)
    return rows.filter(user__is_simulated=kind == "simulation").order_by()


def _grown(project: Project, kind: str, earlier: Rows, to: Position, tell: Tell, is_exact: bool = True) -> Rows | None:
    """Return what was known, and what came since; None where that is not all: a status changed, or a row came late."""
    if earlier.position.changes != to.changes and any(earlier.tables):
        return None
    grown = Rows([*earlier.compared], [*earlier.rated], [*earlier.ranked], [*earlier.marked], position=to)
    people, done, total = _Annotators(), 0, max(1, sum(n for n, _ in to.tables))
    for (table, make, fields), rows, before, after in zip(
        _TABLES, grown.tables, earlier.position.tables, to.tables, strict=True
    ):
        new = _standing(table, project, kind).filter(pk__gt=before[1], pk__lte=after[1]).order_by("id")
        n = before[0]
        for values in new.values_list(*_COMMON, *fields).iterator(chunk_size=5000):
            n, done = n + 1, done + 1
            if done % 5000 == 0:
                tell("reading annotations", 0.4 * done / total)
            if row := people.row(values):
                rows.append(make(row, *values[len(_COMMON) :]))
        if is_exact and n != after[0]:
            return None
    for user, has_passed in _gold(project, kind).values_list("user_id", "gold_passed"):
        grown.gold.append(GoldAnswer(Annotator(user), bool(has_passed)))
    grown.characters = earlier.characters | _lengths(project, earlier.characters)
    grown.offered = _offered(project) if grown.marked else {}
    return grown


class _Annotators:
    """Rows with their judge, each annotator made once."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Annotator | None] = {}

    def row(self, values: tuple[Any, ...]) -> Row | None:
        pk, author, source, named, seconds, assignment, purpose, repeats = values[: len(_COMMON)]
        key = (author if source == OWN else None, source, named)
        if key not in self._known:
            self._known[key] = self._judge(*key)
        judge = self._known[key]
        return Row(pk, judge, seconds, assignment, purpose or "", repeats) if judge else None

    def _judge(self, author: int | None, source: str, named: str) -> Annotator | None:
        if author is not None:
            return Annotator(author)
        return Annotator(None, source, named) if named and source != OWN else None


def _offered(project: Project) -> dict[str, tuple[float, float]]:
    """Return the labels that the project has or had: who was handed an item before, or after, has not marked
    nothing."""
    scales = {scale.name: scale for scale in project.scales.filter(kind=Scale.Kind.SPAN)}  # type: ignore[attr-defined]
    texts = [f"span {name}" for name in scales]
    entries = AuditEntry.objects.filter(project=project, action="scale.added", about__in=texts).order_by("pk")
    added = {about.removeprefix("span "): at for about, at in entries.values_list("about", "created_at")}

    def first(since: datetime | None, otherwise: float) -> float:
        if since is None:
            return otherwise
        first_pk = project.assignments.filter(created_at__gte=since).aggregate(first=Min("pk"))["first"]
        return math.inf if first_pk is None else first_pk

    return {name: (first(added.get(name), 0), first(scale.retired_at, math.inf)) for name, scale in scales.items()}


def _lengths(project: Project, known_lengths: dict[int, int]) -> dict[int, int]:
    """Return the characters of the project's answers that are not known yet; an answer is never edited."""
    newest = max(known_lengths, default=0)
    new = Completion.objects.filter(prompt__project=project, pk__gt=newest).order_by()
    return dict(new.annotate(characters=Length("text")).values_list("pk", "characters"))


def names_of(judges: Iterable[Annotator]) -> dict[Annotator, str]:
    """Return what the pages call them."""
    judges = list(judges)
    users = dict(User.objects.filter(pk__in=[j.user for j in judges if j.user]).values_list("pk", "username"))
    return {judge: users.get(judge.user or 0) or judge.name for judge in judges}
