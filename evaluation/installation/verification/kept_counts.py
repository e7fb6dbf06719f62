"""Verify what is counted of rows: votes of leaderboards, queues of projects, and statuses of annotations."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Exists, F, OuterRef, Q, Subquery

from annotate.data.feedback_lineage import KINDS
from annotate.labelling.queue import entry_check
from annotate.labelling.queue.urgent_items import reserved_in, urgent_pairs
from annotate.models import Project, StatusChange
from evaluation.installation.verification.faults import Fault, Look
from evaluation.leaderboard import recount

_MOST_OF_A_PROJECT = 20  # lines about one queue: its remedy mends them all
_BY_HAND = "Set the status again in the page of that annotation; the ledger is append-only."


def check_votes(look: Look) -> Iterator[Fault]:
    look.say("the ledger of comparisons")
    for difference in recount.differences(is_read_only=True):
        yield Fault(
            "counts of votes",
            "evaluation_votecounts",
            f"differ, {difference}.",
            "Count them again: manage.py recount_votes.",
        )


def check_queues(look: Look) -> Iterator[Fault]:
    for project in Project.objects.order_by("pk"):
        look.say(f"the queue of {project.slug}")
        count = 0
        for difference in entry_check.differences(project, reserved_in(urgent_pairs(project))):
            count += 1
            if count <= _MOST_OF_A_PROJECT:
                row = f"queue of {project.slug}, prompt {difference.prompt}, {difference.kind}"
                yield Fault(row, "annotate_queueentry", f"differs: {difference}.", _recount(project))
        if count > _MOST_OF_A_PROJECT:
            more = f"differs in {count - _MOST_OF_A_PROJECT:,} more entries."
            yield Fault(f"queue of {project.slug}", "annotate_queueentry", more, _recount(project))


def check_statuses(look: Look) -> Iterator[Fault]:
    """Compare each annotation's status with the last line of the ledger about it."""
    for kind, table in KINDS.items():
        look.say(f"statuses of {table._meta.verbose_name_plural}")
        later = StatusChange.objects.filter(kind=kind, feedback_id=OuterRef("feedback_id"), pk__gt=OuterRef("pk"))
        current = Subquery(table._base_manager.filter(pk=OuterRef("feedback_id")).values("status")[:1])
        last = StatusChange.objects.filter(~Exists(later), kind=kind).annotate(current=current)
        rows = last.filter(Q(current=None) | ~Q(after=F("current"))).order_by("feedback_id")
        for pk, after, status in rows.values_list("feedback_id", "after", "current").iterator():
            row, table_name = f"{kind} {pk}", table._meta.db_table
            if status is None:
                yield Fault(row, table_name, "is not there, and the ledger of statuses names it.", "Restore a backup.")
            else:
                yield Fault(row, table_name, f"is {status}, and the ledger of statuses says {after}.", _BY_HAND)


def _recount(project: Project) -> str:
    return f"Compute it again: manage.py recount_queue {project.slug}."
