"""Signing in by a provider of OpenID Connect, by django-allauth: who gets an account, and who is told what to do.

A provider's person is theirs by issuer and subject, never by an e-mail address: an address in an account here was
typed in by somebody and is not verified. Whoever has such an account connects it while signed in.
"""

from __future__ import annotations

import logging
from typing import Any

import requests
from allauth.account.models import EmailAddress
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.forms import DisconnectForm
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialLogin
from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.db import transaction
from django.http import HttpRequest
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import urlencode

from annotate.core import audit
from annotate.models import User
from annotate.projects import invitations
from annotate.projects.accounts.adapter import has_way_in, opened_invitation

log = logging.getLogger("assay.accounts")


def button(request: HttpRequest | None) -> dict[str, str] | None:
    """Return label and address of the button to sign in by the provider; None where there is none."""
    if settings.SINGLE_SIGN_ON is None:
        return None
    address = reverse("openid_connect_login", args=[settings.SINGLE_SIGN_ON.provider_id])
    next_page = request.GET.get(REDIRECT_FIELD_NAME, "") if request else ""
    query = "?" + urlencode({REDIRECT_FIELD_NAME: next_page}) if next_page else ""
    return {"label": settings.SINGLE_SIGN_ON.label, "address": address + query}


class SingleSignOnAdapter(DefaultSocialAccountAdapter):
    """Give an account to the invited and to those of an allowed domain; link none by its e-mail address."""

    def list_apps(self, request: HttpRequest, provider: Any = None, client_id: Any = None) -> list[SocialApp]:
        """Return the provider that the operator has named; rows in the database name none."""
        if settings.SINGLE_SIGN_ON is None:
            return []
        of_settings = settings.SINGLE_SIGN_ON.providers()["openid_connect"]["APPS"]
        apps = [SocialApp(provider="openid_connect", **app) for app in of_settings]
        return [
            app
            for app in apps
            if provider in (None, app.provider, app.provider_id) and client_id in (None, app.client_id)
        ]

    def get_requests_session(self) -> requests.Session:
        """Return what asks the provider. While it is down, a page says so."""
        session: requests.Session = super().get_requests_session()
        ask = session.request

        def ask_or_say_so(method: str, url: str, **options: Any) -> requests.Response:
            try:
                answer = ask(method, url, **options)
                if method == "GET":
                    answer.raise_for_status()
            except requests.RequestException as error:
                log.warning("The provider of single sign-on does not answer: %s", error)
                page = render(context.request, "socialaccount/authentication_error.html", {"is_down": True}, status=503)
                raise ImmediateHttpResponse(page) from error
            return answer

        session.request = ask_or_say_so  # type: ignore[method-assign, assignment]
        return session

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Forget an address that the provider has not verified. Stop whoever would get a second account."""
        if sociallogin.is_existing or sociallogin.state.get("process") == "connect":
            return
        sociallogin.email_addresses = [one for one in sociallogin.email_addresses if one.verified]
        email = _email(sociallogin)
        sociallogin.user.email = email
        if email and _has_account(email):
            page = render(request, "socialaccount/email_taken.html", {"email": email}, status=409)
            raise ImmediateHttpResponse(page)

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        """Return whether somebody whom nobody here knows yet gets an account."""
        email, provider = _email(sociallogin), settings.SINGLE_SIGN_ON
        if provider and email and email.rpartition("@")[2].lower() in provider.domains:
            return True
        return bool(email and invitations.open_for(email)) or has_way_in(request)

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> User:
        """Make the account, and a member of whoever was invited by this address. The invitation whose link was opened
        is accepted when they arrive, as everybody's."""
        opened = opened_invitation(request)
        with transaction.atomic():
            user = super().save_user(request, sociallogin, form)
            audit.record(action="account.made", about=f"{user.username}, by single sign-on", by=user)
            for invitation in invitations.open_for(_email(sociallogin)):
                if invitation != opened:
                    invitations.accept_one(invitation, by=user)
        return user

    def on_authentication_error(self, request: HttpRequest, provider: Any, **why: Any) -> None:
        """Write down why a sign-in failed; the page does not say it."""
        log.warning("Single sign-on failed: %s %s", why.get("error"), why.get("exception") or "")


class ConnectionsForm(DisconnectForm):
    """Show the accounts of the provider that the operator has named now."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        provider = settings.SINGLE_SIGN_ON.provider_id if settings.SINGLE_SIGN_ON else ""
        self.accounts = SocialAccount.objects.filter(user=self.request.user, provider=provider)
        self.fields["account"].queryset = self.accounts  # type: ignore[attr-defined]

    @property
    def single_sign_on(self) -> dict[str, str] | None:
        return button(None)


def _has_account(email: str) -> bool:
    """Return whether an account has that address, however it writes it."""
    return any(rows.filter(email__iexact=email).exists() for rows in (User.objects, EmailAddress.objects))


def _email(sociallogin: SocialLogin) -> str:
    """Return the address that the provider has verified, or ""."""
    return next((one.email for one in sociallogin.email_addresses if one.verified), "")
