"""The codes that an app on a phone would show."""

from __future__ import annotations

import time

from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value

SECRET = "JBSWY3DPEHPK3PXP"
STEP = 30  # seconds that a code is shown


def code_now(secret: str = SECRET) -> str:
    return code_at(time.time(), secret)


def code_at(seconds: float, secret: str = SECRET) -> str:
    """Return the code shown at a Unix time."""
    return format_hotp_value(hotp_value(secret, int(seconds) // STEP))
