"""How often something was tried within a while: in the database, so that every web process counts the same."""

from __future__ import annotations

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
