"""Every address of the site, filled in with what `tests.support.everything` has made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from config.addresses import addresses
from config.urls import OTHERS, urlpatterns
from tests.support.everything import INVITED

# What an id or a key stands for, by the word before it in the address.
_ROWS = {
    **{"judge": "assignment", "tutorial": "assignment", "send-back": "assignment"},
    **{"reviews": "assignment", "complaints": "prompt"},
    **{"judges": "owner", "decisions": "candidacy", "again": "delivery", "<kind>": "comparison"},
    **{"dataset-freezes": "freeze"},
    **{"evaluations": "run", "talks": "talk", "battles": "battle", "arena": "battle", "gold": "gold"},
}
_WORDS = {"provider_id": "x", "step": "model", "form": "csv", "format": "csv", "name": "model.tar", "uidb36": "1"}


@dataclass(frozen=True)
class Route:
    """`name` is the page's, or for programs the address below /api/v1/; `rights` is what its view declares."""

    name: str
    route: str
    rights: dict[str, str]

    @property
    def methods(self) -> tuple[str, ...]:
        """Those that are tried: a page that does not offer one must say so."""
        return tuple(self.rights) if self.is_for_programs else ("get", "post")

    @property
    def is_for_programs(self) -> bool:
        return self.route.startswith("api/v1/")

    def address(self, made: dict[str, Any]) -> str:
        """With real ids of what the project has."""
        parts = [_filled(part, before, made) for before, part in _pairs(self.route)]
        return "/" + "/".join(parts)


def routes() -> Iterator[Route]:
    """All but the administration, which `test_rights` tries, and signing out."""
    for each in addresses(urlpatterns, OTHERS):
        if each.route != "api/" and each.name not in ("logout", "account_logout"):
            yield Route(each.name, each.route, dict(each.rights or {}))


def _pairs(route: str) -> Iterator[tuple[str, str]]:
    parts = route.split("/")
    return zip(["", *parts], parts, strict=False)


def _filled(part: str, before: str, made: dict[str, Any]) -> str:
    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name == "slug":
            return made["project"].slug
        if name == "kind":
            return "comparison" if before in ("votes", "from") else "sft"
        if name == "name" and before == "guides":
            return "serving"
        if name in _WORDS:
            return _WORDS[name]
        if name in ("key", "item"):
            return made["key"] if before in ("adjudicate", "disagreements") else "x"
        if name == "token" and before == "invitations":
            return INVITED + made["project"].slug
        row = made["run"] if name == "run_id" else made[_ROWS.get(before, before.rstrip("s"))]
        return str(row.token if name == "token" else row.pk)

    return re.sub(r"<(\w+)>", value, part)
