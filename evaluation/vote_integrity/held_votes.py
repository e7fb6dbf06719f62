"""Count the held votes by time and reason, and list them for managers to release or to exclude."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import Count, QuerySet
from django.db.models.functions import TruncDay, TruncHour
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.labelling.actions import set_status
from annotate.models import Comparison, Hold, Project, Status, User, VoteTrace
from common.charts.rating_charts import Series, day_ticks, line_chart
from common.charts.scene import Scene
from common.intervals import wilson

PERIODS = {"hour": (TruncHour, timedelta(days=2)), "day": (TruncDay, timedelta(days=30))}
MOST_AT_ONCE = 2_000  # votes of one decision
_BATCH = 200
BY_HAND = "by_hand"
REASONS = {**{hold.value: hold.label for hold in Hold}, BY_HAND: "a person’s decision, or an older reason"}
DECISIONS = {Status.COUNTED: "released", Status.EXCLUDED: "excluded"}


@dataclass(frozen=True)
class Period:
    """Votes cast within an hour or a day, how many of them were ever held by the software, and how many wait still."""

    start: datetime
    votes: int
    held: int
    waiting: int
    reasons: dict[str, int]  # by Hold, of those ever held

    @property
    def share(self) -> float:
        return self.held / self.votes

    @property
    def percent(self) -> str:
        return f"{100 * self.share:.1f}"

    @property
    def in_words(self) -> list[tuple[str, int]]:
        return [(REASONS[reason], count) for reason, count in self.reasons.items()]

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.held, self.votes)


def held_rate(project: Project, by: str) -> list[Period]:
    """Return the latest first; periods without a vote are left out. Raises ValueError on a period that there is not."""
    if by not in PERIODS:
        raise ValueError(f"{by!r} is not a period; use one of {', '.join(PERIODS)}.")
    cut, back = PERIODS[by]
    traces = VoteTrace.objects.of_people().filter(project=project, cast_at__gt=timezone.now() - back).order_by()
    rows = traces.annotate(start=cut("cast_at")).values_list("start", "held_for", "battle__comparison__status")
    votes, reasons, waiting = Counter[datetime](), defaultdict[datetime, Counter[str]](Counter), Counter[datetime]()
    for start, reason, status, count in rows.annotate(count=Count("pk")):
        votes[start] += count
        waiting[start] += count if status == Status.HELD else 0
        if reason:
            reasons[start][reason] += count
    return [
        Period(start, votes[start], reasons[start].total(), waiting[start], dict(reasons[start].most_common()))
        for start in sorted(votes, reverse=True)
    ]


def chart(periods: Sequence[Period], by: str) -> Scene:
    """Return the share held, with its 95 % interval."""
    ordered = list(reversed(periods))
    points = [(p.start.timestamp(), 100 * p.share, 100 * p.interval[0], 100 * p.interval[1]) for p in ordered]
    title = f"Share of arena votes that were held, by {by}, with 95 % intervals"
    form = "%H:%M" if by == "hour" else "%-d %b"
    labels = [(at, f"{datetime.fromtimestamp(at, UTC):{form}}") for at, _ in day_ticks([p.start for p in ordered])]
    return line_chart([Series("held", points)] if points else [], title, "%", labels)


def held_votes(project: Project, reason: str = "") -> QuerySet[Comparison]:
    """Return arena votes that wait for a look, the latest first; for one of REASONS if asked."""
    rows = Comparison.objects.filter(project=project, battle__isnull=False, status=Status.HELD)
    if reason == BY_HAND:
        rows = rows.exclude(battle__trace__held_for__in=Hold.values)
    elif reason:
        rows = rows.filter(battle__trace__held_for=reason)
    related = ("prompt", "author", "battle__trace", "completion_a__model", "completion_b__model")
    return rows.select_related("project", *related).order_by("-id")


def waiting(project: Project) -> list[tuple[str, str, int]]:
    """Return (reason, its description, how many votes wait for it), the most frequent first."""
    rows = held_votes(project).order_by().values_list("battle__trace__held_for").annotate(count=Count("pk"))
    votes_by_reason = Counter[str]()
    for reason, count in rows:
        votes_by_reason[reason or BY_HAND] += count
    return [(reason, REASONS[reason], count) for reason, count in votes_by_reason.most_common()]


def decide(*, project: Project, rows: QuerySet[Comparison], status: str, reason: str, by: User) -> int:
    """Release or exclude held votes as a manager, all of them or none; return how many changed.

    From then on the software leaves these votes alone.
    """
    require(by, "manage", project)
    if status not in DECISIONS:
        raise Refused(400, status=f"{status!r} is not one of {', '.join(DECISIONS)}: release or exclude a held vote.")
    if not reason.strip():
        raise Refused(400, reason="Enter a reason; the voters see it, and the ledger records it.")
    with transaction.atomic():
        project.lock()  # before any vote: see `project_locks`
        # Locked, so that two managers at once do not overrule each other unseen.
        votes = list(rows.order_by("pk").select_for_update(of=("self",))[: MOST_AT_ONCE + 1])
        if not votes:
            raise Refused(409, votes="Choose held votes; somebody may have decided about these already.")
        if len(votes) > MOST_AT_ONCE:
            raise Refused(413, votes=f"At most {MOST_AT_ONCE:,} votes at once; choose one reason or one page.")
        return sum(
            set_status(rows=votes[first : first + _BATCH], status=status, reason=reason, by=by)
            for first in range(0, len(votes), _BATCH)
        )
