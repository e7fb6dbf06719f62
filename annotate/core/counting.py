"""Count how often something was tried within a period: in the database, so that every web process counts the same."""

from __future__ import annotations

import math
from datetime import timedelta

from django.db import connection, transaction
from django.utils import timezone

from annotate.models import TryCount

FIRST_WAIT_SECONDS = 60
FORGOTTEN_SECONDS = 24 * 3600  # after the last try, the growing wait begins from nothing

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


def growing_wait(tries: int, *, free: int, longest: int) -> int:
    """Return the seconds to wait after so many tries: none below `free`, then a minute, doubled with each one more."""
    if tries < free:
        return 0
    return min(FIRST_WAIT_SECONDS << min(tries - free, 20), longest)


def count_or_wait(key: str, *, free: int, longest: int) -> int:
    """Count a try and return 0; or return the seconds left of the growing wait since the last one, and count nothing.

    A day without a try ends the wait. Processes that ask at once get one try between them when a wait is over.
    """
    with transaction.atomic():
        start = {"since": timezone.now(), "tries": 0}
        row, _ = TryCount.objects.select_for_update().get_or_create(key=key, defaults=start)
        now = timezone.now()
        passed = (now - row.since).total_seconds()
        tries = row.tries if passed < FORGOTTEN_SECONDS else 0
        left = growing_wait(tries, free=free, longest=longest) - passed
        if left > 0:
            return math.ceil(left)
        TryCount.objects.filter(pk=row.pk).update(since=now, tries=tries + 1)
        return 0


def start_anew(key: str) -> None:
    TryCount.objects.filter(key=key).delete()


def forget(*, before: timedelta = timedelta(days=2)) -> int:
    """Delete old counts: the longest period that anything is counted for is a day."""
    return TryCount.objects.filter(since__lt=timezone.now() - before).delete()[0]
