"""Follow a run from outside of its worker, until it ends or waits for somebody."""

from __future__ import annotations

import time
from collections.abc import Iterator

from training.models import Run

POLL_SECONDS = 0.25


def under_way(run: Run) -> Iterator[None]:
    """Yield while the run is under way, and read it anew after each time; a paused one waits for somebody."""
    while not run.is_finished and run.state != Run.State.PAUSED:
        yield
        time.sleep(POLL_SECONDS)
        run.refresh_from_db()
