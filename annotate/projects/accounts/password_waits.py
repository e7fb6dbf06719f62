"""Have whoever guesses the password of one account wait ever longer, from however many addresses they try.

Counts are by the name that was typed, whether there is such an account or not: nobody learns which. Somebody could so
keep the owner of a name waiting. Hence two ways round it: a browser that the owner has signed in with has a count of
its own ("device cookies", as OWASP calls them), and a new password, by a link from the mail or by the operator, ends
the wait.
"""

from __future__ import annotations

import logging
import secrets
import unicodedata
from math import ceil

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from annotate.core.counting import count_or_wait, start_anew
from annotate.core.errors import TooMany
from annotate.models.tokens import token_hash

log = logging.getLogger("assay.accounts")
FREE_TRIES = 20  # wrong passwords for one name before the first wait, of a minute
LONGEST_SECONDS = 3600
COOKIE = "known-browser"
COOKIE_SECONDS = 180 * 24 * 3600
MOST_NAMES = 5  # of people who share a browser


def name_hash(name: str) -> str:
    """Return a hash of a name as names are compared: else a space or a capital letter would begin a new count."""
    plain = unicodedata.normalize("NFKC", name).strip().casefold()
    return token_hash(plain)[:32]


def require_no_wait(*, name: str, browser: str = "") -> None:
    """Count a try for a name, or for the known browser that it comes from. Raises TooMany during a wait."""
    wait = count_or_wait(_key(name, browser), free=FREE_TRIES, longest=LONGEST_SECONDS)
    if not wait:
        return
    log.warning("Too many wrong passwords for one name: the next try counts in %d s.", wait)
    ways = "sign in with a browser that you have used before"
    if settings.EMAIL_NOTICES_FROM:
        ways += ", or choose a new password by e-mail"
    minutes = ceil(wait / 60)
    raise TooMany(
        wait,
        password=f"Too many tries for this name. Wait {minutes} minute{'s' if minutes > 1 else ''}, {ways}.",
    )


def end_wait(*, name: str, browser: str = "") -> None:
    """Begin the count anew: the password was right, or there is a new one."""
    start_anew(_key(name, browser))


def known_browser(request: HttpRequest, name: str) -> str:
    """Return the id of this browser if the owner of the name has signed in with it, else ""."""
    return _browsers(request).get(name_hash(name), "")


def remember_browser(request: HttpRequest, response: HttpResponse, name: str) -> None:
    """Have the browser bring along that the owner of the name has signed in with it."""
    browsers = _browsers(request)
    browser = browsers.pop(name_hash(name), "") or secrets.token_urlsafe(16)
    newest = [(name_hash(name), browser), *browsers.items()][:MOST_NAMES]
    response.set_signed_cookie(
        COOKIE,
        " ".join(f"{hashed}.{one}" for hashed, one in newest),
        max_age=COOKIE_SECONDS,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )


def _browsers(request: HttpRequest) -> dict[str, str]:
    """Return {hash of a name: id of this browser for it}."""
    value = request.get_signed_cookie(COOKIE, default="", max_age=COOKIE_SECONDS) or ""
    return dict(each.split(".", 1) for each in value.split())


def _key(name: str, browser: str) -> str:
    return f"wrong-password:browser:{browser}" if browser else f"wrong-password:{name_hash(name)}"
