"""Count how often something was tried within a period: in the database, so that every web process counts the same."""

from __future__ import annotations

import math
from datetime import timedelta

from django.db import connection, transaction
from django.utils import timezone

from annotate.models import TryCount

# One statement, which Django has no words for: a vote counts up to four keys while it has SQLite's write lock.
_COUNT = """
INSERT INTO annotate_trycount (key, since, tries) VALUES (%(key)s, %(now)s, 1)
ON CONFLICT (key) DO UPDATE SET
  tries = CASE WHEN annotate_trycount.since <= %(over)s THEN 1 ELSE annotate_trycount.tries + 1 END,
  since = CASE WHEN annotate_trycount.since <= %(over)s THEN excluded.since ELSE annotate_trycount.since END
RETURNING tries"""


def count(key: str, *, seconds: int) -> int:
    """Count one more try, and return the number of tries. The period begins with the first try."""
    now = timezone.now()
    moments = {"now": now, "over": now - timedelta(seconds=seconds)}
    stored = {name: connection.ops.adapt_datetimefield_value(moment) for name, moment in moments.items()}
    # In a transaction of its own, for SQLite commits a statement when its rows have been read.
    with transaction.atomic(savepoint=False), connection.cursor() as cursor:
        cursor.execute(_COUNT, {"key": key, **stored})
        return cursor.fetchone()[0]


def counted(key: str, *, seconds: int) -> int:
    """Return the number of tries by now, without another try."""
    since = timezone.now() - timedelta(seconds=seconds)
    return TryCount.objects.filter(key=key, since__gt=since).values_list("tries", flat=True).first() or 0


def remaining(key: str, *, seconds: int) -> int:
    """Return the seconds until the count begins anew."""
    since = TryCount.objects.filter(key=key).values_list("since", flat=True).first()
    if since is None:
        return 0
    return max(math.ceil(seconds - (timezone.now() - since).total_seconds()), 0)


def start_anew(key: str) -> None:
    TryCount.objects.filter(key=key).delete()


def forget(*, before: timedelta = timedelta(days=2)) -> int:
    """Delete old counts: the longest period that anything is counted for is a day."""
    return TryCount.objects.filter(since__lt=timezone.now() - before).delete()[0]
