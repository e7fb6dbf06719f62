"""People without an account: told apart by a hash of their session, and kept from doing too much at once.

An address is never stored: what is kept is a hash of it with a key made from SECRET_KEY, of an IPv6 address the /64
that one household or server has. Whoever reads the database without the key cannot say who voted, and with another
SECRET_KEY the hashes fit nobody any more.
"""

from __future__ import annotations

import hashlib
from ipaddress import IPv6Address, ip_network

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from annotate import proxies
from annotate.counting import count, remaining
from annotate.errors import TooMany

WINDOW_SECONDS = 600
BATTLES_PER_PERSON = 100  # one in six seconds: quicker than anybody reads
BATTLES_PER_ADDRESS = 500  # a classroom shares an address


def visitor_of(request: HttpRequest) -> str:
    """Who this is, or "" for somebody who has not done anything yet and so has no session."""
    return visitor_of_session(request.session)


def visitor_of_session(session: SessionBase) -> str:
    """The key itself is a secret that signs somebody in; its hash is not."""
    return hashlib.sha256(session.session_key.encode()).hexdigest() if session.session_key else ""


def remember(request: HttpRequest) -> str:
    """Who this is, from now on."""
    if not request.session.session_key:
        request.session.create()
    return visitor_of(request)


def network_of(request: HttpRequest) -> str:
    """Whom the connection comes from: an IPv4 address, or the /64 of an IPv6 one; "" where nothing tells.

    Behind the proxies that TRUSTED_PROXIES names it is what the outermost of them wrote down.
    """
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    return _network(proxies.client_of(request.META.get("REMOTE_ADDR", ""), forwarded, settings.TRUSTED_PROXIES))


def _network(given: str) -> str:
    address = proxies.address_in(given)
    if address is None:
        return given[:64]  # a socket's name, or nothing at all
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), 64), strict=False))
    return str(address)


def address_of(request: HttpRequest) -> str:
    """The keyed hash of where this comes from, 32 characters; "" where nothing tells."""
    network = network_of(request)
    return salted_hmac("annotate.visitors.address", network, algorithm="sha256").hexdigest()[:32] if network else ""


def throttle_battles(request: HttpRequest, *, visitor: str | None = None) -> None:
    """Refuse with 429 when this person, or this address, has started too many battles within the window.

    `visitor` is who it is when the browser's session does not tell: the API knows clients without cookies.
    """
    user = request.user
    person = f"user:{user.pk}" if user.is_authenticated else f"visitor:{visitor or visitor_of(request)}"
    bound(f"battles:{person}", BATTLES_PER_PERSON, "battles")
    if address := address_of(request):  # else all whose address nothing tells would share one count
        bound(f"battles:address:{address}", BATTLES_PER_ADDRESS, "battles")


def bound(key: str, limit: int, what: str) -> int:
    """Count one more, and refuse it above the limit; how many by now."""
    tries = count(key, seconds=WINDOW_SECONDS)
    if tries > limit:
        wait = remaining(key, seconds=WINDOW_SECONDS)
        minutes = max(round(wait / 60), 1)
        raise TooMany(
            wait,
            arena=f"More than {limit} {what} within {WINDOW_SECONDS // 60} minutes. "
            f"Nothing is lost: wait {minutes} minute{'s' if minutes > 1 else ''}, then try again.",
        )
    return tries
