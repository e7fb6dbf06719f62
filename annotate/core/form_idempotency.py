"""An act of a page that is done once, however often its form arrives: a browser without a connection sends it again."""

from __future__ import annotations

from collections.abc import Callable

from django.db import IntegrityError, transaction

from annotate.core.errors import Refused
from annotate.models import FirstAnswer, User

LONGEST_KEY = 90


def once(*, by: User, key: str, what: str, act: Callable[[], object]) -> bool:
    """Do it unless it was done under this key before; whether it was done just now. Without a key it is always done.

    `what` names the act and what it is about: a key that was used for another is refused.
    """
    if not key:
        act()
        return True
    if len(key) > LONGEST_KEY or not key.isprintable():
        raise Refused(idempotency_key=f"Use a text of at most {LONGEST_KEY} characters, such as a UUID.")
    if _done(by, key, what):
        return False
    try:
        with transaction.atomic():
            act()
            FirstAnswer.objects.create(who=_who(by), key=f"page:{key}", request_hash=what)
            return True
    except (Refused, IntegrityError):
        # A twin at the same moment was first, and what it has done is refused a second time.
        if _done(by, key, what):
            return False
        raise


def _done(by: User, key: str, what: str) -> bool:
    first = FirstAnswer.objects.filter(who=_who(by), key=f"page:{key}").first()
    if first and first.request_hash != what:
        raise Refused(409, idempotency_key="This key was used for something else; use a new one for each act.")
    return first is not None


def _who(user: User) -> str:
    return f"user:{user.pk}"
