"""Make, renew and revoke API tokens. A secret is told once; only its hash is kept."""

from __future__ import annotations

import secrets
from datetime import timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.models import ApiToken, User
from annotate.models.tokens import token_hash

DAYS, MOST_DAYS = 90, 366
MOST = 50  # live tokens of one person
PREFIX = 12
SIGN_IN = "sign-in"  # the name of those that POST auth/token/ gives
MOST_SIGN_INS = 20
# What each scope is for, in the order in which they widen.
MAY = {
    ApiToken.Scope.READ: "read what any member of your projects can read, and change nothing",
    ApiToken.Scope.JUDGE: "also annotate: rate, compare, vote, attack",
    ApiToken.Scope.RESEARCH: "also import, export, freeze datasets, start and stop runs, talk with models",
    ApiToken.Scope.MANAGE: "everything that you may do, including settings, people, webhooks and tokens",
}


def make(*, user: User, name: str, scope: str, days: int = DAYS) -> tuple[ApiToken, str]:
    """Make a token, and return it with its secret. Raises Refused."""
    require_to_make(user)
    name = name.strip()
    if not name or len(name) > 60 or not name.isprintable():
        raise Refused(name="Enter a name of 1 to 60 characters, such as the program or machine that uses it.")
    if scope not in ApiToken.Scope.values:
        raise Refused(scope=f"{scope!r} is unknown; use one of {', '.join(ApiToken.Scope.values)}.")
    if not 1 <= days <= MOST_DAYS:
        raise Refused(days=f"{days} is not a number of days from 1 to {MOST_DAYS}.")
    if live_of(user).count() >= MOST:
        raise Refused(409, name=f"You already have {MOST} tokens; revoke those that no program uses.")
    return _make(user, name, scope, timedelta(days=days))


def require_to_make(person: User) -> None:
    """Require who may make or revoke tokens: somebody signed in, or a token of full scope; a narrow one must not widen
    itself."""
    if person.token_scope not in ("", ApiToken.Scope.MANAGE):
        raise Refused(
            403, token="This token cannot create or revoke tokens; sign in, or use a token with the scope manage."
        )


def sign_in(user: User) -> str:
    """Make a token for who has just given their password. The newest twenty of these go on working."""
    with transaction.atomic():
        old = live_of(user).filter(name=SIGN_IN).order_by("-id").values_list("pk", flat=True)[MOST_SIGN_INS - 1 :]
        ApiToken.objects.filter(pk__in=list(old)).update(revoked_at=timezone.now())
        return _make(user, SIGN_IN, ApiToken.Scope.MANAGE, timedelta(days=DAYS))[1]


def renew(*, token: ApiToken) -> str:
    """Replace the token by one of the same name, scope and lifetime, and return its secret."""
    with transaction.atomic():
        revoke(token=token, by=token.user)
        return _make(token.user, token.name, token.scope, token.expires_at - token.created_at)[1]


def revoke(*, token: ApiToken, by: User) -> None:
    with transaction.atomic():
        if not ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()):
            raise Refused(409, token="The token is already revoked.")
        audit.record(action="token.revoked", about=token, by=by)


def revoke_all(user: User) -> None:
    live_of(user).update(revoked_at=timezone.now())


def live_of(user: User) -> QuerySet[ApiToken]:
    """Return those that work now, newest first."""
    return ApiToken.objects.filter(user=user, revoked_at=None, expires_at__gt=timezone.now())


def _make(user: User, name: str, scope: str, lasts: timedelta) -> tuple[ApiToken, str]:
    secret = f"assay_{secrets.token_urlsafe(32)}"
    with transaction.atomic():
        now = timezone.now()
        token = ApiToken.objects.create(
            user=user,
            name=name,
            scope=scope,
            prefix=secret[:PREFIX],
            secret_hash=token_hash(secret),
            created_at=now,
            expires_at=now + lasts,
        )
        about = f"{token}, {scope}, until {token.expires_at:%Y-%m-%d}"
        audit.record(action="token.made", about=about, by=user)
    return token, secret
