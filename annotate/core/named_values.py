"""Parse `text=sentence, label=class`: pairs as one types them into a field or on a command line."""

from __future__ import annotations

from annotate.core.errors import Refused


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
