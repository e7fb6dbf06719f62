"""What a dialect says to a server and hears from it. Pure: whoever calls brings the connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reply:
    """An HTTP answer. `text` is what the server said, for logs; it is never shown to people of the site."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        """Return the body; None for what is no JSON."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return None


# (method, path, body) -> reply. A path with a leading slash is from the server's root, another below its /v1.
# Raises an exception of the caller's where no answer comes.
Send = Callable[[str, str, Any], Reply]


@dataclass(frozen=True)
class Adapter:
    """A child as its server is told of it: what it is called there, and where the server finds its folder."""

    name: str
    folder: str
    file_stem: str  # of an exported GGUF adapter


@dataclass(frozen=True)
class Loaded:
    """`request_fields` go into each request that is for this adapter, `base_fields` into those for its base."""

    request_fields: Mapping[str, Any] = field(default_factory=dict)
    base_fields: Mapping[str, Any] = field(default_factory=dict)


class NotLoaded(Exception):
    """Why a server did not take an adapter, in words that anyone may read; `detail` is what it said, for logs."""

    def __init__(self, what: str, remedy: str, detail: str = "", *, is_full: bool = False) -> None:
        super().__init__(f"{what} {remedy}")
        self.what, self.remedy, self.detail, self.is_full = what, remedy, detail, is_full


def error_text(reply: Reply) -> str:
    """Return the message of an error in any of the usual forms: `error.message`, `message`, `detail`, `error`."""
    body = reply.json
    if isinstance(body, dict):
        error = body.get("error", body)
        if isinstance(error, dict):
            return str(error.get("message") or error.get("detail") or reply.text)
        return str(error)
    return reply.text


def of_status(reply: Reply) -> NotLoaded:
    """Return what a status tells that no dialect knows better."""
    detail = f"HTTP {reply.status}: {reply.text[:500]}"
    if reply.status in (401, 403):
        return NotLoaded("The server does not accept the key of its base.", "Enter another key for the base.", detail)
    if reply.status == 429:
        return NotLoaded("The server is busy.", "Assay tries again automatically.", detail)
    return NotLoaded(f"The server could not load the adapter (HTTP {reply.status}).", "Its own log says why.", detail)
