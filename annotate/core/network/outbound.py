"""Open the one way out: HTTP clients for models behind an endpoint, for judges and for webhooks. Pure: no Django.

A researcher or manager names the address, and this server reaches more than they do: a database's port, a cloud's
metadata. So each connection looks the name up once, judges every address that it has, and goes to one of those: a name
cannot mean something else by then. What only this network reaches is refused unless the operator names it. Redirects
are not followed. What comes back is read up to a bound, and not unpacked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from functools import cache
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from annotate.core.network.public_addresses import is_link_local, is_public, is_this_machine

VARIABLE = "ASSAY_PRIVATE_ENDPOINTS"
EVERYWHERE = ("0.0.0.0/0", "::/0")  # what allows every address
LONGEST_BODY = 8_000_000  # bytes of one answer
LONGEST_LINE = 1_000_000  # bytes of one event of a stream


class Refused(httpx.RequestError):
    """Raised when an address may not be asked, or its answer not read to the end. The words are fit for anyone to
    read."""


class PrivateHost(Refused):
    """Raised where a host is inside a private network, which the operator can allow."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host} is an address inside a private network; the operator can allow it.")
        self.host = host


class TooLong(Refused):
    """Raised when more came than is read of one answer."""


def read_list(text: str) -> tuple[str, ...]:
    """Return names of hosts, addresses and networks from a list with commas; a whole address stands for its host and
    port."""
    parts = (part.strip() for part in text.split(","))
    return tuple(host_and_port(part) if "//" in part else part.lower() for part in parts if part)


def host_and_port(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname or ''}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def client(
    url: str, *, allowed: Sequence[str], timeout: httpx.Timeout, key: str = "", connections: int = 10, **options: Any
) -> httpx.Client:
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    transport = httpx.HTTPTransport(verify=_tls(), trust_env=False, proxy=_proxy(url), limits=limits)
    if _proxy(url) is None:
        backend = _Pinned(allowed)
        transport._pool = httpcore.ConnectionPool(_tls(), network_backend=backend, max_connections=connections)
    return httpx.Client(transport=transport, **_common(url, timeout, key), **options)


def async_client(
    url: str, *, allowed: Sequence[str], timeout: httpx.Timeout, key: str = "", **options: Any
) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(verify=_tls(), trust_env=False, proxy=_proxy(url))
    if _proxy(url) is None:
        transport._pool = httpcore.AsyncConnectionPool(ssl_context=_tls(), network_backend=_PinnedAsync(allowed))
    return httpx.AsyncClient(transport=transport, **_common(url, timeout, key), **options)


def body_of(response: httpx.Response, limit: int = LONGEST_BODY, *, until: float | None = None) -> bytes:
    """Return the whole body of a streamed response. Raises Refused when it is longer, or packed, and httpx.ReadTimeout
    when it still comes, a little at a time, at `until` of time.monotonic()."""
    _require_plain(response)
    parts, size = [], 0
    for part in response.iter_raw():
        size += len(part)
        if size > limit:
            raise TooLong(f"The answer is longer than {limit:,} bytes and was not read to its end.")
        _require_time(response, until)
        parts.append(part)
    return b"".join(parts)


async def lines_of(
    response: httpx.Response, limit: int = LONGEST_BODY, *, until: float | None = None
) -> AsyncIterator[bytes]:
    """Yield the lines of a streamed response, split at newlines alone. Raises Refused when one, or all, are too long,
    and httpx.ReadTimeout as `body_of` does."""
    _require_plain(response)
    buffer, size = b"", 0
    async for part in response.aiter_raw():
        size += len(part)
        _require_time(response, until)
        *lines, buffer = (buffer + part).split(b"\n")
        if size > limit or len(buffer) > LONGEST_LINE:
            raise TooLong(f"The answer is longer than {limit:,} bytes, or a line of it than {LONGEST_LINE:,}.")
        for line in lines:
            yield line
    if buffer:  # the last line may end without a newline, as the body of an error does
        yield buffer


def require_allowed(host: str, port: int, allowed: Sequence[str]) -> list[str]:
    """Return the addresses of a host, all of which may be asked. `!host:port` among those allowed is a place that may
    not, under whichever name. Raises Refused, and OSError where the name is not known."""
    addresses = _addresses(host, port)
    if not {(_plain(address), port) for address in addresses}.isdisjoint(_barred(allowed)):
        raise Refused(f"{host} is a server that must be addressed by its own name.")
    is_named = host.lower() in allowed or f"{host.lower()}:{port}" in allowed
    refused = [one for one in addresses if not is_named and not is_public(one) and not _is_allowed(one, allowed)]
    if any(map(is_link_local, refused)):
        raise Refused(f"{host} is a link-local address, as that of a cloud's metadata; it is not asked.")
    if refused:
        raise PrivateHost(host)
    return addresses


def _addresses(host: str, port: int) -> list[str]:
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"{host} is not a host name: {error}") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))


def places_of(host_and_port: str) -> set[tuple[str, int]]:
    """Return the places that an address means: addresses and port; none for a name that nobody knows just now."""
    host, _, port = host_and_port.rpartition(":")
    try:
        return {(_plain(address), int(port)) for address in _addresses(host, int(port))}
    except OSError:
        return set()


def _barred(allowed: Iterable[str]) -> set[tuple[str, int]]:
    return {place for entry in allowed if entry.startswith("!") for place in places_of(entry[1:])}


def _plain(address: str) -> str:
    """Return an IPv4 address that is written as IPv6 as what it is."""
    return address.removeprefix("::ffff:")


def _is_allowed(address: str, allowed: Iterable[str]) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return any(ip in network for network in map(_network, allowed) if network is not None)


@cache
def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None  # a name


class _Pinned(httpcore.NetworkBackend):
    """Connect to an address that was checked, under the name that the certificate must bear."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed, self._inner = allowed, httpcore.SyncBackend()

    def connect_tcp(self, host: str, port: int, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        last: Exception = OSError("It has no address.")
        for address in _looked_up(host, port, self._allowed):
            try:
                return self._inner.connect_tcp(address, port, *args, **kwargs)
            except httpcore.ConnectError as error:
                last = error
        raise last

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _PinnedAsync(httpcore.AsyncNetworkBackend):
    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed, self._inner = allowed, httpcore.AnyIOBackend()

    async def connect_tcp(self, host: str, port: int, *args: Any, **kwargs: Any) -> httpcore.AsyncNetworkStream:
        last: Exception = OSError("It has no address.")
        for address in await asyncio.to_thread(_looked_up, host, port, self._allowed):
            try:
                return await self._inner.connect_tcp(address, port, *args, **kwargs)
            except httpcore.ConnectError as error:
                last = error
        raise last

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


def _looked_up(host: str, port: int, allowed: Sequence[str]) -> Iterator[str] | list[str]:
    try:
        return require_allowed(host, port, allowed)
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error


def _common(url: str, timeout: httpx.Timeout, key: str) -> dict[str, Any]:
    """Return the client's options. The key goes to this address and no further: redirects are not followed."""
    # A bound on bytes says nothing of what unpacks to a million times as many.
    headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {})
    return {"base_url": url, "timeout": timeout, "follow_redirects": False, "trust_env": False, "headers": headers}


def _require_time(response: httpx.Response, until: float | None) -> None:
    if until is not None and time.monotonic() > until:
        raise httpx.ReadTimeout("The answer comes too slowly.", request=response.request)


def _require_plain(response: httpx.Response) -> None:
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused("The answer came packed, which was not asked for.")


def _proxy(url: str) -> str | None:
    """Return the operator's way out of this network, where there is one: it looks names up and decides for itself."""
    parts = urlsplit(url)
    if not parts.hostname or proxy_bypass(parts.hostname) or is_this_machine(parts.hostname):
        return None
    return getproxies().get(parts.scheme) or getproxies().get("all")


@cache
def _tls() -> ssl.SSLContext:
    """Return the TLS context, once per process: reading the certificates takes longer than a request."""
    return ssl.create_default_context()
