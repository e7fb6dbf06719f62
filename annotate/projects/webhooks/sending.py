"""Send one signed request, as Standard Webhooks says (standardwebhooks.com). Pure: no Django.

`outbound` connects to an address that was judged, and follows no redirect. An answer is read for some kilobytes and
seconds at most, all in all: each byte begins the client's own time-out anew.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import httpx

from annotate.core.network import outbound
from annotate.core.network.public_addresses import place
from common.whole_numbers import whole_number

TIMEOUT = 15.0  # seconds, for all of it
_MOST_READ = 4_000  # bytes of an answer
LONGEST_SAID = 500
_AGENT = "Assay-Webhooks/1"


@dataclass(frozen=True)
class Outcome:
    """Hold what one request came to. `status` is the answer's; None where there was none. `text`: the beginning of the
    answer, or why there was none. `retry_after` in seconds, if asked."""

    status: int | None
    text: str
    seconds: float
    retry_after: float | None = None

    @property
    def is_good(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def send(
    *, url: str, secrets: Sequence[str], message_id: str, body: str, at: datetime, allowed: Sequence[str]
) -> Outcome:
    """Send one event. Never raises for what the other side does. `allowed` as in `outbound.judged`."""
    began = time.monotonic()
    try:
        place(url)
        return asyncio.run(_post(url, _headers(secrets, message_id, body, at), body.encode(), allowed, began))
    except (TimeoutError, httpx.TimeoutException):
        text = f"No answer within {TIMEOUT:.0f} seconds."
    except (OSError, httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        text = _in_words(error)
    return Outcome(None, text[:LONGEST_SAID], time.monotonic() - began)


def signatures(secrets: Sequence[str], message_id: str, body: str, at: datetime) -> str:
    """Return a signature for each secret, so that a receiver may change from the old to the new one within a day."""
    from standardwebhooks import Webhook

    return " ".join(Webhook(secret).sign(message_id, at, body) for secret in secrets)


def _headers(secrets: Sequence[str], message_id: str, body: str, at: datetime) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "User-Agent": _AGENT,
        "Connection": "close",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signatures(secrets, message_id, body, at),
    }


async def _post(url: str, headers: dict[str, str], body: bytes, allowed: Sequence[str], began: float) -> Outcome:
    until = asyncio.get_running_loop().time() + TIMEOUT
    async with outbound.async_client(url, allowed=allowed, timeout=httpx.Timeout(TIMEOUT)) as client:
        async with asyncio.timeout_at(until):
            answer = await client.send(client.build_request("POST", url, content=body, headers=headers), stream=True)
        beginning = await _beginning(answer, until)
    if 300 <= answer.status_code < 400:
        beginning = f"It redirects to {answer.headers.get('Location', '')}; enter the final address."
    return Outcome(answer.status_code, beginning[:LONGEST_SAID], time.monotonic() - began, _retry_after(answer))


async def _beginning(answer: httpx.Response, until: float) -> str:
    """Return the beginning of what it says. What was said before the time was up is enough: the status stands."""
    body = bytearray()
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout_at(until):
            async for part in answer.aiter_raw():
                body += part
                if len(body) >= _MOST_READ:
                    break
    return body[:_MOST_READ].decode("utf-8", "replace").replace("\x00", "").strip()


def _retry_after(answer: httpx.Response) -> float | None:
    value = answer.headers.get("Retry-After", "")
    return whole_number(value, None, digits=7)


def _in_words(error: BaseException) -> str:
    """Say what failed first: the client wraps what the network and the certificate said, some of it `from None`."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"Its certificate is not valid: {error.verify_message}."
    if isinstance(error, socket.gaierror):
        return f"The host name was not found: {error.strerror or error}."
    return str(error) or type(error).__name__
