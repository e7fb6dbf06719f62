"""Schedule when an event is sent again, and when an address is given up. Pure: no Django.

The times are those that Standard Webhooks recommends: ten tries within about three days.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta

DELAYS = (5, 5 * 60, 30 * 60, *(hours * 3600 for hours in (2, 5, 10, 14, 20, 24)))  # seconds after each failure
JITTER = 0.1  # so that what failed together does not come back together
LONGEST_ASKED = 24 * 3600
PATIENCE = timedelta(days=5)  # without one success, until an address is switched off
GONE = 410


def next_try(now: datetime, tries: int, retry_after: float | None = None) -> datetime | None:
    """Return the next try after `tries` failures; None when that was the last. Later where the receiver asks for it."""
    if tries > len(DELAYS):
        return None
    delay = DELAYS[tries - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    return now + timedelta(seconds=max(delay, min(retry_after or 0, LONGEST_ASKED)))


def why_off(now: datetime, status: int | None, failing_since: datetime | None) -> str:
    """Return why nothing more is sent to an address after this failure; empty while it is."""
    if status == GONE:
        return "The server answered 410 (gone), so it gets no more events."
    if failing_since is not None and now - failing_since >= PATIENCE:
        return f"All deliveries failed for {PATIENCE.days} days."
    return ""
