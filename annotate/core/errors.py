"""Refuse an action in one way: which field, what is wrong with it, what would be right."""

from __future__ import annotations


class Refused(Exception):
    """Raised before anything is written. Pages show it beside the field; the API answers `status` with `errors`.

    `status` is the HTTP status that fits: 400 wrong input, 403 not allowed, 404 not there, 409 it has changed
    meanwhile, 410 expired, 413 too large.
    """

    retry_after: int | None = None  # seconds

    def __init__(self, status: int = 400, /, **errors: str) -> None:
        super().__init__("; ".join(f"{field}: {text}" for field, text in errors.items()))
        self.status, self.errors = status, errors


class SecondFactorMissing(Refused):
    """Raised as a 403 where a project wants a second factor of a member who has none."""


class TooMany(Refused):
    """Raised as a 429, with the seconds after which it is worth trying again."""

    def __init__(self, retry_after: int, /, **errors: str) -> None:
        super().__init__(429, **errors)
        self.retry_after = max(retry_after, 1)
