"""Say what share of the newest votes in battles is held for review."""

from __future__ import annotations

from collections.abc import Iterator

from annotate.core.metrics.readings import Reading
from annotate.models import Status, VoteTrace

NEWEST = 1000


def held_readings() -> Iterator[Reading]:
    """Yield the share of the newest votes that are held; none where nobody has voted."""
    newest = VoteTrace.objects.order_by("-id").values_list("battle__comparison__status", flat=True)[:NEWEST]
    statuses = list(newest)
    shares = {(): sum(status == Status.HELD for status in statuses) / len(statuses)} if statuses else {}
    yield Reading(
        "assay_votes_held_share", f"Share of the newest {NEWEST:,} votes in battles that is held.", (), shares
    )
