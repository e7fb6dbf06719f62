"""Accounts whose passwords this machine makes and keeps: in ASSAY_DATA/accounts.json, for its owner's eyes alone.

The one module here that knows Django.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import make_password

from annotate.models import Membership, Project, Role, User
from common import atomic_files

from .session import Account


def password_file() -> Path:
    return settings.DATA_DIR / "accounts.json"


def simulated(project: Project, count: int) -> list[Account]:
    """Return that many simulated annotators who are members of the project, made if need be."""
    return [
        with_role(project, f"simulated-{number}", Role.ANNOTATOR, is_simulated=True) for number in range(1, count + 1)
    ]


def with_role(project: Project | None, username: str, role: Role, **flags: bool) -> Account:
    """Return a user with that role and a password that stands in the file. A user who stands already keeps both."""
    account = kept(username, **flags)
    if project is not None:
        user = User.objects.get(username=username)
        Membership.objects.get_or_create(project=project, user=user, defaults={"role": role})
    return account


def kept(username: str, **flags: Any) -> Account:
    """Return a user whose password this machine keeps. Raises ValueError for a user whom somebody else made."""
    passwords = _read()
    if username not in passwords:
        if User.objects.filter(username=username).exists():
            raise ValueError(
                f"The user {username} exists already, and {password_file()} has no password for it: "
                "rename that user, or add the password to the file."
            )
        # Written before the user is made: no password is ever lost to a crash.
        passwords[username] = secrets.token_urlsafe(9)
        _write(passwords)
    if not User.objects.filter(username=username).exists():
        flags = {**flags, "password": make_password(passwords[username])}  # slow by design: before anything is written
    User.objects.get_or_create(username=username, defaults=flags)
    return Account(username, passwords[username])


def _read() -> dict[str, str]:
    path = password_file()
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _write(passwords: dict[str, str]) -> None:
    with atomic_files.replacing(password_file()) as partial:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(passwords, file, indent=2)
