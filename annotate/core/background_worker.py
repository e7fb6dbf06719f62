"""Goes round the chores: each that is due gets one turn, so that none keeps the others waiting for longer than that.

A chore that fails is tried again after a pause that grows; the others go on. Several clerks may work beside each other:
whatever a chore takes up it claims in the database.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db import InterfaceError, OperationalError, connection, reset_queries

from annotate.core.db.connections import written_by
from annotate.core.periodic_tasks import Chore

SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
_AWAY = (OperationalError, InterfaceError)
log = logging.getLogger("assay.clerk")


@dataclass
class _Turn:
    chore: Chore
    due: float = 0.0
    pause: float = field(default_factory=lambda: SHORTEST_PAUSE)


class Clerk:
    def __init__(self, chores: Sequence[Chore]) -> None:
        self._turns = [_Turn(chore) for chore in chores]
        self._ending = threading.Event()

    def end(self) -> None:
        """Finish the turn under way and give back what is held; from a signal's handler, too."""
        self._ending.set()

    def work(self, *, once: bool = False) -> None:
        """Until `end`, or, `once`, until no chore has more to do at the moment."""
        while not self._ending.is_set():
            is_more = self.round()
            if once and not is_more:
                break
            if not is_more:
                soonest = min((turn.due for turn in self._turns), default=time.monotonic() + LONGEST_PAUSE)
                self._ending.wait(max(0.0, soonest - time.monotonic()))
        for turn in self._turns:
            self._give_back(turn.chore)

    def round(self) -> bool:
        """One turn for each chore that is due; whether any has more to do at once."""
        is_more = False
        for turn in self._turns:
            if self._ending.is_set():
                return False
            if turn.due <= time.monotonic():
                is_more |= self._take(turn)
        return is_more

    def _take(self, turn: _Turn) -> bool:
        reset_queries()
        try:
            with written_by(f"chore {turn.chore.name}"):
                is_more = turn.chore.do()
        except Exception as error:  # the edge: one chore's fault must not stop the others
            _say(turn, error)
            connection.close()  # whatever was wrong with it: the next turn begins with another
            turn.due, turn.pause = time.monotonic() + turn.pause, min(turn.pause * 2, LONGEST_PAUSE)
            return False
        turn.pause = SHORTEST_PAUSE
        turn.due = time.monotonic() + (0.0 if is_more else turn.chore.every)
        return is_more

    def _give_back(self, chore: Chore) -> None:
        try:
            chore.end()
        except Exception as error:  # its lease runs out instead
            log.warning("%s did not give back what it held: %s", chore.name, error)


def _say(turn: _Turn, error: Exception) -> None:
    if isinstance(error, _AWAY):
        log.warning("%s: the database is away (%s); again in %.0f s", turn.chore.name, error, turn.pause)
    else:
        log.exception("%s failed; again in %.0f s", turn.chore.name, turn.pause)
