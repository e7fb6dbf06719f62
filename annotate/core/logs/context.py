"""Keep what the work under way is about, for each line that it logs. Pure.

Ids alone: names and texts stand in no field.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Field = str | int | Callable[[], int | None]
_fields: ContextVar[dict[str, Field] | None] = ContextVar("log fields", default=None)


@contextmanager
def bound(**fields: Field) -> Iterator[None]:
    """Add these fields to what is logged within it; a function is asked whenever a line is written."""
    token = _fields.set({**(_fields.get() or {}), **fields})
    try:
        yield
    finally:
        _fields.reset(token)


def add(**fields: Field) -> None:
    """Add fields that became known to the innermost `bound`, for all its threads; the first one of a name stays."""
    known = _fields.get()
    if known is not None:
        for name, value in fields.items():
            known.setdefault(name, value)


def current() -> dict[str, str | int]:
    """Return the fields that have a value now."""
    values = {name: value() if callable(value) else value for name, value in (_fields.get() or {}).items()}
    return {name: value for name, value in values.items() if value is not None}


class WithoutAddress(logging.Filter):
    """A filter for Django's own lines on requests: the address in them may hold names and keys, and `view` says it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith("django.") and record.__dict__.pop("request", None) is not None:
            arguments = record.args if isinstance(record.args, tuple) else ()
            record.msg, record.args = record.msg.partition(":")[0], arguments[:1]
        return True


class AddContext(logging.Filter):
    """A filter that lets every line through, with the fields of its work; what the line itself says stays."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in current().items():
            record.__dict__.setdefault(name, value)
        return True
