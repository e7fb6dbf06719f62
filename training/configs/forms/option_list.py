"""List the options of each kind of run in the groups of its form, for the API's documentation. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from training.configs import CONFIGS
from training.configs.forms import layouts

FIRST_GROUP = "Main"  # what the form shows at first, without a heading


def grouped_options(kind: str) -> list[tuple[str, list[dataclasses.Field[Any]]]]:
    """Return the options of a kind as (group, fields), in the order in which its form shows them."""
    by_name = {field.name: field for field in dataclasses.fields(CONFIGS[kind])}
    first = [name for name in layouts.first_fields(CONFIGS[kind]) if name in by_name]
    groups = [(FIRST_GROUP, first)]
    for title in layouts.group_titles():
        groups.append((title, [n for n in by_name if n not in first and layouts.group_of(kind, n) == title]))
    return [(title, [by_name[name] for name in names]) for title, names in groups if names]


def options_as_markdown() -> str:
    """Return the options of all kinds as Markdown: kind by kind, group by group, each with its default and its help."""
    return "\n".join(line for kind in CONFIGS for line in _lines(kind))


def _lines(kind: str) -> Iterator[str]:
    yield f"\n**{kind}**\n"
    for title, options in grouped_options(kind):
        yield f"- *{title}*"
        yield from map(_line, options)


def _line(option: dataclasses.Field[Any]) -> str:
    return f"    - `{option.name}` ({_default(option)}): {option.metadata.get('help', '')}"


def _default(option: dataclasses.Field[Any]) -> str:
    return "required" if option.default is dataclasses.MISSING else json.dumps(option.default, ensure_ascii=False)
