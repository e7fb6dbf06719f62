"""Speak HTTP with a server: token, repeated tries, files, waiting for what is being computed."""

from __future__ import annotations

import json
import random
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import httpx

from assay_client.decoding import decode
from assay_client.downloads import Download
from assay_client.errors import UnexpectedAnswer, Unreachable, refused
from assay_client.uploads import FilePart, Multipart

_PASSING = (502, 503, 504)  # of a server or proxy that is busy or restarts
_LONGEST_WAIT = 60.0


class Unset:
    """The type of UNSET."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()  # leaves a field out, where None would be sent as null


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, as often as it must be sent."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str | None] = field(default_factory=dict)
    json: Any = UNSET
    text: str | None = None  # YAML
    form: Mapping[str, Any] | None = None  # fields and files of a multipart body
    key: str | None = None  # the Idempotency-Key

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def may_be_repeated(self) -> bool:
        """Whether it does nothing twice: it reads, writes the same thing again, or carries a key."""
        return self.method in ("GET", "PUT", "PATCH", "DELETE") or self.key is not None


class Connection:
    """Sends calls to one server.

    A call is sent up to `tries` times, a while apart, where no answer came or the server was busy, if that does
    nothing twice; a call that never left this machine, or was answered with 429, is repeated in any case.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        timeout: float = 60.0,
        tries: int = 5,
        patience: float = 600.0,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not url.startswith(("https://", "http://")):
            raise ValueError(f"url: {url!r} is no address; write it as https://assay.example.org")
        headers = {"User-Agent": "assay-client"} | ({"Authorization": f"Token {token}"} if token else {})
        self._http = httpx.Client(
            base_url=url.rstrip("/"),
            headers=headers,
            timeout=httpx.Timeout(timeout, connect=10.0),
            follow_redirects=False,  # the token goes only where the client was told to
            transport=transport,
        )
        self._tries, self._patience, self.sleep = tries, patience, sleep

    def close(self) -> None:
        self._http.close()

    def call(self, call: Call, answers: Mapping[int, Any]) -> Any:
        """Return the decoded answer. `answers` gives the type of each status that is a success, None for an empty one.

        Where a GET answers 202 with how far a computation is, the answer is waited for, at most `patience` seconds.
        """
        until = time.monotonic() + self._patience
        wait = 0.5
        while True:
            response = self._send(call)
            if call.method != "GET" or response.status_code != 202:
                break
            if time.monotonic() > until:
                raise Unreachable(f"{call} was still being computed after {self._patience:g} s; ask again later.")
            self.sleep(wait)
            wait = min(2 * wait, 5.0)
        kind = answers.get(response.status_code, UNSET)
        if kind is UNSET:
            raise UnexpectedAnswer(f"{call} was answered with {response.status_code}, which this client does not know.")
        return None if kind is None else decode(kind, _json_of(response, call))

    def page(self, call: Call) -> Any:
        """Return the JSON of one page of a list."""
        return _json_of(self._send(call), call)

    def download(self, call: Call) -> Download:
        return Download(self._send(call, stream=True))

    def _send(self, call: Call, stream: bool = False) -> httpx.Response:
        form = None
        if call.form is not None:
            texts = {name: _as_text(value) for name, value in call.form.items() if value is not None}
            form = Multipart(texts, call.key or new_key())
        for attempt in range(1, self._tries + 1):
            is_last = attempt == self._tries
            try:
                response = self._once(call, form, stream)
            except httpx.TransportError as error:
                was_sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
                if is_last or (was_sent and not call.may_be_repeated):
                    how = "was sent and no answer came" if was_sent else f"{self._http.base_url} could not be reached"
                    raise Unreachable(f"{call}: {how}: {error!r}") from error
                self._wait(attempt, None)
                continue
            if response.is_success:
                return response
            response.read()
            failure = refused(response.status_code, _said(response), str(call), _retry_after(response))
            response.close()
            passes = response.status_code == 429 or (response.status_code in _PASSING and call.may_be_repeated)
            if is_last or not passes:
                raise failure
            self._wait(attempt, failure.retry_after)
        raise AssertionError("tries is at least 1")

    def _once(self, call: Call, form: Multipart | None, stream: bool) -> httpx.Response:
        headers = {name: value for name, value in call.headers.items() if value is not None}
        if call.key is not None:
            headers["Idempotency-Key"] = call.key
        content: bytes | Iterator[bytes] | None = None
        with ExitStack() as closing:
            if form is not None:
                length, content = form.send(closing)
                headers |= {"Content-Type": form.content_type, "Content-Length": str(length)}
            elif call.text is not None:
                content, headers["Content-Type"] = call.text.encode(), "application/yaml"
            elif call.json is not UNSET:
                content, headers["Content-Type"] = json.dumps(_plain(call.json)).encode(), "application/json"
            query = {name: _as_text(value) for name, value in call.query.items() if value is not None}
            request = self._http.build_request(call.method, call.path, params=query, headers=headers, content=content)
            return self._http.send(request, stream=stream)

    def _wait(self, attempt: int, retry_after: float | None) -> None:
        backoff = 0.5 * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
        self.sleep(min(retry_after if retry_after is not None else backoff, _LONGEST_WAIT))


def quoted(part: object) -> str:
    """Return a part of an address."""
    return urllib.parse.quote(str(part), safe="")


def new_key() -> str:
    return str(uuid.uuid4())


def without_unset(fields: Mapping[str, Any], nullable: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return what is to be sent: None leaves a field out, or is null where that means something."""
    return {
        name: value for name, value in fields.items() if value is not UNSET and (value is not None or name in nullable)
    }


def _as_text(value: Any) -> Any:
    """Return a value for a query or a form."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_as_text(item) for item in value]
    return value if value is None or isinstance(value, FilePart) else str(value)


def _plain(value: Any) -> Any:
    """Return a value with moments as text, for JSON."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items() if item is not UNSET}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _retry_after(response: httpx.Response) -> float | None:
    try:
        return max(0.0, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None


def _json_of(response: httpx.Response, call: Call) -> Any:
    try:
        return response.json()
    except ValueError as error:
        text = response.text[:80]
        raise UnexpectedAnswer(f"{call} was answered with {text!r}, not JSON; is {response.url} Assay?") from error


def _said(response: httpx.Response) -> Any:
    """Return what an answer that is no success says: its JSON, else its text."""
    if response.has_redirect_location:
        return f"The site has moved; use the address {response.headers['Location']}"
    try:
        return response.json()
    except ValueError:
        return response.text
