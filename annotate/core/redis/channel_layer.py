"""Use Redis as channel layer, which may be gone: pages then look at the database by their own timer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

from channels_redis.core import RedisChannelLayer
from redis.exceptions import RedisError

log = logging.getLogger("assay.layer")
REST_SECONDS = 5.0  # until Redis is asked again for what it has for a socket
ANSWER_SECONDS = 2.0  # of everything but waiting for a message; a Redis that hangs must not hold a page


class Layer(RedisChannelLayer):
    async def receive(self, channel: str) -> dict[str, Any]:
        """Wait for a message; a socket must not end because Redis did."""
        while True:
            try:
                return await super().receive(channel)
            except asyncio.CancelledError:
                self.receive_buffer.pop(channel, None)  # else of each socket that ever was a queue would stay here
                raise
            except (RedisError, OSError) as error:
                log.warning("Redis does not answer; again in %.0f s: %s", REST_SECONDS, error)
                await asyncio.sleep(REST_SECONDS)

    async def group_add(self, group: str, channel: str) -> None:
        await _tried(super().group_add(group, channel))

    async def group_discard(self, group: str, channel: str) -> None:
        await _tried(super().group_discard(group, channel))

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send to all of a group. Raises TimeoutError or a RedisError where Redis does not take it."""
        async with asyncio.timeout(ANSWER_SECONDS):
            await super().group_send(group, message)


async def _tried(work: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await work
    except (RedisError, OSError) as error:
        log.warning("Redis does not answer: %s", error or type(error).__name__)
