"""Many people over plain HTTP from one process: keep-alive connections, almost no work per request.

The client must cost little, for it shares the machine with the server that it measures.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


class Connection:
    """One person's keep-alive connection. A connection that the server closed is opened again."""

    def __init__(self, host: str, port: int, headers: dict[str, str]) -> None:
        self.host, self.port = host, port
        self.headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None
        self.cookies: list[bytes] = []
        self.location = ""

    async def ask(
        self, method: str, path: str, body: Any = None, more: str = "", form: bool = False
    ) -> tuple[int, Any]:
        """Status and parsed body (None where it is no JSON)."""
        kind = "application/x-www-form-urlencoded" if form else "application/json"
        content = b"" if body is None else body.encode() if form else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n{self.headers}{more}"
        request = f"{head}Content-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content
        for last_try in (False, True):
            try:
                if self.writer is None:
                    self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
                self.writer.write(request)
                return await self._answer()
            except (OSError, asyncio.IncompleteReadError):
                self.close()
                if last_try:
                    raise
        raise AssertionError("unreachable")

    async def _answer(self) -> tuple[int, Any]:
        assert self.reader is not None
        lines = (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        status = int(lines[0].split()[1])
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(b":") for line in lines[1:])}
        self.cookies = [
            v for k, v in ((line.partition(b":")[0].lower(), line) for line in lines[1:]) if k == b"set-cookie"
        ]
        self.location = headers.get(b"location", b"").decode()
        content = await self._content(headers)
        if headers.get(b"connection") == b"close":
            self.close()
        is_json = headers.get(b"content-type", b"").startswith(b"application/json")
        return status, json.loads(content) if is_json and content else content or None

    async def _content(self, headers: dict[bytes, bytes]) -> bytes:
        assert self.reader is not None
        if headers.get(b"transfer-encoding") == b"chunked":
            parts = []
            while size := int((await self.reader.readuntil(b"\r\n")).strip(), 16):
                parts.append(await self.reader.readexactly(size))
                await self.reader.readexactly(2)
            await self.reader.readexactly(2)
            return b"".join(parts)
        if b"content-length" in headers:
            return await self.reader.readexactly(int(headers[b"content-length"]))
        return b"" if headers.get(b"connection") != b"close" else await self.reader.read()

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


@dataclass
class Tally:
    """What was seen from outside."""

    judged: list[float] = field(default_factory=list)  # seconds that each acknowledged judgement took
    handed: list[float] = field(default_factory=list)  # … and each new item
    receipts: list[Any] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def figures(self, seconds: float) -> dict[str, Any]:
        return {
            "judgements": len(self.judged),
            "per_second": round(len(self.judged) / seconds, 1),
            "submit_ms": percentiles(self.judged),
            "next_ms": percentiles(self.handed),
            "errors": dict(self.errors),
        }


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {}
    ordered = sorted(seconds)
    places = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {name: round(1000 * ordered[min(len(ordered) - 1, int(q * len(ordered)))], 1) for name, q in places.items()}


Person = Callable[[Connection, Tally, float], Awaitable[None]]


def crowd(
    host: str, port: int, headers: Sequence[dict[str, str]], person: Person, seconds: float
) -> tuple[Tally, float]:
    """Everybody at once until the time is over; the tally, and how long it took until the last one was done."""

    async def all_of_them() -> Tally:
        tally = Tally()
        until = time.monotonic() + seconds
        people = [person(Connection(host, port, mine), tally, until) for mine in headers]
        await asyncio.gather(*people)
        return tally

    began = time.monotonic()
    return asyncio.run(all_of_them()), time.monotonic() - began
