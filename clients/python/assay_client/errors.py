"""What may go wrong, as exceptions: each names the field and the remedy that the server has named."""

from __future__ import annotations

from collections.abc import Mapping


class AssayError(Exception):
    """Any failure that this package reports."""


class Unreachable(AssayError):
    """No answer came, after all tries. What was sent with an Idempotency-Key may be sent again with the same key."""


class UnexpectedAnswer(AssayError):
    """The answer does not have the shape that this client was made for: the server is of another version."""


class Refused(AssayError):
    """The server refuses the request.

    `errors` says for each wrong field what is wrong and how to correct it; `field` and `remedy` are the first of them.
    """

    def __init__(self, status: int, errors: Mapping[str, str], request: str, retry_after: float | None = None) -> None:
        self.status, self.errors, self.request = status, dict(errors), request
        self.retry_after = retry_after  # seconds, where the server has named them
        lines = [f"{field}: {text}" for field, text in self.errors.items()]
        super().__init__("\n  ".join([f"{request} was answered with {status}", *lines]))

    @property
    def field(self) -> str:
        return next(iter(self.errors), "")

    @property
    def remedy(self) -> str:
        return next(iter(self.errors.values()), "")


class NotSignedIn(Refused):
    """401: the token is missing, wrong or out of date."""


class NotAllowed(Refused):
    """403: the account or the token's scope does not reach this far."""


class NotFound(Refused):
    """404 and 410: it does not exist, has gone, or may not be seen."""


class Conflict(Refused):
    """409: it has changed meanwhile, or something else prevents this."""


class TooManyRequests(Refused):
    """429: too many requests, after all tries; `retry_after` says when to come back."""


class ServerFailed(Refused):
    """5xx: the server failed or is busy, after all tries."""


class WorkFailed(AssayError):
    """Work that was followed has failed or was cancelled; `work` is the run, import, … as it ended."""

    def __init__(self, work: object, state: str, reason: str, remedy: str = "") -> None:
        self.work, self.state, self.reason, self.remedy = work, state, reason, remedy
        super().__init__(" ".join(part for part in (f"{type(work).__name__} {state}.", reason, remedy) if part))


_BY_STATUS: dict[int, type[Refused]] = {
    401: NotSignedIn,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    429: TooManyRequests,
}


def refused(status: int, body: object, request: str, retry_after: float | None = None) -> Refused:
    """Return the exception for an answer that is no success. `body` is its JSON, or its text where it is none."""
    kind = _BY_STATUS.get(status, ServerFailed if status >= 500 else Refused)
    errors = body.get("errors") if isinstance(body, dict) else None
    if isinstance(errors, dict):
        named = {str(field): str(text) for field, text in errors.items()}
    else:
        named = {"server": str(body)[:500]}
    return kind(status, named, request, retry_after)
