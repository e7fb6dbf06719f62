"""Settings of single sign-on by OpenID Connect; docs/guides/accounts.md says what they are for."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from annotate.core.network.public_addresses import is_this_machine


@dataclass(frozen=True)
class SingleSignOn:
    """Hold how people sign in by a provider. `provider_id` is part of the callback's address and of each account's
    key: another issuer's people are never taken for this one's."""

    issuer: str
    client_id: str
    secret: str
    label: str
    domains: frozenset[str]
    emails_are_verified: bool
    has_passwords: bool

    @property
    def provider_id(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.issuer.split("//", 1)[1].lower()).strip("-")

    def providers(self) -> dict[str, Any]:
        """Return it as django-allauth's SOCIALACCOUNT_PROVIDERS."""
        more: dict[str, Any] = {"server_url": self.issuer, "uid_field": "sub", "oauth_pkce_enabled": True}
        if self.emails_are_verified:
            more["verified_email"] = True
        app = {"provider_id": self.provider_id, "name": self.label, "client_id": self.client_id, "secret": self.secret}
        return {"openid_connect": {"APPS": [{**app, "settings": more}]}}


def single_sign_on(environment: Mapping[str, str]) -> SingleSignOn | None:
    """Return what the variables say; None where no issuer is named. Raises ImproperlyConfigured."""
    issuer = environment.get("ASSAY_OIDC_ISSUER", "").rstrip("/")
    if not issuer:
        return None
    _require_safe(issuer)
    client_id = environment.get("ASSAY_OIDC_CLIENT_ID", "")
    if not client_id:
        raise ImproperlyConfigured("ASSAY_OIDC_CLIENT_ID is not set: enter what the provider calls this site.")
    return SingleSignOn(
        issuer=issuer,
        client_id=client_id,
        secret=_secret(environment.get("ASSAY_OIDC_SECRET_FILE", "")),
        label=environment.get("ASSAY_OIDC_LABEL", "") or "single sign-on",
        domains=_listed(environment.get("ASSAY_OIDC_DOMAINS", "").lower()),
        emails_are_verified=environment.get("ASSAY_OIDC_EMAILS_VERIFIED") == "1",
        has_passwords=environment.get("ASSAY_OIDC_PASSWORDS", "1") != "0",
    )


def _listed(text: str) -> frozenset[str]:
    return frozenset(part.strip().removeprefix("@") for part in text.split(",") if part.strip())


def _require_safe(issuer: str) -> None:
    parts = urlsplit(issuer)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and is_this_machine(parts.hostname or ""):
        return
    raise ImproperlyConfigured(f"ASSAY_OIDC_ISSUER={issuer} is no address that begins with https://.")


def _secret(path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(f"ASSAY_OIDC_SECRET_FILE={path} cannot be read: {error.strerror}.") from error


SINGLE_SIGN_ON = single_sign_on(os.environ)
