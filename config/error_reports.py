"""Report errors to Sentry, where the operator names one: which code failed in which request, and no text of anybody.

Sentry keeps what it gets elsewhere. So nothing of a request's address, header, cookie or body goes there, no variable
of a function, no breadcrumb, and no words of an error, which may quote what somebody wrote. The log has them, by
request id.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured

from annotate.core.logs import context

_KEPT = (
    *("event_id", "timestamp", "level", "logger", "platform", "transaction", "transaction_info", "release", "sdk"),
    *("environment", "server_name", "fingerprint", "modules", "tags"),
)


def start(dsn: str, **options: Any) -> None:
    """Report to this DSN from now on; to none where it is "". Raises ImproperlyConfigured."""
    if not dsn:
        return
    try:
        import sentry_sdk
        from sentry_sdk.utils import BadDsn
    except ImportError:
        raise ImproperlyConfigured(
            "SENTRY_DSN is set, and the package sentry-sdk is not installed: pip install -r requirements-sentry.txt "
            "-c requirements.lock, or take SENTRY_DSN away."
        ) from None
    try:
        sentry_sdk.init(
            dsn=dsn,
            send_default_pii=False,
            include_local_variables=False,
            max_request_body_size="never",
            max_breadcrumbs=0,
            before_send=scrubbed,
            **options,
        )
    except BadDsn as error:
        raise ImproperlyConfigured(f"SENTRY_DSN is no address of Sentry: {error}.") from error


def scrubbed(event: Any, hint: Any = None) -> Any:
    """Return an event with what is known to be ours alone: the code that failed, and ids."""
    kept = {name: event[name] for name in _KEPT if name in event}
    kept["tags"] = {**(kept.get("tags") or {}), **{name: str(value) for name, value in context.current().items()}}
    if method := (event.get("request") or {}).get("method"):
        kept["request"] = {"method": method}
    if message := (event.get("logentry") or {}).get("message"):
        kept["logentry"] = {"message": message}  # as it stands in the code, without what was filled in
    failures = (event.get("exception") or {}).get("values") or []
    if failures:
        kept["exception"] = {"values": [_without_words(failure) for failure in failures]}
    return kept


def _without_words(failure: dict[str, Any]) -> dict[str, Any]:
    frames = (failure.get("stacktrace") or {}).get("frames") or []
    plain = [{name: value for name, value in frame.items() if name != "vars"} for frame in frames]
    kept: dict[str, Any] = {name: failure[name] for name in ("type", "module", "mechanism") if name in failure}
    return {**kept, "value": "", "stacktrace": {"frames": plain}}
