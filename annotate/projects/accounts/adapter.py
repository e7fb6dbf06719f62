"""Accounts by django-allauth: who may sign up, and a second factor for those who want one."""

from __future__ import annotations

import time
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.app_settings import REAUTHENTICATION_TIMEOUT
from allauth.account.internal.flows.login import get_authentication_records
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode

from annotate.core import audit
from annotate.core.counting import count, remaining, start_anew
from annotate.core.errors import Refused, TooMany
from annotate.core.visitors import network_of
from annotate.models import Invitation, Project, User
from annotate.projects import invitations
from annotate.projects.accounts import actions as tokens
from annotate.projects.accounts import password_waits

# Signed cookies, of what was opened before signing in. A session would be a row for every passer-by.
INVITED = "invitation"  # the token of an invitation
JOINING = "joining"  # the slug of an open project
_REMEMBERED_SECONDS = 3600
TRIES, SECONDS = 20, 60
TRIES_OF_ADDRESS = 200  # a minute, for all names together: a school signs in at nine, a list of names takes days
POSTS_OF_ADDRESS = 20  # a minute, of sign-ups or lost passwords: as allauth allows one address
CODES, CODE_SECONDS = 10, 300


def require_patience(*, name: str, address: str, browser: str = "", wider: tuple[tuple[str, int], ...] = ()) -> None:
    """Count a try for one name from one address, so many a minute: against guessing, by page and by program alike.
    Wrong passwords for one name from wherever wait ever longer (`password_waits`). Raises TooMany."""
    key = _tries_key(name, address)
    if count(key, seconds=SECONDS) > TRIES:
        wait = remaining(key, seconds=SECONDS)
        raise TooMany(wait, password="Too many tries for this name. Wait a minute, then try again.")
    for network, factor in [(address, 1), *wider] if address else []:
        everybody = f"sign-in:{network}"
        if count(everybody, seconds=SECONDS) > TRIES_OF_ADDRESS * factor:
            wait = remaining(everybody, seconds=SECONDS)
            raise TooMany(wait, password="Too many tries from your network address. Wait a minute, then try again.")
    password_waits.require_no_wait(name=name, browser=browser)


def require_patience_of_network(*, action: str, wider: tuple[tuple[str, int], ...]) -> None:
    """Count a sign-up or a lost password for the wider networks; allauth counts the address. Raises TooMany."""
    for network, factor in wider:
        key = f"{action}:{network}"
        if count(key, seconds=SECONDS) > POSTS_OF_ADDRESS * factor:
            raise TooMany(
                remaining(key, seconds=SECONDS),
                network="Too many tries from your network address. Wait a minute, then try again.",
            )


def was_right(*, name: str, address: str, browser: str = "") -> None:
    """Reset the counts of a name whose password was known; the address's count goes on."""
    start_anew(_tries_key(name, address))
    password_waits.end_wait(name=name, browser=browser)


def _tries_key(name: str, address: str) -> str:
    return f"sign-in:{address}:{password_waits.name_hash(name)}"


def require_patience_with_codes(user: User) -> None:
    """Count a code for one person, from wherever: six digits are soon tried by whoever has the password. Raises
    TooMany."""
    key = f"code:{user.pk}"
    if count(key, seconds=CODE_SECONDS) > CODES:
        wait = remaining(key, seconds=CODE_SECONDS)
        raise TooMany(wait, code=f"Too many codes. Wait {wait // 60 + 1} minutes, then enter the newest code.")


def is_second_factor_right(user: User, code: str) -> bool:
    """Return whether the code is right, by app or by recovery code; each code works once."""
    require_patience_with_codes(user)
    text = code.replace(" ", "").strip()
    return any(one.wrap().validate_code(text) for one in Authenticator.objects.filter(user=user))


def has_second_factor(user: User) -> bool:
    return is_mfa_enabled(user)


def note_sign_in(*, user: User, means: str) -> None:
    """Record a sign-in; `means` is page or program."""
    audit.record(action="account.signed in", about=f"{user.username}, by {means}", by=user)


class EndsTheTokens:
    """End a person's tokens, and the wait after wrong passwords, with their password. In AUTH_PASSWORD_VALIDATORS, as
    whatever wants to know of a new password: by page, administration or command.

    Who changes a password wants whoever knew the old one out. Other sessions end by Django itself.
    """

    def validate(self, password: str, user: User | None = None) -> None:
        pass

    def get_help_text(self) -> str:
        return "A later change of the password signs you out everywhere else and revokes your API tokens."

    def password_changed(self, password: str, user: User) -> None:
        tokens.revoke_all(user)
        password_waits.end_wait(name=user.username)


def passwords_sign_in() -> bool:
    """Return whether passwords of this site sign anybody in, or only a provider of single sign-on does."""
    return settings.SINGLE_SIGN_ON is None or settings.SINGLE_SIGN_ON.has_passwords


def has_way_in(request: HttpRequest) -> bool:
    """Return whether anybody may make an account, or whoever asks has opened an invitation or can join a project."""
    if settings.SIGN_UP_IS_OPEN or opened_invitation(request):
        return True
    return Project.objects.filter(open_sign_up=True, is_public=True).exists()


def opened_invitation(request: HttpRequest) -> Invitation | None:
    """Return the invitation that was opened in this browser before, while it can be accepted."""
    return invitations.standing(_remembered(request, INVITED))


class AccountAdapter(DefaultAccountAdapter):
    """Sign-up is open to all where the installation says so, else to the invited and to those who join."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return passwords_sign_in() and has_way_in(request)

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        """Return the next address: an invitation that was opened before is taken up as soon as it is known who opened
        it."""
        return _arrive(request) or super().get_login_redirect_url(request)

    def get_signup_redirect_url(self, request: HttpRequest) -> str:
        return _arrive(request) or super().get_signup_redirect_url(request)

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        """Return whether somebody shows once more who they are, before what is sensitive. Whoever has no password here
        and no second factor does so at the provider of single sign-on, unless they have just come from there."""
        request = context.request
        if not super().is_reauthentication_required(app=app, **kwargs):
            return False
        if settings.SINGLE_SIGN_ON is None or self.get_reauthentication_methods(request.user):
            return True
        if _came_from_provider(request):
            return False
        address = reverse("openid_connect_login", args=[settings.SINGLE_SIGN_ON.provider_id])
        raise ImmediateHttpResponse(redirect(f"{address}?{urlencode({'next': request.get_full_path()})}"))

    def post_login(self, request: HttpRequest, user: Any, **kwargs: Any) -> HttpResponse:
        """Return where they go next. Remember the browser, and forget what led them here: the next person at it was
        not invited."""
        brought = [name for name in (INVITED, JOINING) if name in request.COOKIES]
        response: HttpResponse = super().post_login(request, user, **kwargs)
        for name in brought:
            if name not in request.COOKIES:
                response.delete_cookie(name)
        password_waits.remember_browser(request, response, user.username)
        return response

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        if settings.EMAIL_NOTICES_FROM:
            super().send_mail(template_prefix, email, context)

    def get_from_email(self) -> str:
        return settings.EMAIL_NOTICES_FROM

    def get_client_ip(self, request: HttpRequest) -> str:
        """Return what its limits count by: behind proxies, whoever is in front of them."""
        return network_of(request) or "unknown"


def _came_from_provider(request: HttpRequest) -> bool:
    """Return whether the provider has said within five minutes who this is."""
    records = get_authentication_records(request, request.user)
    moments = [record["at"] for record in records if record.get("method") == "socialaccount"]
    return bool(moments) and time.time() - moments[-1] < REAUTHENTICATION_TIMEOUT


class SecondFactorAdapter(DefaultMFAAdapter):
    def send_notification_mail(self, *args: Any, **kwargs: Any) -> None:
        if settings.EMAIL_NOTICES_FROM:
            super().send_notification_mail(*args, **kwargs)


def remember_invitation(response: HttpResponse, token: str) -> None:
    """Have the browser bring along which invitation its owner has opened, until there is an account."""
    _remember(response, INVITED, token)


def remember_joining(response: HttpResponse, slug: str) -> None:
    """Have the browser bring along which open project its owner wants to join, until there is an account."""
    _remember(response, JOINING, slug)


def _remember(response: HttpResponse, name: str, value: str) -> None:
    response.set_signed_cookie(
        name, value, max_age=_REMEMBERED_SECONDS, httponly=True, samesite="Lax", secure=settings.SESSION_COOKIE_SECURE
    )


def _remembered(request: HttpRequest, name: str) -> str:
    return request.get_signed_cookie(name, default="", max_age=_REMEMBERED_SECONDS) or ""


def _joining(request: HttpRequest) -> str:
    """Return the open project that was to be joined, unless that has happened since."""
    slug = _remembered(request, JOINING)
    is_in = isinstance(request.user, User) and request.user.memberships.filter(project__slug=slug).exists()
    return "" if is_in else slug


def _arrive(request: HttpRequest) -> str:
    """Return where an invitation or an open project has led this person, now that they are signed in."""
    user = request.user
    token, slug = _remembered(request, INVITED), _joining(request)
    for name in (INVITED, JOINING):
        request.COOKIES.pop(name, None)
    if not isinstance(user, User) or not (token or slug):
        return ""
    try:
        project = (
            invitations.accept(token=token, by=user).project if token else invitations.join(slug=slug, by=user).project
        )
    except Refused as refused:
        messages.error(request, " ".join(refused.errors.values()))
        return ""
    messages.success(request, f"Welcome to {project.name}.")
    return reverse("project", args=[project.slug])
