"""Decide which addresses can be sent to, and which the public reaches. Pure: no Django. Look-ups are in `outbound`."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Set apart, though the standard library of today's Python takes them for public.
_SET_APART = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "fec0::/10", "3fff::/20")))
LONGEST = 500


@dataclass(frozen=True)
class Place:
    """A parsed address; `target` is what a request asks for: path and query."""

    is_secure: bool
    host: str
    port: int
    target: str


def place(url: str) -> Place:
    """Return the parsed address. Raises ValueError in words for what is no address to send to."""
    if len(url) > LONGEST or not url.isascii() or any(character.isspace() or character < " " for character in url):
        raise ValueError(f"Enter an address of at most {LONGEST} plain characters, such as https://example.org/assay.")
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError("The port must be a number from 1 to 65535.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("Enter a full address that starts with https:// or http://.")
    if parts.username is not None or parts.password is not None:
        raise ValueError("Remove the name and password from the address; each event is signed instead.")
    is_secure = parts.scheme == "https"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(is_secure, parts.hostname, port or (443 if is_secure else 80), target)


def is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip.sixtofour is not None:
            return is_public(str(ip.sixtofour))
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    if any(ip in network for network in _SET_APART):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def is_link_local(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    return (getattr(ip, "ipv4_mapped", None) or ip).is_link_local


def is_this_machine(host: str) -> bool:
    """Return whether a host, by name or address, is reached without a network: localhost, or a loopback address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
