"""Read what people type into one field: a name, or pairs such as `text=sentence, label=class`."""

from __future__ import annotations

from annotate.core.errors import Refused
from common.texts import is_storable


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
