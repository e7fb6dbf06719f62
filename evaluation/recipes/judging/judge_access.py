"""Find where a judge model is asked, and with which key.

The key comes from an environment variable of whoever runs the worker, whose name begins with ASSAY_JUDGE_KEY, and goes
nowhere but into the request: not into files, logs or messages. And only to the address that ASSAY_JUDGE_URL with the
same ending holds: whoever writes a config must not be able to have it sent to a server of their own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from training.configs.evaluate import KEY_VARIABLE, URL_VARIABLE
from training.core import run_secrets
from training.core.run_directory import RecipeFailure, Row


@dataclass
class Endpoint:
    """Say where to ask, and how hard. `key` is the secret itself: it has no representation."""

    url: str
    model: str
    key: str = field(default="", repr=False)
    timeout: float = 120.0
    at_once: int = 4
    per_minute: int = 0  # requests; 0: no limit
    max_tokens: int = 1024
    allowed: tuple[str, ...] | None = None  # inside addresses that may be asked; None: as the environment says
    template_options: Mapping[str, Any] = field(default_factory=dict)


def endpoint_of_registered(registered: Row, **bounds: Any) -> Endpoint:
    """Return where a registered judge is asked, by what the worker hands down. `bounds`: timeout, per_minute,
    max_tokens."""
    return Endpoint(
        url=registered["url"],
        model=registered["model"],
        key=run_secrets.key_for("judge", registered["url"]),
        at_once=registered["concurrency"],
        allowed=tuple(registered["allowed"]),
        template_options=registered["template_options"],
        **bounds,
    )


def key_from(variable: str, url: str) -> str:
    """Return the key that `variable` holds; "" without one. Raises RecipeFailure for one that may hold another
    secret."""
    if not variable:
        return ""
    if not variable.startswith(KEY_VARIABLE):
        raise RecipeFailure(
            "judge_key",
            f"judge_key_variable {variable!r} does not start with {KEY_VARIABLE}: it could hold another secret.",
            f"Ask the operator of the worker to set {KEY_VARIABLE} or {KEY_VARIABLE}_<NAME>, and use that.",
        )
    if not os.environ.get(variable):
        raise RecipeFailure(
            "judge_key", f"The environment variable {variable} is not set for the worker.",
            "Ask the operator to set it and to restart the worker.",
        )  # fmt: skip
    address_variable = URL_VARIABLE + variable.removeprefix(KEY_VARIABLE)
    bound = os.environ.get(address_variable, "")
    if not bound:
        raise RecipeFailure(
            "judge_key", f"{address_variable} must name the address of the key in {variable}.",
            f"Ask the operator to set {address_variable} and to restart the worker.",
        )  # fmt: skip
    if bound.rstrip("/") != url.rstrip("/"):
        raise RecipeFailure("judge_key", f"The key in {variable} is not for {url}.", "Use the address of the key.")
    return os.environ[variable]


def checked_url(url: str) -> str:
    """Raises RecipeFailure for what is no address, and for one that carries a password, which a config would keep."""
    url = url.strip()
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a bracket that is not closed, a port that is none
        is_whole = False
    if not is_whole:
        raise RecipeFailure(
            "judge_url", f"judge_url {url.rpartition('@')[2]!r} is not an address.",
            "Use an address such as http://localhost:8100/v1.",
        )  # fmt: skip
    if parts.username or parts.password:
        raise RecipeFailure(
            "judge_url", "judge_url contains a name or a password, which everybody who reads this run would see.",
            "Put the key into an environment variable and enter its name as judge_key_variable.",
        )  # fmt: skip
    return url.rstrip("/")
