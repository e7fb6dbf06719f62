"""Warn managers when unusually many votes are held, or when the puzzle cannot be given."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from annotate.arena.vote_guard.actions import OUTAGE_SECONDS, outage_key
from annotate.core.counting import counted
from annotate.core.events import announce
from annotate.models import HeldWatch, Hold, Project, Role, VoteTrace
from evaluation.core import notices
from evaluation.vote_integrity.rate_change import usual_share, watch

BASELINE, RECENT = timedelta(days=15), timedelta(days=1)
AGAIN = timedelta(days=1)  # between two warnings of one kind
AT_ONCE = 20  # votes held by one look that are worth a word
_BLOCK = 20_000


def look(project: Project) -> bool:
    """Follow the votes since the last look; return True when managers were warned."""
    now = timezone.now()
    usual = usual_now(project)
    with transaction.atomic():
        HeldWatch.objects.get_or_create(project=project)
        row = HeldWatch.objects.select_for_update().get(project=project)
        traces = VoteTrace.objects.of_people().filter(project=project, pk__gt=row.last_trace_id).order_by("pk")
        new = list(traces.values_list("pk", "held_for", "cast_at")[:_BLOCK])
        evidence, alarm = watch((bool(held) for _, held, _ in new), usual, row.evidence)
        row.evidence, row.usual = evidence, usual
        row.last_trace_id = new[-1][0] if new else row.last_trace_id
        is_jump = alarm is not None and _is_due(row.told_at)
        if is_jump:
            row.told_at = now
            _warn_of_jump(project, usual, row.last_trace_id)
        is_broken = counted(outage_key(project), seconds=OUTAGE_SECONDS) > 0 and _is_due(row.broken_told_at)
        if is_broken:
            row.broken_told_at = now
            _warn(project, "The arena's puzzle does not work: votes without it are held, and none is lost.")
        row.save()
    return is_jump or is_broken


def usual_now(project: Project) -> float:
    """Return the share that the fortnight before yesterday allows."""
    now = timezone.now()
    past = VoteTrace.objects.of_people().filter(project=project, cast_at__gt=now - BASELINE, cast_at__lte=now - RECENT)
    return usual_share(past.exclude(held_for="").count(), past.count())


def warn_of_holds(project: Project, held: dict[str, list[int]]) -> None:
    """Warn managers when many votes that counted have been held afterwards."""
    total = sum(map(len, held.values()))
    if total < AT_ONCE:
        return
    reasons = ", ".join(f"{Hold(kind).label} ({len(ids)})" for kind, ids in held.items())
    _warn(project, f"{total} votes that counted before are held now: {reasons}. Release or exclude them.")


def _warn_of_jump(project: Project, usual: float, last: int) -> None:
    recent = VoteTrace.objects.of_people().filter(project=project, cast_at__gt=timezone.now() - RECENT)
    votes, held = recent.count(), recent.exclude(held_for="").count()
    share = 100 * held / max(votes, 1)
    _warn(
        project,
        f"More arena votes are held than usual: {held} of {votes} in the last day ({share:.0f} %), "
        f"up to {100 * usual:.0f} % is usual.",
    )
    announce(
        project=project,
        event="arena.held_rate",
        data={"held": held, "votes": votes, "usual": round(usual, 4), "last_trace": last},
    )


def _warn(project: Project, text: str) -> None:
    notices.tell(project=project, text=text, url=reverse("held-votes", args=[project.slug]), roles=[Role.MANAGER])


def _is_due(warned_at: datetime | None) -> bool:
    return warned_at is None or warned_at < timezone.now() - AGAIN
