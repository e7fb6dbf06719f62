"""Run one task of an event loop that acts on all of its members at once, from time to time, while there are any."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class LoopRound(Generic[K, V]):
    """Call `act` with the members of an event loop, {member: its state}, after each `pause` in seconds.

    `abandon` is called with each member that is left when the task ends before they leave.
    """

    def __init__(
        self,
        pause: Callable[[], float],
        act: Callable[[dict[K, V]], Awaitable[None]],
        abandon: Callable[[K], object] = lambda member: None,
    ) -> None:
        self._pause, self._act, self._abandon = pause, act, abandon
        self._members: dict[asyncio.AbstractEventLoop, dict[K, V]] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # an event loop itself holds its tasks only weakly

    def __len__(self) -> int:
        """Return how many event loops have members."""
        return len(self._members)

    def join(self, member: K, state: V) -> None:
        """Add a member, until `leave`. Call it within a running event loop."""
        loop = asyncio.get_running_loop()
        is_first = loop not in self._members
        self._members.setdefault(loop, {})[member] = state
        if is_first:
            # A context of its own: the task outlives the request, and with it the request's thread for the database.
            task = loop.create_task(self._go_round(loop), context=contextvars.Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def leave(self, member: K) -> None:
        self._members.get(asyncio.get_running_loop(), {}).pop(member, None)

    async def _go_round(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while self._members[loop]:
                await asyncio.sleep(self._pause())
                await self._act(self._members[loop])
        finally:
            for member in self._members.pop(loop):
                self._abandon(member)
