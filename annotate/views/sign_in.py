"""Signing in by a page, slowed down against guessing as the API is. The administration signs in here, too."""

from __future__ import annotations

from typing import Any

from allauth.account.forms import LoginForm
from allauth.mfa.base.forms import AuthenticateForm
from django.core.exceptions import ValidationError

from annotate.accounts import require_patience, require_patience_with_codes
from annotate.errors import Refused
from annotate.visitors import address_of


class SignInForm(LoginForm):
    def clean(self) -> dict[str, Any]:
        address = address_of(self.request) if self.request else ""
        try:
            require_patience(name=self.data.get("login", ""), address=address)
        except Refused as refused:
            raise ValidationError(" ".join(refused.errors.values())) from refused
        return super().clean()


class CodeForm(AuthenticateForm):
    def clean_code(self) -> str:
        try:
            require_patience_with_codes(self.user)
        except Refused as refused:
            raise ValidationError(" ".join(refused.errors.values())) from refused
        return super().clean_code()
