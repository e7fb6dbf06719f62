"""A real OpenID Connect server on this machine, in a thread, and a browser's way through it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import NamedTemporaryFile
from typing import Any

import httpx
from django.test import Client
from oidc_provider_mock import User, run_server_in_thread

from config.oidc_settings import SingleSignOn, single_sign_on

PEOPLE = {
    "ada": {"email": "ada@example.org", "email_verified": True, "preferred_username": "ada", "amr": ["pwd", "mfa"]},
    "ben": {"email": "ben@elsewhere.org", "email_verified": True, "preferred_username": "ben", "amr": ["pwd"]},
    "eve": {"email": "ada@example.org", "email_verified": False, "preferred_username": "ada"},
}


@dataclass(frozen=True)
class OidcServer:
    address: str

    secret_file: str

    def settings(self, **more: str) -> SingleSignOn:
        variables = {
            "ASSAY_OIDC_ISSUER": self.address,
            "ASSAY_OIDC_CLIENT_ID": "assay",
            "ASSAY_OIDC_SECRET_FILE": self.secret_file,
        }
        provider = single_sign_on({**variables, **more})
        assert provider is not None
        return provider

    def sign_in(self, client: Client, address: str, person: str) -> Any:
        """Follow the button, agree as this person, and return the site's answer to what the provider says."""
        asked = client.get(address)
        assert asked.status_code == 302 and asked.url.startswith(self.address), asked.status_code
        assert "code_challenge=" in asked.url and "state=" in asked.url
        agreed = httpx.post(asked.url, data={"sub": person}, trust_env=False)
        assert agreed.status_code == 302, agreed.text
        return client.get("/" + agreed.headers["location"].split("/", 3)[3])


@contextmanager
def oidc_server() -> Iterator[OidcServer]:
    people = [User(sub=sub, claims=claims) for sub, claims in PEOPLE.items()]
    with run_server_in_thread(user_claims=people) as server, NamedTemporaryFile("w") as secret:
        secret.write("a secret\n")
        secret.flush()
        yield OidcServer(f"http://localhost:{server.server_port}", secret.name)
