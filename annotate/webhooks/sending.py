"""One signed request, as Standard Webhooks says (standardwebhooks.com), and what came of it. Pure: no Django.

Redirects are not followed: where one leads was never judged. An answer is read for some kilobytes and seconds at most.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from annotate.webhooks.addresses import Place, place, reachable

TIMEOUT = 15.0  # seconds, for all of it
_MOST_READ = 4_000  # bytes of an answer
LONGEST_SAID = 500
_AGENT = "Assay-Webhooks/1"


@dataclass(frozen=True)
class Outcome:
    """`status` is the answer's; None where there was none, and `said` says why. `retry_after` in seconds, if asked."""

    status: int | None
    said: str
    seconds: float
    retry_after: float | None = None

    @property
    def is_good(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def send(*, url: str, secrets: Sequence[str], message_id: str, body: str, at: datetime, allow_private: bool) -> Outcome:
    """Never raises for what the other side does."""
    began = time.monotonic()
    try:
        to = place(url)
        addresses = reachable(to.host, to.port, allow_private=allow_private)
        headers = _headers(secrets, message_id, body, at)
        return _asked(to, addresses, headers, body.encode(), began)
    except ssl.SSLCertVerificationError as error:
        return _failed(f"Its certificate is not valid: {error.verify_message}.", began)
    except TimeoutError:
        return _failed(f"No answer within {TIMEOUT:.0f} seconds.", began)
    except socket.gaierror as error:
        return _failed(f"The name cannot be looked up: {error.strerror or error}.", began)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return _failed(str(error) or type(error).__name__, began)


def signatures(secrets: Sequence[str], message_id: str, body: str, at: datetime) -> str:
    """One for each secret, so that a receiver may change from the old to the new one within a day."""
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


def _asked(to: Place, addresses: Sequence[str], headers: dict[str, str], body: bytes, began: float) -> Outcome:
    connection = _Connection(to, addresses, began + TIMEOUT)
    try:
        connection.request("POST", to.target, body=body, headers=headers)
        answer = connection.getresponse()
        said = _read(answer)
        if 300 <= answer.status < 400:
            said = f"It points elsewhere ({answer.getheader('Location', '')}); give the address where it ends."
        return Outcome(answer.status, said[:LONGEST_SAID], time.monotonic() - began, _retry_after(answer))
    finally:
        connection.close()


def _read(answer: http.client.HTTPResponse) -> str:
    """The beginning of what it says. What was said before the time was up is enough: the status stands."""
    parts: list[bytes] = []
    try:
        while sum(map(len, parts)) < _MOST_READ:
            if not (part := answer.read1(_MOST_READ)):
                break
            parts.append(part)
    except (OSError, http.client.HTTPException):
        pass
    return b"".join(parts).decode("utf-8", "replace").replace("\x00", "").strip()


def _retry_after(answer: http.client.HTTPResponse) -> float | None:
    value = answer.getheader("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 8 else None


def _failed(said: str, began: float) -> Outcome:
    return Outcome(None, said[:LONGEST_SAID], time.monotonic() - began)


class _Connection(http.client.HTTPConnection):
    """To one of the addresses that were judged, under the name that the certificate must bear."""

    def __init__(self, to: Place, addresses: Sequence[str], deadline: float) -> None:
        super().__init__(to.host, to.port)
        self.default_port = 443 if to.is_secure else 80  # what the Host header leaves out
        self._to, self._addresses, self._deadline = to, addresses, deadline
        self.response_class = self._answer  # type: ignore[assignment]  # it is called, whatever it is

    def connect(self) -> None:
        self.sock = self._first()
        if self._to.is_secure:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self._to.host)
        self.sock.settimeout(_left(self._deadline))

    def _answer(self, sock: socket.socket, *how: Any, **more: Any) -> http.client.HTTPResponse:
        answer = http.client.HTTPResponse(sock, *how, **more)
        its_own, answer.fp = answer.fp, io.BufferedReader(_Until(sock, self._deadline))
        its_own.close()
        return answer

    def _first(self) -> socket.socket:
        last: OSError = OSError("It has no address.")
        for address in self._addresses:
            try:
                return socket.create_connection((address, self._to.port), timeout=_left(self._deadline))
            except TimeoutError:
                raise
            except OSError as error:
                last = error
        raise last


class _Until(io.RawIOBase):
    """What a socket brings until the time is up. A socket's own limit begins anew with each byte, so that whoever sends
    one from time to time could keep a sender busy for hours."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        # The file keeps the socket open when the connection, which asked for one answer, has let go of it.
        self._sock, self._file, self._deadline = sock, sock.makefile("rb", buffering=0), deadline

    def close(self) -> None:
        self._file.close()
        super().close()

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int | None:
        self._sock.settimeout(_left(self._deadline))
        return self._file.readinto(into)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
