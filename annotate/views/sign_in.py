"""Signing in by a page: Django's own forms, slowed down against guessing as the API is."""

from __future__ import annotations

import hashlib
from typing import Any

from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError

from annotate.counting import count

TRIES, SECONDS = 20, 60


class SignInForm(AuthenticationForm):
    """So many tries a minute for one name from one address."""

    def clean(self) -> dict[str, Any]:
        name = hashlib.sha256(self.data.get("username", "").encode()).hexdigest()
        address = self.request.META.get("REMOTE_ADDR", "") if self.request else ""
        if count(f"sign-in:{address}:{name}", seconds=SECONDS) > TRIES:
            raise ValidationError("Too many tries for this name. Wait a minute, then try again.")
        return super().clean()


class StaffSignInForm(SignInForm, AdminAuthenticationForm):
    """Of the administration."""
