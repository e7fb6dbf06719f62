"""Check the counts against the ledger: count everything again, without a lock, and compare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from django.db import transaction

from annotate.models import Project
from evaluation.leaderboard.published import listed
from evaluation.leaderboard.votes import ledger
from evaluation.leaderboard.votes.alike import alike
from evaluation.leaderboard.votes.counts import (
    Key,
    Sums,
    catch_up,
    cursor_locked,
    missing,
    standing_cursor,
    summed,
    tally_of_counts,
)
from evaluation.models import VoteCounts, VoteCursor

Row = TypeVar("Row")


@dataclass(frozen=True)
class Difference:
    """A row of counts that differs from the ledger: votes by label, only those that differ."""

    key: Key
    counts: dict[str, int]
    ledger: dict[str, int]

    def __str__(self) -> str:
        project = Project.objects.filter(pk=self.key.project).values_list("slug", flat=True).first()
        name = f"{project}, {self.key.judge}" + (f", {self.key.part} {self.key.name}" if self.key.part else "")
        named = sorted(self.counts.keys() | self.ledger.keys())
        parts = [
            f"{label}: {self.counts.get(label, 0)}, the ledger says {self.ledger.get(label, 0)}" for label in named
        ]
        return f"{name}: " + "; ".join(parts[:10]) + (f"; and {len(parts) - 10} more" if len(parts) > 10 else "")


def differences(*, is_read_only: bool = False) -> list[Difference]:
    """Return the rows of counts that differ from the ledger up to the cursor they were folded to.

    New votes are folded in before, unless it `is_read_only`: then nothing is written, languages neither. A prompt that
    gets another category meanwhile takes its votes along: then all is counted again."""
    while True:
        found, categories = _compared(is_read_only=is_read_only)
        if not found or categories == (VoteCursor.objects.values_list("categories", flat=True).first() or ""):
            return found


def _compared(*, is_read_only: bool) -> tuple[list[Difference], str]:
    """Return what differs, and by which state of the categories the counts were read."""
    if not is_read_only:
        catch_up()
    with transaction.atomic():  # for an instant: after that, no row of the ledger up to the cursor changes any more
        cursor = standing_cursor() if is_read_only else cursor_locked()
        counts_by_key = {_key(row): _by_label(row) for row in VoteCounts.objects.all()}
    ledger_by_key: dict[Key, Counter[str]] = {}
    for votes in _blocks(ledger.everything(cursor.last_comparison_id, missing(cursor, "votes"))):
        _add_sums(ledger_by_key, summed(alike(votes), is_read_only=is_read_only))
    for changes in _blocks(ledger.all_changes(cursor.last_status_change_id, missing(cursor, "changes"))):
        _add_sums(ledger_by_key, summed([], changes, is_read_only=is_read_only))
    found = [
        Difference(key, dict(in_counts), dict(in_ledger))
        for key in sorted(counts_by_key.keys() | ledger_by_key.keys())
        for in_counts, in_ledger in [_differing(counts_by_key.get(key, Counter()), ledger_by_key.get(key, Counter()))]
        if in_counts or in_ledger
    ]
    return found, cursor.categories


def _key(row: VoteCounts) -> Key:
    return Key(row.project_id, row.judge, row.part, row.name)


def _by_label(row: VoteCounts) -> Counter[str]:
    votes_by_label = Counter({f"{a} against {b} {winner}": n for a, b, winner, n in listed(tally_of_counts(row))})
    votes_by_label.update({f"status {status}": n for status, n in row.left_out.items()})
    return votes_by_label


def _add_sums(totals: dict[Key, Counter[str]], sums_by_key: dict[Key, Sums]) -> None:
    for key, sums in sums_by_key.items():
        into = totals.setdefault(key, Counter())
        into.update({f"{a} against {b} {winner}": n for (a, b, winner), n in sums.cells().items()})
        into.update({f"status {status}": n for status, n in sums.left_out.items()})


def _differing(counts: Counter[str], ledger_counts: Counter[str]) -> tuple[Counter[str], Counter[str]]:
    labels = [label for label in counts.keys() | ledger_counts.keys() if counts[label] != ledger_counts[label]]
    return Counter({label: counts[label] for label in labels}), Counter(
        {label: ledger_counts[label] for label in labels}
    )


def _blocks(rows: Iterator[Row]) -> Iterable[list[Row]]:
    while block := list(islice(rows, ledger.ROWS)):
        yield block
