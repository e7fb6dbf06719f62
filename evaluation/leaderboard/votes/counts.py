"""Keep counted votes per project and kind of annotator, folded from the ledger as it grows: a cache, never the truth.

A count is a sum over the ledger: each comparison once, with the status it began with, and each change of a status once.
Sums do not mind the order, so a row that becomes visible late is added late, and nothing is counted twice: the cursor's
row is locked while somebody folds, and moves in the same transaction as the counts.
"""

from __future__ import annotations

import logging
import time
import uuid
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
from django.db import OperationalError, connection, transaction
from django.db.models import Subquery
from django.utils import timezone

from annotate.models import Comparison, Project, Status, StatusChange
from evaluation.leaderboard.votes import languages, ledger
from evaluation.leaderboard.votes.alike import Alike, Like, alike
from evaluation.leaderboard.votes.ledger import Change, Missing, News
from evaluation.models import VoteCounts, VoteCursor
from evaluation.ratings import LABELS, Tally

log = logging.getLogger(__name__)
_FOLDED = (
    *("model_ids", "cells", "votes", "left_out"),
    *("last_comparison_id", "last_status_change_id", "state", "changed_at"),
)
LOOK_AGAIN = 0.5  # seconds
_looked_at = float("-inf")
_CURSOR = 1  # its primary key: there is one


class CountsDiffer(ArithmeticError):
    """The counts contradict the ledger: more votes were taken back than were given."""


class Key(NamedTuple):
    """Say which votes a row counts: all of a project, or those of a category or language."""

    project: int
    judge: str
    part: str = VoteCounts.Part.ALL
    name: str = ""


class Votes(NamedTuple):
    """Hold votes on models as arrays (n,): `a` and `b` are places in `models`, which are ascending ids, `label` one in
    LABELS. Each counts `times`, which is negative where they are taken back."""

    models: np.ndarray
    a: np.ndarray
    b: np.ndarray
    label: np.ndarray
    times: int = 1


@dataclass
class Sums:
    """Hold what some rows of the ledger add to one row of counts; negative where votes were taken back."""

    votes: list[Votes] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    last_vote: int = 0
    last_change: int = 0

    def cells(self) -> Counter[tuple[int, int, str]]:
        """Return how many votes there are by model A, model B and label."""
        cells: Counter[tuple[int, int, str]] = Counter()
        for models, a, b, label, times in self.votes:
            for cell in zip(models[a].tolist(), models[b].tolist(), label.tolist(), strict=True):
                cells[cell[0], cell[1], LABELS[cell[2]]] += times
        return cells


def catch_up() -> None:
    """Fold the ledger's new rows into the counts. One look-up when there is nothing new.

    When the database is too busy to fold now, the counts stay what they were: a page a moment late, and not an error.
    """
    try:
        while _is_behind() and _fold_some():
            pass
    except OperationalError as error:
        if connection.in_atomic_block or not VoteCursor.objects.exists():  # a broken transaction, or no counts to show
            raise
        log.warning("Votes could not be counted now: %s", error)
    except CountsDiffer as error:
        log.error("%s They are made anew from the ledger.", error)
        rebuild()


def counts_of(project: Project, judge: str, part: str = "", name: str = "") -> VoteCounts | None:
    """Return the counts as the ledger stands now, without their cells; None when no vote was ever given."""
    catch_up()
    rows = VoteCounts.objects.filter(project=project, judge=judge, part=part, name=name)
    return rows.defer("cells").first()


def parts_of(project: Project, judge: str) -> list[VoteCounts]:
    """Return the categories and languages that have counted votes, most votes first, as they were counted last."""
    rows = VoteCounts.objects.filter(project=project, judge=judge, votes__gt=0).exclude(part=VoteCounts.Part.ALL)
    return list(rows.order_by("part", "-votes", "name").defer("cells"))


def tally_of_counts(counts: VoteCounts) -> Tally:
    """Return the counts of the models that were in a battle, ordered by their ids."""
    cells = _decoded(counts)
    indices = np.flatnonzero(cells.sum(axis=(1, 2)) + cells.sum(axis=(0, 2)))
    return Tally(tuple(counts.model_ids[i] for i in indices), cells[np.ix_(indices, indices)].astype(float))


def rebuild() -> None:
    """Forget the counts and fold the whole ledger again."""
    forget()
    while _fold_some():
        pass


@transaction.atomic
def forget() -> None:
    """Forget all counts: whoever looks next folds the whole ledger."""
    VoteCursor.objects.select_for_update().filter(pk=_CURSOR).delete()
    VoteCounts.objects.all().delete()


def _is_behind() -> bool:
    newest = Comparison.objects.order_by("-id").values("id")[:1]
    changed = StatusChange.objects.order_by("-id").values("id")[:1]
    cursors = VoteCursor.objects.filter(pk=_CURSOR).annotate(newest=Subquery(newest), changed=Subquery(changed))
    cursor = cursors.first()
    if cursor is None:
        return Comparison.objects.exists()
    is_new = (cursor.newest or 0) > cursor.last_comparison_id or (cursor.changed or 0) > cursor.last_status_change_id
    return is_new or (any(cursor.late.values()) and _is_time_to_look_again())


def _is_time_to_look_again() -> bool:
    """Return whether to look for late rows: each process looks twice a second, however many pages are open."""
    global _looked_at
    now = time.monotonic()
    if now - _looked_at < LOOK_AGAIN:
        return False
    _looked_at = now
    return True


def _fold_some() -> bool:
    """Fold one block; return whether there is more. It is read and added up first, so that the lock is held briefly."""
    cursor = VoteCursor.objects.filter(pk=_CURSOR).first() or VoteCursor()
    # Changes first: whatever changed is then among the votes that are read after them.
    changes = ledger.new_changes(cursor.last_status_change_id, missing(cursor, "changes"))
    votes = ledger.new_votes(cursor.last_comparison_id, missing(cursor, "votes"))
    sums = summed(votes.rows, [] if votes.is_more else changes.rows)
    with transaction.atomic():
        locked = cursor_locked()
        if _where(locked) != _where(cursor):
            return True  # somebody else has folded this meanwhile: from there on, then
        for key, row_sums in sums.items():
            add(key, row_sums)
        _move(locked, votes, changes)
    return votes.is_more or changes.is_more


def _where(cursor: VoteCursor) -> tuple[int, int, dict, str]:
    return cursor.last_comparison_id, cursor.last_status_change_id, cursor.late, cursor.categories


def cursor_locked() -> VoteCursor:
    """Return the one row of the cursor, which nobody else moves until the transaction ends."""
    return VoteCursor.objects.select_for_update().get_or_create(pk=_CURSOR)[0]


def standing_cursor() -> VoteCursor:
    """Return the cursor as `cursor_locked` does, and write nothing where none stands yet."""
    return VoteCursor.objects.select_for_update().filter(pk=_CURSOR).first() or VoteCursor()


def _move(cursor: VoteCursor, votes: News[Alike], changes: News[Change]) -> None:
    cursor.last_comparison_id, late = votes.last, {"votes": votes.missing, "changes": missing(cursor, "changes")}
    if not votes.is_more:  # else a change could be counted before its vote
        cursor.last_status_change_id, late["changes"] = changes.last, changes.missing
    cursor.late = late
    cursor.save()


def missing(cursor: VoteCursor, table: str) -> list[Missing]:
    return [Missing(*gap) for gap in cursor.late.get(table, [])]


def summed(votes: Iterable[Alike], changes: Iterable[Change] = (), *, is_read_only: bool = False) -> dict[Key, Sums]:
    """Return what votes as they began, and changes of statuses, add to each row of counts. Languages of prompts that
    are found by the way are stored, unless it `is_read_only`."""
    named = partial(_named, is_read_only=is_read_only)
    sums: dict[Key, Sums] = defaultdict(Sums)
    for some in named(list(votes)):
        _count(sums, some.like, some)
    changes = [change for change in changes if change.kind == ledger.COMPARISON]
    voted = ledger.votes_of(sorted({change.vote for change in changes}))
    changed = {vote.last: vote for vote in named([some for vote in voted for some in alike([vote])])}
    for change in changes:
        if change.vote in changed:
            vote = changed[change.vote]
            _count(sums, vote.like._replace(status=change.before), vote, -1, change.id)
            _count(sums, vote.like._replace(status=change.after), vote, 1, change.id)
    return sums


def _named(votes: list[Alike], *, is_read_only: bool) -> list[Alike]:
    """Return the votes by the languages of their prompts."""
    nameless = [some for some in votes if some.like.language is None]
    prompts = [pk for some in nameless for pk in some.prompts.tolist()]
    language_by_prompt = languages.find(prompts, is_read_only=is_read_only)
    named = [some for some in votes if some.like.language is not None]
    for some in nameless:
        by_language: dict[str, list[int]] = defaultdict(list)
        for pk in np.unique(some.prompts).tolist():
            by_language[language_by_prompt[pk]].append(pk)
        named += [some.of_prompts(language, of_one) for language, of_one in by_language.items()]
    return named


def _keys(like: Like) -> list[Key]:
    project, judge = like.project, like.judge
    keys = [Key(project, judge), Key(project, judge, VoteCounts.Part.LANGUAGE, like.language or languages.UNKNOWN)]
    return keys + ([Key(project, judge, VoteCounts.Part.CATEGORY, like.category)] if like.category else [])


def _count(sums: dict[Key, Sums], like: Like, votes: Alike, times: int = 1, change: int = 0) -> None:
    """Add votes that are alike to the rows where they count, or with -1 times take them away."""
    counted = [_on_models(votes, times)] if like.status == Status.COUNTED else []
    for row_sums in (sums[key] for key in _keys(like)):
        if counted:
            row_sums.votes += counted
            row_sums.last_vote = max(row_sums.last_vote, votes.last)
        else:
            row_sums.left_out[like.status] += times * len(votes.a)
        row_sums.last_change = max(row_sums.last_change, change)


def _on_models(votes: Alike, times: int) -> Votes:
    models, places = np.unique(np.concatenate([votes.a, votes.b]), return_inverse=True)
    return Votes(models, places[: len(votes.a)], places[len(votes.a) :], votes.label, times)


def add(key: Key, sums: Sums) -> None:
    """Add the sums to the row of counts of that key, with the cursor's lock held."""
    same = {"project_id": key.project, "judge": key.judge, "part": key.part, "name": key.name}
    counts = VoteCounts.objects.filter(**same).first() or VoteCounts(**same)
    apply(counts, sums)
    counts.save(update_fields=_FOLDED if counts.pk else None)  # `spread` is another process's to write


def apply(counts: VoteCounts, sums: Sums) -> None:
    """Add the sums to the counts. Raises CountsDiffer when fewer than no votes would be left."""
    models = np.unique(np.concatenate([np.array(counts.model_ids, np.int64), *(some.models for some in sums.votes)]))
    cells = np.zeros((len(models), len(models), len(LABELS)), dtype=np.int64)
    if counts.model_ids:
        old = np.searchsorted(models, counts.model_ids)
        cells[np.ix_(old, old)] = _decoded(counts)
    for some in sums.votes:
        place = np.searchsorted(models, some.models)
        at = (place[some.a] * len(models) + place[some.b]) * len(LABELS) + some.label
        np.add.at(cells.reshape(-1), at, some.times)
    if (cells < 0).any():
        raise CountsDiffer(f"Counts of project {counts.project_id} ({counts.judge}) would fall below none.")
    left_out = Counter(counts.left_out)
    left_out.update(sums.left_out)
    counts.model_ids, counts.cells, counts.votes = models.tolist(), _encoded(cells), int(cells.sum())
    counts.left_out = {status: n for status, n in sorted(left_out.items()) if n}
    counts.last_comparison_id = max(counts.last_comparison_id, sums.last_vote)
    counts.last_status_change_id = max(counts.last_status_change_id, sums.last_change)
    counts.state, counts.changed_at = uuid.uuid4().hex, timezone.now()


def _encoded(cells: np.ndarray) -> bytes:
    return zlib.compress(cells.astype("<i8").tobytes(), 1)


def _decoded(counts: VoteCounts) -> np.ndarray:
    size = len(counts.model_ids)
    if not size:
        return np.zeros((0, 0, len(LABELS)), dtype=np.int64)
    return np.frombuffer(zlib.decompress(bytes(counts.cells)), dtype="<i8").reshape(size, size, len(LABELS))
