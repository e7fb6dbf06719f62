"""Compute when the next request to a server may go out, by its rate-limit headers and its `Retry-After`. Pure.

All threads that ask one server share one Pace. OpenAI, vLLM's gateways and most others send
`x-ratelimit-remaining-requests` and `x-ratelimit-reset-requests` (and the same of tokens); a 429 carries `Retry-After`
in seconds or as a date, or `retry-after-ms`.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

BACKOFF = 0.5  # seconds before the second try; doubled each time
LONGEST_BACKOFF = 60.0
LONGEST_WAIT = 600.0  # as a server may ask for, which then is asked again all the same
_PARTS = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}


class Pace:
    """Hold the time before which nobody asks."""

    def __init__(self) -> None:
        self._lock, self._next = threading.Lock(), 0.0

    def wait(self, stop_event: threading.Event) -> None:
        """Wait until the next request may go out, or until `stop_event` is set."""
        while (left := self._left()) > 0 and not stop_event.is_set():
            stop_event.wait(min(left, 1.0))

    def hear(self, headers: Mapping[str, str], *, is_throttled: bool) -> bool:
        """Take in what a response says of the next one; whether it named a time."""
        seconds = retry_after(headers) if is_throttled else None
        if seconds is None:
            seconds = _until_reset(headers)
        if seconds is not None:
            self.hold(seconds)
        return seconds is not None

    def hold(self, seconds: float) -> None:
        """Let nobody ask for so long; a longer wait that was said before stays."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + min(max(seconds, 0.0), LONGEST_WAIT))

    def _left(self) -> float:
        with self._lock:
            return self._next - time.monotonic()


def backoff(tries: int) -> float:
    """Return how long to wait after so many failed tries: twice as long each time, and never all at the same moment."""
    return float(min(BACKOFF * 2 ** min(tries - 1, 30), LONGEST_BACKOFF) * random.uniform(0.5, 1.0))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds after which a server wants to be asked again; None where it does not say."""
    if (milliseconds := _number(headers.get("retry-after-ms", ""))) is not None:
        return milliseconds / 1000
    value = headers.get("retry-after", "").strip()
    if (seconds := _number(value)) is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()


def _until_reset(headers: Mapping[str, str]) -> float | None:
    """Return the seconds until there is something left of what is used up; None where nothing is."""
    waits = [
        _duration(headers.get(f"x-ratelimit-reset-{unit}", ""))
        for unit in ("requests", "tokens")
        if _number(headers.get(f"x-ratelimit-remaining-{unit}", "")) == 0
    ]
    return max((wait for wait in waits if wait is not None), default=None)


def _number(text: str) -> float | None:
    """Return a number that is none below zero and no infinity; None for anything else."""
    return float(text) if re.fullmatch(r"\d{1,9}(\.\d+)?", text.strip()) else None


def _duration(text: str) -> float | None:
    """Return seconds of `1s`, `6m0s`, `20ms` or `12`."""
    text = text.strip()
    if not text or _PARTS.sub("", text).strip():
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PARTS.findall(text))
