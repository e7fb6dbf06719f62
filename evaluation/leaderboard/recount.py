"""Do the counts say what the ledger says? Everything is counted anew, without a lock, and set beside them."""

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
from evaluation.leaderboard.votes.counts import Key, Sums, catch_up, cursor_locked, missing, summed, tally_of_counts
from evaluation.models import VoteCounts

Row = TypeVar("Row")


@dataclass(frozen=True)
class Difference:
    """Where counts and ledger disagree: the votes of each by what was said, those alone that differ."""

    key: Key
    counts: dict[str, int]
    ledger: dict[str, int]

    def __str__(self) -> str:
        project = Project.objects.filter(pk=self.key.project).values_list("slug", flat=True).first()
        where = f"{project}, {self.key.judge}" + (f", {self.key.part} {self.key.name}" if self.key.part else "")
        named = sorted(self.counts.keys() | self.ledger.keys())
        parts = [f"{what}: {self.counts.get(what, 0)}, the ledger says {self.ledger.get(what, 0)}" for what in named]
        return f"{where}: " + "; ".join(parts[:10]) + (f"; and {len(parts) - 10} more" if len(parts) > 10 else "")


def differences() -> list[Difference]:
    """Rows of counts that are not what the ledger gives up to the cursor they were folded to."""
    catch_up()
    with transaction.atomic():  # for an instant: after that, no row of the ledger up to the cursor changes any more
        cursor = cursor_locked()
        kept = {_key(row): _said(row) for row in VoteCounts.objects.all()}
    true: dict[Key, Counter[str]] = {}
    for votes in _blocks(ledger.everything(cursor.last_comparison_id, missing(cursor, "votes"))):
        _take_in(true, summed(votes))
    for changes in _blocks(ledger.all_changes(cursor.last_status_change_id, missing(cursor, "changes"))):
        _take_in(true, summed([], changes))
    return [
        Difference(key, dict(only), dict(other))
        for key in sorted(kept.keys() | true.keys())
        for only, other in [_apart(kept.get(key, Counter()), true.get(key, Counter()))]
        if only or other
    ]


def _key(row: VoteCounts) -> Key:
    return Key(row.project_id, row.judge, row.part, row.name)


def _said(row: VoteCounts) -> Counter[str]:
    found = Counter({f"{a} against {b} {winner}": n for a, b, winner, n in listed(tally_of_counts(row))})
    found.update({f"status {status}": n for status, n in row.left_out.items()})
    return found


def _take_in(true: dict[Key, Counter[str]], found: dict[Key, Sums]) -> None:
    for key, sums in found.items():
        into = true.setdefault(key, Counter())
        into.update({f"{a} against {b} {winner}": n for (a, b, winner), n in sums.cells.items()})
        into.update({f"status {status}": n for status, n in sums.left_out.items()})


def _apart(kept: Counter[str], true: Counter[str]) -> tuple[Counter[str], Counter[str]]:
    differing = [what for what in kept.keys() | true.keys() if kept[what] != true[what]]
    return Counter({what: kept[what] for what in differing}), Counter({what: true[what] for what in differing})


def _blocks(rows: Iterator[Row]) -> Iterable[list[Row]]:
    while some := list(islice(rows, ledger.BLOCK)):
        yield some
