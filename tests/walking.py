"""Every address of the site, filled in with what `tests.everything` has made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

from tests.everything import INVITED

# What an id or a key stands for, by the word before it in the address.
_ROWS = {
    **{"judge": "assignment", "tutorial": "assignment", "send-back": "assignment", "complaints": "prompt"},
    **{"judges": "owner", "decisions": "candidacy", "again": "delivery", "<kind>": "comparison"},
    **{"evaluations": "run", "talks": "talk", "battles": "battle", "arena": "battle", "gold": "gold"},
}
_WORDS = {"form": "csv", "format": "csv", "name": "model.tar", "uidb36": "1"}


@dataclass(frozen=True)
class Route:
    """`name` is the page's, or for programs the address below /api/v1/ as it is written in the code."""

    name: str
    route: str
    methods: tuple[str, ...]

    @property
    def is_for_programs(self) -> bool:
        return self.route.startswith("api/v1/")

    def address(self, made: dict[str, Any]) -> str:
        """With real ids of what the project has."""
        parts = [_filled(part, before, made) for before, part in _pairs(_plain(self.route))]
        return "/" + "/".join(parts)


def routes() -> Iterator[Route]:
    """All but the administration, which is Django's own and for staff, and signing out."""
    for route, pattern in _below(get_resolver().url_patterns):
        if route.startswith("admin/") or route == "^api/" or pattern.name in ("logout", "account_logout"):
            continue
        if route.startswith("api/v1/"):
            callback: Any = pattern.callback
            offered = getattr(callback, "actions", None) or callback.cls.http_method_names
            methods = tuple(m for m in ("get", "post", "put", "patch", "delete") if m in offered)
            yield Route(_named(route), route, methods)
        else:
            yield Route(pattern.name or route, route, ("get", "post"))


def _below(patterns: list, before: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _below(pattern.url_patterns, route)
        else:
            yield route, pattern


def _plain(route: str) -> str:
    """`^models/(?P<pk>[^/.]+)/$` becomes `models/<pk>/`."""
    route = re.sub(r"\(\?P<(\w+)>(?:\[[^]]*\]|[^()\[\]])*\)", r"<\1>", route)
    return re.sub(r"<\w+:(\w+)>", r"<\1>", route).replace("^", "").replace("$", "").replace("\\.", ".")


def _named(route: str) -> str:
    return _plain(route).removeprefix("api/v1/").replace("<slug>", "<p>")


def _pairs(route: str) -> Iterator[tuple[str, str]]:
    parts = route.split("/")
    return zip(["", *parts], parts, strict=False)


def _filled(part: str, before: str, made: dict[str, Any]) -> str:
    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name == "slug":
            return made["project"].slug
        if name == "kind":
            return "comparison" if before == "votes" else "sft"
        if name in _WORDS:
            return _WORDS[name]
        if name in ("key", "item"):
            return made["key"] if before in ("adjudicate", "disagreements") else "x"
        if name == "token" and before == "invitations":
            return INVITED + made["project"].slug
        row = made["run"] if name == "run_id" else made[_ROWS.get(before, before.rstrip("s"))]
        return str(row.token if name == "token" else row.pk)

    return re.sub(r"<(\w+)>", value, part)
