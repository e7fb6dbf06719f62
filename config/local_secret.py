"""Make the SECRET_KEY of an installation that was given none."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path


def local_secret(folder: Path) -> str:
    """Return the key in a folder, made at the first start: sessions survive a restart, and no key is in the source.

    Processes that start at once get the same. One that was killed, or found the disk full, leaves an empty file, which
    counts as none.
    """
    path = folder / "secret-key"
    if path.exists() and (secret := path.read_text()):
        return secret
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not (secret := file.read()):
            secret = secrets.token_urlsafe(50)
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
    return secret
