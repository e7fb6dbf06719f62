"""How often something was tried within a while, by the cache (shared by all web processes where there is Redis)."""

from __future__ import annotations

from django.core.cache import cache


def count(key: str, *, seconds: int) -> int:
    """This time included. The while begins with the first try."""
    cache.add(key, 0, seconds)
    try:
        return cache.incr(key)
    except ValueError:  # it ran out between the two lines
        cache.set(key, 1, seconds)
        return 1
