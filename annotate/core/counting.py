"""How often something was tried within a while: in the database, so that every web process counts the same."""

from __future__ import annotations

import math
from datetime import timedelta

from django.db.models import Case, F, When
from django.utils import timezone

from annotate.models import TryCount


def count(key: str, *, seconds: int) -> int:
    """This time included. The while begins with the first try."""
    now = timezone.now()
    over = now - timedelta(seconds=seconds)
    TryCount.objects.bulk_create([TryCount(key=key, since=now, tries=0)], ignore_conflicts=True)
    fresh = When(since__lte=over, then=1)
    TryCount.objects.filter(key=key).update(
        tries=Case(fresh, default=F("tries") + 1), since=Case(When(since__lte=over, then=now), default=F("since"))
    )
    return TryCount.objects.values_list("tries", flat=True).get(key=key)


def counted(key: str, *, seconds: int) -> int:
    """How often by now, without another try."""
    since = timezone.now() - timedelta(seconds=seconds)
    return TryCount.objects.filter(key=key, since__gt=since).values_list("tries", flat=True).first() or 0


def remaining(key: str, *, seconds: int) -> int:
    """Seconds until the count begins anew."""
    since = TryCount.objects.filter(key=key).values_list("since", flat=True).first()
    if since is None:
        return 0
    return max(math.ceil(seconds - (timezone.now() - since).total_seconds()), 0)


def start_anew(key: str) -> None:
    TryCount.objects.filter(key=key).delete()


def forget(*, before: timedelta = timedelta(days=2)) -> int:
    """Counts of long ago: the longest while that anything here is counted for is a day."""
    return TryCount.objects.filter(since__lt=timezone.now() - before).delete()[0]
