"""Write docs/guides/rights.md: who may use each address, as the views declare it. Called by script/rights."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

PLACE = Path(__file__).resolve().parents[1] / "docs" / "guides" / "rights.md"
_HEAD = """# Who may use each address

Made by `script/rights` from what the views declare; do not edit it. What roles are for: [Accounts](accounts.md).

| right | who has it |
|---|---|
{words}

Words with a comma must all hold; `or` is a choice. A superuser may do all. A token does no more than its scope.

Of some rows an address asks for more than it declares: comparisons that move ranks, of two models' answers to
eval prompts, come by `POST comparisons/` from managers alone; single items of a fluency evaluation are for reviewers,
researchers and managers.
"""


def table() -> str:
    """Return the whole page. Django must be set up."""
    from django.contrib import admin

    from annotate.core.rights import RIGHTS
    from config.addresses import addresses
    from config.routing import SOCKETS
    from config.urls import OTHERS, urlpatterns

    listed = list(addresses(urlpatterns, OTHERS))
    pages = [(f"/{each.route}", _rights_text(each.rights)) for each in listed if not each.is_of_api]
    api = [(f"/{each.route}", _rights_text(each.rights)) for each in listed if each.is_of_api]
    classes = sorted(admin.site._registry.items(), key=lambda pair: pair[0]._meta.label)
    offered = [(model._meta.label, _offered(getattr(each, "staff_may", None))) for model, each in classes]
    return "\n".join(
        [
            _HEAD.format(words="\n".join(f"| {word} | {meaning} |" for word, meaning in RIGHTS.items())),
            *_section("Pages", ("page", "who"), pages),
            *_section("API", ("address", "who"), api),
            *_section("Live pages", ("websocket", "who"), [(f"/{route}", right) for route, right in SOCKETS.items()]),
            *_section("Administration, for staff with Django's permission", ("rows", "what"), offered),
        ]
    )


def _rights_text(rights: object) -> str:
    assert isinstance(rights, dict), "config.urls has refused what declares nothing"
    if len(set(rights.values())) == 1:
        return f"{', '.join(rights).upper()}: {next(iter(rights.values()))}"
    return "; ".join(f"{method.upper()}: {right}" for method, right in rights.items())


def _offered(staff_may: frozenset[str] | None) -> str:
    every = ("view", "add", "change", "delete")
    return ", ".join(action for action in every if staff_may is None or action in staff_may)


def _section(title: str, head: tuple[str, str], rows: Iterable[tuple[str, str]]) -> list[str]:
    lines = [f"| `{name}` | {right} |" for name, right in sorted(rows)]
    return [f"## {title}", "", f"| {head[0]} | {head[1]} |", "|---|---|", *lines, ""]


if __name__ == "__main__":
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup(set_prefix=False)
    PLACE.write_text(table(), encoding="utf-8")
