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


class Layer(RedisChannelLayer):
    async def receive(self, channel: str) -> dict[str, Any]:
        """Wait for a message; a socket must not end because Redis did."""
        while True:
            try:
                return await super().receive(channel)
            except (RedisError, OSError) as error:
                log.warning("Redis does not answer; again in %.0f s: %s", REST_SECONDS, error)
                await asyncio.sleep(REST_SECONDS)

    async def group_add(self, group: str, channel: str) -> None:
        await _tried(super().group_add(group, channel))

    async def group_discard(self, group: str, channel: str) -> None:
        await _tried(super().group_discard(group, channel))


async def _tried(work: Awaitable[None]) -> None:
    try:
        await work
    except (RedisError, OSError) as error:
        log.warning("Redis does not answer: %s", error)
