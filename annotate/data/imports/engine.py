"""Carry out imports: claim one, read a portion, write it together with the position reached, and so on to the end.

Rows and place are one transaction, so that a kill at any moment leaves a place from which whoever comes next goes on:
no row twice, none left out. A claim is a lease: who was cut off for too long finds that it has gone, and stops writing.
"""

from __future__ import annotations

import gc
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import groupby

from django.db import DataError, IntegrityError, models, transaction
from django.db.models import Q
from django.utils import timezone

from annotate.core.db.connections import AWAY, database_now
from annotate.core.events import announce
from annotate.core.heap import THRESHOLDS
from annotate.data.imports import bulk_insert as bulk
from annotate.data.imports import kept_files as files
from annotate.data.imports.feedback_rows import Into
from annotate.data.imports.options import how_to_read, is_dry_run, rows_go_into
from annotate.data.imports.reading import Bad, Portion, ReadAhead, portions
from annotate.data.imports.sinks import Database, Nowhere, Sink
from annotate.data.imports.writing import write
from annotate.data.rows.row_source import UnreadableFile, printable
from annotate.models import Import, ImportProblem
from common.artefacts.storage_problems import Unreachable

LEASE = timedelta(seconds=30)
MOST_NAMED = 1_000  # bad lines that are named; the rest are counted
AT_ONCE = 3  # imports that one background worker has in hand: a small one need not wait for a large one
_LONGEST_PROBLEM = 2_000
_WRONG = (DataError, IntegrityError)
log = logging.getLogger("assay.imports")


class Lost(Exception):
    """Raised when somebody else has the import, or it was cancelled."""


class Work:
    """One claimed import under way."""

    def __init__(self, claimed: Import) -> None:
        gc.set_threshold(*THRESHOLDS)  # a background worker has them already, a command that imports has not
        bulk.make_room()
        self.claimed = claimed
        self.is_dry = is_dry_run(claimed)
        self.sink: Sink = Nowhere() if self.is_dry else Database()
        self.into: Into = rows_go_into(claimed)
        self._ahead = ReadAhead(
            portions(
                files.path_of(claimed.file_hash),
                claimed.file_name,
                how_to_read(claimed),
                eval_percent=claimed.project.eval_percent,
                after_line=claimed.lines,
                position=claimed.position,
            )
        )

    def step(self) -> bool:
        """Import one portion; return whether there may be more."""
        began = time.monotonic()
        try:
            portion = self._ahead.take()
        except UnreadableFile as error:
            self._end(Import.State.FAILED, f"{error} The rows before it stay.")
            return False
        if portion is None:
            self._finish()
            return False
        self._write(portion, began)
        return True

    def give_back(self) -> None:
        """Give the import back, so that the next worker goes on at once."""
        self.close()
        _claimed_import(self.claimed).update(claim=None, claimed_until=None)

    def close(self) -> None:
        self._ahead.close()

    def _write(self, portion: Portion, began: float) -> None:
        counts = Counter(self.claimed.counts)
        if self.is_dry:  # nothing is written: nobody need wait
            counts += _each_alone(portion, lambda items: write(items, self.into, self.sink))
            counts["bad"] += len(portion.bad)
        with transaction.atomic():
            self._hold()
            if not self.is_dry:
                self.claimed.project.lock()  # two imports at once would not see what the other adds
                counts += _each_alone(portion, self._write_all)
                counts["bad"] += len(portion.bad)
            self._tell(portion.bad)
            self._note(portion, counts, portion.rows / max(1e-6, time.monotonic() - began))

    def _write_all(self, items: Sequence) -> Counter[str]:
        with transaction.atomic():
            return write(items, self.into, self.sink)

    def _hold(self) -> None:
        """Lock our row, and make sure that it is ours."""
        if not _claimed_import(self.claimed).select_for_update().values_list("pk").first():
            raise Lost

    def _note(self, portion: Portion, counts: Counter[str], rate: float) -> None:
        now = self.claimed
        now.lines, now.position, now.counts = portion.line, portion.position, dict(counts)
        now.counts["rows"] = now.counts.get("rows", 0) + portion.rows
        now.rate = rate if not now.rate else 0.8 * now.rate + 0.2 * rate
        is_held = _claimed_import(now).update(
            lines=now.lines,
            position=now.position,
            counts=now.counts,
            rate=now.rate,
            claimed_until=database_now() + LEASE,
        )
        if not is_held:
            raise Lost

    def _tell(self, bad: Sequence[Bad]) -> None:
        room = MOST_NAMED - self.claimed.problems.count() if bad else 0
        ImportProblem.objects.bulk_create(
            ImportProblem(of=self.claimed, line=problem.line, reason=problem.reason) for problem in bad[: max(0, room)]
        )

    def _finish(self) -> None:
        counts = self.claimed.counts
        if any(counts.get(kind) for kind in _GOOD):
            self._end(Import.State.CHECKED if self.is_dry else Import.State.DONE)
            return
        text = "; ".join(f"line {problem.line} {problem.reason}" for problem in self.claimed.problems.all()[:3])
        nothing = "None of its rows holds anything to add." if counts.get("rows") else "The file has no rows."
        self._end(Import.State.FAILED, f"No line can be used: {text}" if text else nothing)

    def _end(self, state: str, problem: str = "") -> None:
        _end_or_cancel(self.claimed, state, problem)


_GOOD = (
    *("already", "prompts", "completions", "comparisons", "ratings", "rankings", "demonstrations", "spans", "flags"),
    "attacks",
)


class Importer:
    """Do the periodic task: a portion of each import in hand."""

    def __init__(self, only: int | None = None) -> None:
        self._only = only  # a command's own import
        self._works: list[Work] = []
        self._dropped: list[Import] = []

    def do(self) -> bool:
        while self._dropped:  # where the database was away in the midst of a portion
            _claimed_import(self._dropped[-1]).update(claim=None, claimed_until=None)
            self._dropped.pop()
        if len(self._works) < AT_ONCE and (claimed := claim([work.claimed.pk for work in self._works], self._only)):
            self._begin(claimed)
        for work in list(self._works):
            self._step(work)
        return bool(self._works)

    def end(self) -> None:
        for work in self._works:
            work.give_back()
        self._works = []

    def _begin(self, claimed: Import) -> None:
        if claimed.cancel_asked:  # of whoever had it before
            _cancel(claimed)
            return
        try:
            self._works.append(Work(claimed))
        except Unreachable as problem:  # nobody's fault, and it passes: whoever comes after the lease tries again
            log.warning("import %s waits: %s", claimed.pk, problem)
            _claimed_import(claimed).update(claim=None)
        except Exception as error:
            log.exception("import %s could not begin", claimed.pk)
            _end_or_cancel(claimed, Import.State.FAILED, f"The import could not start: {error}")

    def _step(self, work: Work) -> None:
        """Import one portion. After any error it is taken up again from where it stood, unless the error would come
        again."""
        try:
            if work.step():
                return
        except Lost:
            _cancel(work.claimed)
        except AWAY:  # of the database: begin again from what it holds
            self._drop(work)
            self._dropped.append(work.claimed)
            raise
        except Exception as error:  # the edge: it would only come again
            log.exception("import %s failed", work.claimed.pk)
            work._end(
                Import.State.FAILED,
                f"The import stopped after line {work.claimed.lines:,} with an error, {type(error).__name__}: {error}. "
                "The rows before it stay. If you continue, it starts after them.",
            )
        self._drop(work)

    def _drop(self, work: Work) -> None:
        self._works.remove(work)
        work.close()


def claim(excluded: Sequence[int] = (), only: int | None = None) -> Import | None:
    """Return the oldest import that nobody has in hand, claimed for this process."""
    now = database_now()
    free = Q(claimed_until=None) | Q(claimed_until__lt=now)
    waiting = Import.objects.filter(free, state__in=[Import.State.QUEUED, Import.State.RUNNING])
    if only is not None:
        waiting = waiting.filter(pk=only)
    for pk in waiting.exclude(pk__in=excluded).order_by("id").values_list("pk", flat=True)[:10]:
        claim_id = uuid.uuid4()
        if waiting.filter(pk=pk).update(claim=claim_id, claimed_until=now + LEASE, state=Import.State.RUNNING):
            return _prepare_start(Import.objects.select_related("project", "created_by").get(pk=pk, claim=claim_id))
    return None


def _prepare_start(claimed: Import) -> Import:
    if claimed.started_at is None or is_dry_run(claimed):
        # What a dry run remembers of the file is gone with whoever began it: it begins anew.
        claimed.started_at, claimed.lines, claimed.position, claimed.counts = timezone.now(), 0, 0, {}
        claimed.save(update_fields=["started_at", "lines", "position", "counts"])
        claimed.problems.all().delete()
    claimed.rate = 0
    return claimed


def end(import_: Import, queryset: models.QuerySet[Import], state: str, problem: str = "") -> bool:
    """End an import that is in `queryset`, once, and announce it; return whether it was ended here."""
    with transaction.atomic():
        is_changed = queryset.update(
            state=state,
            problem=printable(problem, _LONGEST_PROBLEM),
            finished_at=timezone.now(),
            claim=None,
            claimed_until=None,
            cancel_asked=False,
        )
        if is_changed and not is_dry_run(import_):
            import_.refresh_from_db(fields=["counts"])
            announce(
                project=import_.project,
                event="import.finished",
                data={
                    "import": import_.pk,
                    "state": state,
                    "file": import_.file_name,
                    "counts": import_.counts,
                    "problem": problem,
                },
            )
    return bool(is_changed)


def _end_or_cancel(claimed: Import, state: str, problem: str) -> None:
    """End an import that this process has in hand; as cancelled where somebody has asked for that meanwhile."""
    if not end(claimed, _claimed_import(claimed), state, problem):
        _cancel(claimed)


def _cancel(claimed: Import) -> None:
    """End an import that this process has in hand where somebody asked for that."""
    end(claimed, Import.objects.filter(pk=claimed.pk, claim=claimed.claim, cancel_asked=True), Import.State.CANCELLED)


def _claimed_import(claimed: Import) -> models.QuerySet[Import]:
    return Import.objects.filter(pk=claimed.pk, claim=claimed.claim, state=Import.State.RUNNING, cancel_asked=False)


def _each_alone(portion: Portion, write_all: Callable[[Sequence], Counter[str]]) -> Counter[str]:
    """Write all rows at once; where the database refuses one, row by row, so that only that row is reported."""
    try:
        return write_all(portion.ready)
    except _WRONG:
        counts: Counter[str] = Counter()
        for line, of_row in groupby(portion.ready, key=lambda item: item.line):  # whole or not at all
            try:
                counts += write_all(list(of_row))
            except _WRONG as error:
                portion.bad.append(Bad(line, printable(f"The database cannot store it: {error}")))
        return counts
