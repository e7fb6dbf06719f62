"""Read what people type into one field: a name, pairs such as `text=sentence, label=class`, or YAML."""

from __future__ import annotations

import yaml

from annotate.core.errors import Refused
from common.texts import is_storable

_DEEPEST = 50  # levels of YAML: what is read here has five


class NotPlain(ValueError):
    """Raised for YAML with aliases, by which few lines become many, or that is nested too deep."""


def checked_name(name: object, longest: int = 120, purpose: str = "") -> str:
    """Return a name without the blanks around it. Refused, naming `name`, for none and for one that cannot be kept;
    `purpose` goes on with that sentence."""
    name = name.strip() if isinstance(name, str) else ""
    if not name or len(name) > longest or not is_storable(name):
        raise Refused(400, name=f"Enter a name of 1 to {longest} characters{purpose}.")
    return name


def named_values(text: str, field: str) -> dict[str, str]:
    """Return the pairs; empty text is an empty dict. Refused, naming `field`, for what is no such list."""
    pairs: dict[str, str] = {}
    for part in filter(str.strip, text.replace("\n", ",").split(",")):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value):
            raise Refused(400, **{field: f"{part.strip()!r} is not a pair; use name=value, separated by commas."})
        if name in pairs:
            raise Refused(400, **{field: f"{name!r} is there twice; remove one."})
        pairs[name] = value
    return pairs


def require_plain_yaml(text: str) -> None:
    """Raise NotPlain, in words, at the first such place, and YAMLError where it is no YAML until there.

    Looked at step by step: PyYAML takes minutes to read some ten thousand open brackets to their end."""
    depth = 0
    for event in yaml.parse(text):
        if isinstance(event, yaml.AliasEvent):
            raise NotPlain("Anchors (&) and aliases (*) are not allowed; write each value.")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise NotPlain(f"It is nested more than {_DEEPEST} levels deep; remove brackets that are not closed.")
