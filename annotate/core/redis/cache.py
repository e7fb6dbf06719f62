"""Cache in Redis, which may be gone: what is kept there saves work, and nothing depends on it.

While Redis does not answer, each look finds nothing and each word is lost; a caller then computes what it would have
found. Django's own backend raises, and a battle would not start for want of a figure that is computed in a moment.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from django.utils.functional import cached_property
from redis.exceptions import RedisError

log = logging.getLogger("assay.cache")
REST_SECONDS = 5.0  # after a failure, in which Redis is not asked again: else everybody waits for its time-out


class Cache(RedisCache):
    _rests_until = 0.0  # of this process

    @cached_property
    def _cache(self) -> RedisCacheClient:
        """Return the client of this process with its pool of connections.

        Django makes a cache for each request that looks into it. Each would make a pool of its own, whose connection
        and memory stay until the garbage collector comes by, which is rare (annotate/core/heap.py).
        """
        own: Any = self
        return _client(own._class, tuple(own._servers), tuple(own._options.items()))

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """Return what is kept, else `default`, also where another version kept it: its classes may have moved."""
        try:
            return self._ask_unless_resting(lambda: super(Cache, self).get(key, default, version), default)
        except (ImportError, AttributeError, UnpicklingError) as error:
            log.warning("%s was kept by another version and is computed again: %s", key, error)
            return default

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        self._ask_unless_resting(lambda: super(Cache, self).set(key, value, timeout, version), None)

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Add a value and return whether it was first; True when Redis is gone, so that whoever asks goes on."""
        return self._ask_unless_resting(lambda: super(Cache, self).add(key, value, timeout, version), True)

    def delete(self, key: Any, version: int | None = None) -> bool:
        return self._ask_unless_resting(lambda: super(Cache, self).delete(key, version), False)

    def _ask_unless_resting(self, ask: Callable[[], Any], otherwise: Any) -> Any:
        if time.monotonic() < Cache._rests_until:
            return otherwise
        try:
            return ask()
        except (RedisError, OSError) as error:
            Cache._rests_until = time.monotonic() + REST_SECONDS
            log.warning("Redis does not answer, and is not asked for %.0f s: %s", REST_SECONDS, error)
            return otherwise


@functools.cache
def _client(kind: type[RedisCacheClient], servers: tuple[str, ...], options: tuple[tuple[str, Any], ...]) -> Any:
    return kind(list(servers), **dict(options))
