"""Signing in by a page, slowed down against guessing as the API is. The administration signs in here, too."""

from __future__ import annotations

from typing import Any

from allauth.account.forms import LoginForm
from django.core.exceptions import ValidationError

from annotate.accounts import require_patience
from annotate.errors import Refused


class SignInForm(LoginForm):
    def clean(self) -> dict[str, Any]:
        address = self.request.META.get("REMOTE_ADDR", "") if self.request else ""
        try:
            require_patience(name=self.data.get("login", ""), address=address)
        except Refused as refused:
            raise ValidationError(" ".join(refused.errors.values())) from refused
        return super().clean()
