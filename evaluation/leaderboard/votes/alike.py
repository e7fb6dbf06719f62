"""Put votes together that count in the same rows of counts: what follows is asked for each group, not for each vote.

The database groups a block of the ledger and answers with a text of numbers for each group, where a row for each vote
cost more to hand over than to find. Rows that were read one by one are grouped here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from django.db import connection
from django.db.models import QuerySet

from annotate.models import Split
from evaluation.ratings import LABELS

_CODE = {label: code for code, label in enumerate(LABELS)}
_CODES = "CASE winner " + " ".join(f"WHEN '{label}' THEN '{code}'" for label, code in _CODE.items()) + " END"
_LIKE, _NUMBERS = attrgetter("project", "judge", "category", "language", "status"), attrgetter("a", "b", "prompt", "id")
_NONE = np.zeros(0, np.int64)


class NewVote(NamedTuple):
    """A comparison as it was when it was given; later changes of its status are rows of their own."""

    id: int
    project: int
    judge: str
    side: str
    prompt: int
    category: str
    language: str | None
    a: int | None
    b: int | None
    winner: str
    status: str


class Like(NamedTuple):
    """Say what votes have in common that count in the same rows; the language is None where nobody has found it yet."""

    project: int
    judge: str
    category: str
    language: str | None
    status: str


@dataclass(frozen=True)
class Alike:
    """Hold votes that could rank models and are alike, as arrays (n,): the models `a` and `b`, `label` one in LABELS.

    `last` is the highest of their ids. Where the language is None, `prompts` and `ids` (n,) are theirs, else empty.
    """

    like: Like
    last: int
    a: np.ndarray
    b: np.ndarray
    label: np.ndarray
    prompts: np.ndarray
    ids: np.ndarray

    def of_prompts(self, language: str, prompts: Sequence[int]) -> Alike:
        """Return the votes on these prompts alone, which have that language."""
        chosen = np.isin(self.prompts, prompts)
        like, last = self.like._replace(language=language), int(self.ids[chosen].max())
        return Alike(like, last, self.a[chosen], self.b[chosen], self.label[chosen], _NONE, _NONE)


class Group(NamedTuple):
    """Hold a group as the database answers: how many, the highest id, and texts of numbers in one order.

    `gaps` are "the id below, the id above, when that was written" where ids are missing.
    """

    could_rank: bool | None
    project: int
    judge: str
    category: str
    language: str | None
    status: str
    number: int
    last: int
    a: str
    b: str
    labels: str
    prompts: str | None
    ids: str | None
    gaps: str | None

    def missing(self) -> list[tuple[int, int, float]]:
        """Return between which ids some are missing, and when the higher one was written."""
        gaps = (gap.split() for gap in (self.gaps or "").split(",") if gap)
        return [(int(below), int(above), float(written_at)) for below, above, written_at in gaps]

    def alike(self) -> Alike:
        """Return the votes of a group that could rank models."""
        label = np.frombuffer(self.labels.encode("ascii"), np.uint8) - ord("0")
        a, b, prompts, ids = (_numbers(text or "") for text in (self.a, self.b, self.prompts, self.ids))
        like = Like(self.project, self.judge, self.category, self.language, self.status)
        return Alike(like, self.last, a, b, label.astype(np.int64), prompts, ids)


def grouped(rows: QuerySet, after: int) -> list[Group]:
    """Return ascending rows of NewVote's columns and the moment each was written in groups, by one statement.

    On Postgres the ids that are missing between `after` and the last are told, too; SQLite's writers leave none out.
    """
    sql, parameters = rows.query.sql_with_params()
    on_postgres = connection.vendor == "postgresql"
    join, below = ("string_agg", "LAG(id, 1, %s) OVER (ORDER BY id)") if on_postgres else ("group_concat", "%s")
    gap = "below || ' ' || id || ' ' || EXTRACT(EPOCH FROM written)" if on_postgres else "NULL"
    statement = f"""
        WITH votes ({", ".join(NewVote._fields)}, written) AS ({sql}),
        numbered AS (SELECT *, {below} AS below FROM votes)
        SELECT side = %s AND a <> b AS could_rank, project, judge, category, language, status, COUNT(*), MAX(id),
            {join}(CAST(a AS text), ','), {join}(CAST(b AS text), ','), {join}({_CODES}, ''),
            {join}(CAST(prompt AS text), ',') FILTER (WHERE language IS NULL),
            {join}(CAST(id AS text), ',') FILTER (WHERE language IS NULL),
            {join}({gap}, ',') FILTER (WHERE id - below > 1)
        FROM numbered GROUP BY could_rank, project, judge, category, language, status
    """
    with connection.cursor() as cursor:
        cursor.execute(statement, [*parameters, after, Split.EVAL])
        return list(map(Group._make, cursor.fetchall()))


def alike(rows: Iterable[NewVote]) -> list[Alike]:
    """Return those of the votes that could rank models in groups."""
    groups: dict[tuple[Any, ...], list[NewVote]] = defaultdict(list)
    for row in filter(could_rank, rows):
        groups[_LIKE(row)].append(row)
    return [_of_rows(Like(*like), some) for like, some in groups.items()]


def could_rank(vote: NewVote) -> bool:
    """Return `FeedbackQuerySet.ranking` of a row that was read: the ledger is read whole, so that its cursor passes no
    row."""
    return vote.side == Split.EVAL and vote.a is not None and vote.b is not None and vote.a != vote.b


def _of_rows(like: Like, rows: Sequence[NewVote]) -> Alike:
    a, b, prompts, ids = (np.array(column, np.int64) for column in zip(*map(_NUMBERS, rows), strict=True))
    label = np.fromiter((_CODE[row.winner] for row in rows), np.int64, len(rows))
    nameless = (prompts, ids) if like.language is None else (_NONE, _NONE)
    return Alike(like, int(ids.max()), a, b, label, *nameless)


def _numbers(text: str) -> np.ndarray:
    return np.fromstring(text, np.int64, sep=",")
