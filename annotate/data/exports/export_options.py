"""Read the parameters of an export from an address, alike for page and API."""

from __future__ import annotations

from typing import Any

from django.http import QueryDict


def requested_options(query: QueryDict) -> dict[str, Any]:
    """Return the options that a form or an address names; what is wrong in them is refused by the action."""
    fields: dict[str, Any] = {name: query[name] for name in ("format", "file", "judge", "side") if query.get(name)}
    fields |= {plural: tuple(query.getlist(name)) for name, plural in (("status", "statuses"), ("source", "sources"))}
    fields = {name: value for name, value in fields.items() if value}
    return fields | {"measures": query.get("measures", "") in ("1", "on", "true")}
