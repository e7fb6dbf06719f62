"""Authenticate by token. It runs before each request of a program, so its query is prepared once.

A view may have more asked with it, in one trip to Postgres: its method `questions_with_token` takes the request and the
token's hash, and their answers are the request's `answered_with_token` once the token is known. Nobody knows it yet
when they are asked: a question must find nothing for a token that is none. The view refuses whom they are not for.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone
from rest_framework import authentication, exceptions
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request

from annotate.core.db.prepared import Asked, Prepared, Slot, ask
from annotate.core.errors import Refused
from annotate.models import ApiToken, User
from annotate.models.tokens import token_hash

_SEEN_EVERY = timedelta(hours=1)  # a write for each request would stand in the line of those that judge
_tokens = Prepared(lambda: ApiToken.objects.select_related("user").filter(secret_hash=Slot("secret_hash")))


class TokenAuthentication(authentication.TokenAuthentication):
    """Authenticate the person of a live token, with no more rights than its scope has.

    A narrower scope than manage takes the rights of staff and superusers away from this request's user, in memory.
    """

    def authenticate(self, request: Request) -> tuple[User, Any] | None:
        questions = getattr((request.parser_context or {}).get("view"), "questions_with_token", None)
        self._questions: Callable[[str], list[Asked]] = partial(questions, request) if questions else lambda _: []
        self._answers: list[list[Any]] = []
        user_and_token = super().authenticate(request)
        if user_and_token and user_and_token[1].scope == ApiToken.Scope.READ and request.method not in SAFE_METHODS:
            text = "This token can only read; create one with a wider scope under Your account → API tokens."
            raise Refused(403, token=text)
        if user_and_token and self._answers:
            request.answered_with_token = self._answers  # type: ignore[attr-defined]
        return user_and_token

    def authenticate_credentials(self, key: str) -> tuple[User, Any]:
        secret_hash = token_hash(key)
        tokens, *self._answers = ask(_tokens.asked(secret_hash=secret_hash), *self._questions(secret_hash))
        token = tokens[0] if tokens else None
        if token is None or token.revoked_at is not None:
            raise exceptions.AuthenticationFailed("This token is unknown or revoked.")
        if token.expires_at <= timezone.now():
            raise exceptions.AuthenticationFailed(f"This token expired on {token.expires_at:%Y-%m-%d}.")
        if not token.user.is_active:
            raise exceptions.AuthenticationFailed("The account of this token is inactive or deleted.")
        _note_use(token)
        token.user.token_scope = token.scope
        if token.scope != ApiToken.Scope.MANAGE:
            token.user.is_staff = token.user.is_superuser = False
        return token.user, token


def _note_use(token: ApiToken) -> None:
    now = timezone.now()
    if token.last_used_at is None or token.last_used_at < now - _SEEN_EVERY:
        with transaction.atomic():
            ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
