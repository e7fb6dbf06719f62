"""Have a place among those that work at once: of all, and for some requests of a few first."""

from __future__ import annotations

import asyncio


class Place:
    """One request's place. Whoever waits for one of the first semaphore keeps none of the later ones meanwhile."""

    def __init__(self, *semaphores: asyncio.Semaphore) -> None:
        self._semaphores = semaphores

    async def acquire(self) -> None:
        had: list[asyncio.Semaphore] = []
        try:
            for semaphore in self._semaphores:
                await semaphore.acquire()
                had.append(semaphore)
        except BaseException:  # who asked has left
            for semaphore in had:
                semaphore.release()
            raise

    def release(self) -> None:
        for semaphore in self._semaphores:
            semaphore.release()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()
