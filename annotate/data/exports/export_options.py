"""What the parameters of an address ask of an export, alike for page and API."""

from __future__ import annotations

from typing import Any

from django.http import QueryDict


def asked(sent: QueryDict) -> dict[str, Any]:
    """Return what a form or an address asks for; what is wrong in it is refused by the action."""
    fields: dict[str, Any] = {name: sent[name] for name in ("format", "file", "judge", "side") if sent.get(name)}
    fields |= {plural: tuple(sent.getlist(name)) for name, plural in (("status", "statuses"), ("source", "sources"))}
    fields = {name: value for name, value in fields.items() if value}
    return fields | {"measures": sent.get("measures", "") in ("1", "on", "true")}
