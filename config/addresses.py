"""List every address of the site with who may use it, and refuse to start where one does not say so.

The permission table of the docs (`script/rights`) and the tests of rights are made from this list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.core.exceptions import ImproperlyConfigured
from django.urls import URLPattern, URLResolver

from annotate.core.rights import Rights, declared_by, require_declared

_API = "api/v1/"


@dataclass(frozen=True)
class Address:
    """Hold a page's or an API's address. `name` is the page's; of the API it is the route below /api/v1/. `route` has
    `<pk>` and the like in it."""

    name: str
    route: str
    rights: Rights | None

    @property
    def is_of_api(self) -> bool:
        return self.route.startswith(_API)


def addresses(patterns: list[Any], others: dict[str, Rights]) -> Iterator[Address]:
    """Yield all but the administration's. `others` declares for views that are not ours, by the name of the page."""
    for route_pattern, pattern in _below(patterns):
        route = _plain(route_pattern)
        if route.startswith("admin/"):
            continue
        name = route.removeprefix(_API).replace("<slug>", "<p>") if route.startswith(_API) else pattern.name or route
        yield Address(name, route, declared_by(pattern.callback) or others.get(name))


def require_all(patterns: list[Any], others: dict[str, Rights], admin_others: set[str]) -> None:
    """Raise ImproperlyConfigured with the addresses, and the classes of the administration, that declare nothing."""
    require_declared(each.route for each in addresses(patterns, others) if each.rights is None)
    classes = {type(each).__name__: each for each in admin.site._registry.values()}
    require_declared(n for n, each in classes.items() if not hasattr(each, "staff_may") and n not in admin_others)


def sockets(patterns: list[Any]) -> Iterator[tuple[str, str]]:
    """Yield the route and the right of each live page. Raises ImproperlyConfigured where one declares nothing."""
    for pattern in patterns:
        right = getattr(pattern.callback.consumer_class, "right", None)
        if right is None:
            raise ImproperlyConfigured(f"Say by `right` who may open {pattern.pattern}.")
        yield _plain(str(pattern.pattern)), right


def _below(patterns: list[Any], before: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _below(pattern.url_patterns, route)
        else:
            yield route, pattern


def _plain(route: str) -> str:
    """Return `models/<pk>/` of `^models/(?P<pk>[^/.]+)/$`."""
    route = re.sub(r"\(\?P<(\w+)>(?:\[[^]]*\]|[^()\[\]])*\)", r"<\1>", route)
    return re.sub(r"<\w+:(\w+)>", r"<\1>", route).replace("^", "").replace("$", "").replace("\\.", ".")
