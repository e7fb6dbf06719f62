"""Find whom a request comes from behind proxies: `X-Forwarded-For` is read as far as each hop is trusted.

The header is anybody's to send. It is read only when the connection comes from a proxy that the operator names, and
from right to left: each proxy writes down whom it heard, and the first that is none of ours is who asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from django.core.exceptions import ImproperlyConfigured

UNIX = "unix"  # a socket of this machine: its connections have no address
Address = IPv4Address | IPv6Address


def read_list(text: str) -> list[str]:
    """Read addresses, networks and `unix`, with commas between. Raises ImproperlyConfigured."""
    texts = [part.strip() for part in text.split(",") if part.strip() and part.strip() != "0"]
    for name in texts:
        if name != UNIX:
            try:
                ip_network("" if name.isdigit() else name, strict=False)  # a number would be an address, too
            except ValueError:
                raise ImproperlyConfigured(
                    f"TRUSTED_PROXIES: {name!r} is not an address; enter each proxy by its address or network, or unix "
                    "for a socket, such as TRUSTED_PROXIES=127.0.0.1,10.0.0.0/8. A number of proxies is not enough."
                ) from None
    return texts


def client_of(peer: str, forwarded: str, trusted: Sequence[str]) -> str:
    """Return the address that asks: of the connection, or what trusted proxies wrote down of it.

    `peer` is the connection's address, "" for a Unix socket. A hop that is no address ends the way: the one before it
    stands, or anybody could begin a new count with a name of their own.
    """
    address = peer
    for hop in reversed([part.strip() for part in forwarded.split(",") if part.strip()]):
        if not is_trusted(address, trusted) or address_in(hop) is None:
            break
        address = hop
    return address


def address_in(text: str) -> Address | None:
    """Return the address that a text holds, also as 203.0.113.7:4711, [2001:db8::1]:4711 or ::ffff:203.0.113.7."""
    try:
        address = ip_address(_without_port(text))
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def is_trusted(text: str, trusted: Sequence[str]) -> bool:
    """Return whether the address, "" for a Unix socket, is of a proxy that the operator names."""
    if not text:
        return UNIX in trusted
    address = address_in(text)
    return address is not None and any(address in _network_of(name) for name in trusted if name != UNIX)


def _network_of(name: str) -> IPv4Network | IPv6Network:
    network = ip_network(name, strict=False)
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return IPv4Network((int(mapped), max(network.prefixlen - 96, 0))) if mapped else network


def _without_port(text: str) -> str:
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text.partition("%")[0]
