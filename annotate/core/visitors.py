"""Identify people without an account by a hash of their session, and keep them from doing too much at once.

An address is never stored: what is kept is a hash of it with a key made from SECRET_KEY, of an IPv6 address the /64
that one household or server has. Whoever reads the database without the key cannot say who voted, and with another
SECRET_KEY the hashes fit nobody any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_network

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from annotate.core.counting import count, remaining
from annotate.core.errors import TooMany
from annotate.core.network import proxies

WINDOW_SECONDS = 600
BATTLES_PER_PERSON = 100  # one in six seconds: quicker than anybody reads
BATTLES_PER_ADDRESS = 500  # a classroom shares an address
WIDER = ((56, 2), (48, 4))  # (bits of an IPv6 network, how many addresses' worth it may do in all)
# No module's name any more, and never to be changed: hashes that are kept were made with it.
_ADDRESS_SALT = "annotate" + ".visitors.address"
# Each a network or its hash, and how many addresses' worth it may do, as `networks_of` returns them.
Networks = Sequence[tuple[str, int]]


def visitor_of(request: HttpRequest) -> str:
    """Return who this is, or "" for somebody who has not done anything yet and so has no session."""
    return visitor_of_session(request.session)


def visitor_of_session(session: SessionBase) -> str:
    """Return the hash of a session's key: the key itself is a secret that signs somebody in."""
    return hashlib.sha256(session.session_key.encode()).hexdigest() if session.session_key else ""


def remember(request: HttpRequest) -> str:
    """Return who this is, with a session from now on."""
    if not request.session.session_key:
        request.session.create()
    return visitor_of(request)


def network_of(request: HttpRequest) -> str:
    """Return where the connection comes from: an IPv4 address, or the /64 of an IPv6 one; "" where nothing tells.

    Behind the proxies that TRUSTED_PROXIES names it is what the outermost of them wrote down.
    """
    return network_in(_client(request))


def _client(request: HttpRequest) -> str:
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    return proxies.client_of(request.META.get("REMOTE_ADDR", ""), forwarded, settings.TRUSTED_PROXIES)


def network_in(text: str) -> str:
    """Return the network that counts as one address: an IPv4 address itself, the /64 of an IPv6 one."""
    address = proxies.address_in(text)
    if address is None:
        return text[:64]  # a socket's name, or nothing at all
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), 64), strict=False))
    return str(address)


def _hashed(network: str) -> str:
    return salted_hmac(_ADDRESS_SALT, network, algorithm="sha256").hexdigest()[:32]


def wider_of(request: HttpRequest) -> tuple[tuple[str, int], ...]:
    """Return (keyed hash, factor) of the wider networks that an IPv6 address lies in; none of an IPv4 one.

    One subscriber often has a /56 or a /48, and so 256 or 65,536 of the /64s that are counted. So those count, too: as
    much as `factor` addresses may do together.
    """
    return tuple((_hashed(network), factor) for network, factor in wider_in(_client(request)))


def wider_in(text: str) -> tuple[tuple[str, int], ...]:
    """Return the same of a plain address, and the networks as they are."""
    address = proxies.address_in(text)
    if not isinstance(address, IPv6Address):
        return ()
    return tuple((str(ip_network((int(address), bits), strict=False)), factor) for bits, factor in WIDER)


def networks_in(text: str) -> tuple[tuple[str, int], ...]:
    """Return the network that counts as one address with a factor of 1, then the wider ones; none where nothing
    tells."""
    network = network_in(text)
    return ((network, 1), *wider_in(text)) if network else ()


def networks_of(request: HttpRequest) -> tuple[tuple[str, int], ...]:
    """Return the same of a request, each network by its keyed hash."""
    return tuple((_hashed(network), factor) for network, factor in networks_in(_client(request)))


def address_of(request: HttpRequest) -> str:
    """Return the keyed hash of where this comes from, 32 characters; "" where nothing tells."""
    network = network_of(request)
    return _hashed(network) if network else ""


def throttle_battles(request: HttpRequest, *, visitor: str | None = None) -> None:
    """Refuse with 429 when this person, or this address, has started too many battles within the window.

    `visitor` is who it is when the browser's session does not tell: the API knows clients without cookies.
    """
    user = request.user
    if user.is_authenticated:
        bound(f"battles:user:{user.pk}", BATTLES_PER_PERSON, "battles")
    # Without an id it is their first: `count_visitor` follows with their session.
    elif visitor_id := visitor or visitor_of(request):
        count_visitor(visitor_id)
    for network, factor in networks_of(request):  # none where nothing tells, or all those would share one count
        bound(f"battles:address:{network}", BATTLES_PER_ADDRESS * factor, "battles")


def count_visitor(visitor: str) -> None:
    """Count a battle of somebody without an account. Raises TooMany."""
    bound(f"battles:visitor:{visitor}", BATTLES_PER_PERSON, "battles")


def bound(key: str, limit: int, attempts: str) -> int:
    """Count one more, and refuse it above the limit; how many by now."""
    tries = count(key, seconds=WINDOW_SECONDS)
    if tries > limit:
        wait = remaining(key, seconds=WINDOW_SECONDS)
        minutes = max(round(wait / 60), 1)
        raise TooMany(
            wait,
            arena=f"More than {limit} {attempts} within {WINDOW_SECONDS // 60} minutes. "
            f"Nothing is lost: wait {minutes} minute{'s' if minutes > 1 else ''}, then try again.",
        )
    return tries
