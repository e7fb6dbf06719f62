"""People without an account: told apart by a hash of their session, and kept from starting too many battles."""

from __future__ import annotations

import hashlib

from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

from annotate.counting import count
from annotate.errors import Refused

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


def throttle_battles(request: HttpRequest, *, visitor: str | None = None) -> None:
    """Refuse with 429 when this person, or this address, has started too many battles within the window.

    `visitor` is who it is when the browser's session does not tell: the API knows clients without cookies.
    """
    user = request.user
    person = f"user:{user.pk}" if user.is_authenticated else f"visitor:{visitor or visitor_of(request)}"
    address = f"address:{request.META.get('REMOTE_ADDR', '')}"
    for who, limit in ((person, BATTLES_PER_PERSON), (address, BATTLES_PER_ADDRESS)):
        if count(f"battles:{who}", seconds=WINDOW_SECONDS) > limit:
            raise Refused(
                429,
                arena=f"More than {limit} battles within {WINDOW_SECONDS // 60} minutes. "
                "Nothing is lost: wait a few minutes, then ask again.",
            )
