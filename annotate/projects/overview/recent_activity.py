"""Show what happened last in a project: changes by people, and how much was annotated on each of the last days."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

from django.db.models import Count
from django.db.models.functions import TruncDate
from django.utils import timezone

from annotate.core.audit import entries_of
from annotate.core.db.kept_totals import CountedRows
from annotate.models import AnnotatorKind, Project
from annotate.models.feedback import Feedback
from annotate.projects.overview.overview_parts import Event

MOST_EVENTS, DAYS = 8, 14
WORDS = {
    "alert.dismissed": "dismissed an alert",
    "arena.entered": "entered a model into the arena",
    "arena.left": "took a model out of the arena",
    "checkpoints.pruned": "deleted checkpoints",
    "corpus.uploaded": "uploaded a corpus",
    "dataset.frozen": "froze a dataset",
    "dataset.uploaded": "uploaded a dataset",
    "gold.made": "added a gold item",
    "import.started": "started an import",
    "invitation.made": "invited somebody",
    "invitations.made": "invited people",
    "item.adjudicated": "decided a disagreement",
    "member.languages": "changed the languages of a member",
    "member.role": "changed a role",
    "model.registered": "added a model",
    "project.guidelines": "published guidelines",
    "project.made": "created the project",
    "project.settings": "changed the settings",
    "promotion.rule": "changed the promotion rule",
    "scale.added": "added a scale",
    "webhook.added": "added a webhook",
    "work.given": "assigned work",
}


@dataclass(frozen=True)
class Day:
    """Hold how much people annotated on a day; `share` is of the busiest day, in percent."""

    day: date
    count: int
    share: int


def changes(project: Project) -> Iterator[Event]:
    """Yield the last changes that people made, from the audit trail; what has no words is left to its page."""
    for entry in entries_of(project).filter(action__in=WORDS)[:MOST_EVENTS]:
        who = entry.actor.username if entry.actor else "The software"
        yield Event(entry.created_at, f"{who} {WORDS[entry.action]}: {entry.about}")


def annotations_by_day(tables: Sequence[CountedRows[Feedback]]) -> list[Day]:
    """Return the last two weeks, oldest first; nothing where nobody annotated in them."""
    today = timezone.now().date()
    first = today - timedelta(days=DAYS - 1)
    counts: Counter[date] = Counter()
    for table in tables:
        recent = table.rows.filter(judge=AnnotatorKind.PERSON, created_at__date__gte=first)
        by_day = recent.annotate(day=TruncDate("created_at")).values_list("day").annotate(n=Count("id")).order_by()
        counts.update(dict(table.totals("by day", partial(list, by_day))))
    most = max(counts.values(), default=0)
    days = [first + timedelta(days=n) for n in range(DAYS)]
    return [Day(day, counts[day], round(100 * counts[day] / most)) for day in days] if most else []
