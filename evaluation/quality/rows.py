"""Judgements as columns of numbers: read from the ledger once, and again only for what is new.

Whose judgement a row is: its author's, where it was judged here; the judge's whom the file names, where it came with an
import. Rows of an import without such a name are its importer's alone and judge nobody; votes of the arena are watched
elsewhere (`evaluation.ratings.anomaly`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.db.models import Count, Max, QuerySet
from django.db.models.functions import Length

from annotate.models import Assignment, Comparison, Completion, Project, Ranking, Rating, StatusChange, User
from annotate.models.feedback import Feedback, FeedbackQuerySet
from evaluation.recent import Recent

OWN = "annotation"  # the source of what was judged here
WORK, GOLD, REPEAT = (Assignment.Purpose[name].value for name in ("WORK", "GOLD", "REPEAT"))
_COMMON = (
    *("id", "author_id", "source", "source_judge", "seconds", "assignment_id", "assignment__purpose"),
    "assignment__repeats_id",
)
_recent = Recent(32)


class Judge(NamedTuple):
    """An account, or a name in the file of an import."""

    user: int | None
    source: str = ""
    name: str = ""


class Row(NamedTuple):
    """What all judgements have in common. `purpose` is "" where nothing was handed out."""

    id: int
    judge: Judge
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


class GoldGiven(NamedTuple):
    judge: Judge
    passed: bool


@dataclass
class Rows:
    """All that counts of one kind of judge in a project, and how far the ledger had come."""

    compared: list[Compared] = field(default_factory=list)
    rated: list[Rated] = field(default_factory=list)
    ranked: list[Ranked] = field(default_factory=list)
    gold: list[GoldGiven] = field(default_factory=list)
    characters: dict[int, int] = field(default_factory=dict)
    state: str = ""

    @property
    def judges(self) -> list[Judge]:
        """Accounts first, each kind in order."""
        found = {item.row.judge for table in (self.compared, self.rated, self.ranked) for item in table}
        found |= {gold.judge for gold in self.gold}
        return sorted(found, key=lambda judge: (judge.user is None, judge.user or 0, judge.source, judge.name))


def rows_of(project: Project, kind: str) -> Rows:
    """As the ledger stands now. Kept while nothing changes, and shared: nobody may change it."""
    key, state = (project.pk, kind), _state(project, kind)
    found = _recent.get(key, state)
    if found is None:
        known = _recent.last(key)
        found = _read(project, kind, known.characters if known else {})
        found.state = state
        _recent.put(key, state, found)
    return found


def _state(project: Project, kind: str) -> str:
    """Another one after each judgement, status and gold answer. Numbers beside the newest, as a row may come late."""
    tables = [
        _standing(table, project, kind).aggregate(n=Count("id"), last=Max("id"))
        for table in (Comparison, Rating, Ranking)
    ]
    gold = _gold(project, kind).aggregate(n=Count("id"), last=Max("closed_at"))
    changes = StatusChange.objects.aggregate(last=Max("id"))
    return repr((tables, gold, changes))


def _standing(table: type[Feedback], project: Project, kind: str) -> FeedbackQuerySet:
    rows: FeedbackQuerySet = table.objects.filter(project=project).by(kind).counted().order_by()
    return rows.filter(battle=None, ranking=None) if table is Comparison else rows


def _gold(project: Project, kind: str) -> QuerySet[Assignment]:
    given = project.assignments.filter(purpose=GOLD, state=Assignment.State.SUBMITTED, gold_passed__isnull=False)
    return given.filter(user__is_simulated=kind == "simulation").order_by()


def _read(project: Project, kind: str, characters: dict[int, int]) -> Rows:
    found = Rows(characters=characters)
    people = _Judges()
    for values in _values(Comparison, project, kind, "completion_a_id", "completion_b_id", "winner"):
        if row := people.row(values):
            found.compared.append(Compared(row, *values[len(_COMMON) :]))
    for values in _values(Rating, project, kind, "completion_id", "thumbs", "stars", "aspects"):
        if row := people.row(values):
            found.rated.append(Rated(row, *values[len(_COMMON) :]))
    for values in _values(Ranking, project, kind, "order"):
        if row := people.row(values):
            found.ranked.append(Ranked(row, values[len(_COMMON)]))
    for user, passed in _gold(project, kind).values_list("user_id", "gold_passed"):
        found.gold.append(GoldGiven(Judge(user), passed))
    found.characters = characters | _lengths(project, characters)
    return found


def _values(table: type[Feedback], project: Project, kind: str, *fields: str) -> Iterator[tuple[Any, ...]]:
    """In the order given: a judge's last word on an item comes last."""
    return _standing(table, project, kind).order_by("id").values_list(*_COMMON, *fields).iterator(chunk_size=5000)


class _Judges:
    """Rows with their judge, each judge made once."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Judge | None] = {}

    def row(self, values: tuple[Any, ...]) -> Row | None:
        pk, author, source, named, seconds, assignment, purpose, repeats = values[: len(_COMMON)]
        key = (author if source == OWN else None, source, named)
        if key not in self._known:
            self._known[key] = self._judge(*key)
        judge = self._known[key]
        return Row(pk, judge, seconds, assignment, purpose or "", repeats) if judge else None

    def _judge(self, author: int | None, source: str, named: str) -> Judge | None:
        if author is not None:
            return Judge(author)
        return Judge(None, source, named) if named and source != OWN else None


def _lengths(project: Project, known: dict[int, int]) -> dict[int, int]:
    """Characters of the project's answers that are not known yet; an answer is never edited."""
    newest = max(known, default=0)
    new = Completion.objects.filter(prompt__project=project, pk__gt=newest).order_by()
    return dict(new.annotate(characters=Length("text")).values_list("pk", "characters"))


def names_of(judges: Iterable[Judge]) -> dict[Judge, str]:
    """What the pages call them."""
    judges = list(judges)
    users = dict(User.objects.filter(pk__in=[j.user for j in judges if j.user]).values_list("pk", "username"))
    return {judge: users.get(judge.user or 0) or judge.name for judge in judges}
