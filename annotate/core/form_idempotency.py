"""Do an act of a page once, however often its form arrives: a browser without a connection sends it again.

What leaves a row of feedback has its key with the row, as the API's has (`annotate.core.api.idempotency.feedback_key`).
"""

from __future__ import annotations

from collections.abc import Callable

from django.db import IntegrityError, transaction
from django.http import HttpRequest

from annotate.core.errors import Refused
from annotate.models import FirstAnswer, User

LONGEST_KEY = 90


def once(*, by: User, key: str, act_name: str, act: Callable[[], object]) -> bool:
    """Do it unless it was done under this key before; return whether it was done now. Without a key it is always done.

    `act_name` names the act and what it is about: a key that was used for another is refused.
    """
    if not key:
        act()
        return True
    _check(key)
    if _done(by, key, act_name):
        return False
    try:
        with transaction.atomic():
            act()
            FirstAnswer.objects.create(who=_user_key(by), key=f"page:{key}", request_hash=act_name)
            return True
    except (Refused, IntegrityError):
        # A twin at the same moment was first, and what it has done is refused a second time.
        if _done(by, key, act_name):
            return False
        raise


def feedback_key(request: HttpRequest, sender: str, field: str = "idempotency_key") -> str | None:
    """Return the key for a row of feedback that a form sends: keys are unique over all senders and imports there, so it
    carries its sender. None without a key; Refused when it is too long."""
    key = request.POST.get(field, "")
    _check(key)
    return f"{sender}:{key}" if key else None


def _check(key: str) -> None:
    if len(key) > LONGEST_KEY or not key.isprintable():
        raise Refused(idempotency_key=f"Use a text of at most {LONGEST_KEY} characters, such as a UUID.")


def _done(by: User, key: str, act_name: str) -> bool:
    first = FirstAnswer.objects.filter(who=_user_key(by), key=f"page:{key}").first()
    if first and first.request_hash != act_name:
        raise Refused(409, idempotency_key="This key was used for another request; use a new one for each request.")
    return first is not None


def _user_key(user: User) -> str:
    return f"user:{user.pk}"
