"""Sign in by a page, slowed down against guessing as the API is. The administration signs in here, too."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.forms import LoginForm, ResetPasswordForm, SignupForm
from allauth.core import context
from allauth.mfa.base.forms import AuthenticateForm
from django.conf import settings
from django.core.exceptions import ValidationError

from annotate.core.errors import Refused
from annotate.core.visitors import address_of, wider_of
from annotate.projects.accounts.adapter import (
    passwords_sign_in,
    require_patience,
    require_patience_of_network,
    require_patience_with_codes,
    was_right,
)
from annotate.projects.accounts.password_waits import known_browser
from annotate.projects.accounts.single_sign_on import button

NO_MAIL = (
    "This installation sends no e-mail, so it cannot send you a link. Ask its operator for a new password: "
    "“manage.py changepassword” sets it."
)


NO_PASSWORDS = "Passwords do not sign in here. Use the button to sign in with your organisation's account."


class Posted:
    """Serve pages that say what comes by mail, and must not where none does."""

    @property
    def sends_mail(self) -> bool:
        return bool(settings.EMAIL_NOTICES_FROM)

    @property
    def takes_passwords(self) -> bool:
        return passwords_sign_in()


class ForgottenForm(Posted, ResetPasswordForm):
    def clean(self) -> dict[str, Any]:
        if not self.takes_passwords:
            raise ValidationError(NO_PASSWORDS)
        if not self.sends_mail:
            raise ValidationError(NO_MAIL)
        _count_network("lost password")
        return super().clean()


class SignUpForm(SignupForm):
    def clean(self) -> dict[str, Any]:
        _count_network("sign-up")
        return super().clean()


def _count_network(action: str) -> None:
    try:
        require_patience_of_network(action=action, wider=wider_of(context.request))
    except Refused as refused:
        raise ValidationError(" ".join(refused.errors.values())) from refused


class SignInForm(Posted, LoginForm):
    @property
    def offers_accounts(self) -> bool:
        """Return whether whoever asks could make an account: a link that leads to a closed door helps nobody."""
        return bool(get_adapter().is_open_for_signup(self.request))

    @property
    def single_sign_on(self) -> dict[str, str] | None:
        return button(self.request)

    def clean(self) -> dict[str, Any]:
        if not self.takes_passwords:
            raise ValidationError(NO_PASSWORDS)
        name = self.data.get("login", "")
        address, browser = (address_of(self.request), known_browser(self.request, name)) if self.request else ("", "")
        credentials = {"name": name, "address": address, "browser": browser}
        try:
            require_patience(**credentials, wider=wider_of(self.request) if self.request else ())
        except Refused as refused:
            raise ValidationError(" ".join(refused.errors.values())) from refused
        cleaned = super().clean()
        if self.user is not None:
            was_right(**credentials)
        return cleaned


class CodeForm(AuthenticateForm):
    def clean_code(self) -> str:
        try:
            require_patience_with_codes(self.user)
        except Refused as refused:
            raise ValidationError(" ".join(refused.errors.values())) from refused
        return super().clean_code()
