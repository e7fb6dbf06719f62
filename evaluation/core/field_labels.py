"""Name the fields of a refused form by their labels, as who filled it in sees them; programs read the keys."""

from __future__ import annotations

from collections.abc import Mapping

from annotate.core.errors import Refused


def in_words_of(refused: Refused, labels: Mapping[str, str]) -> dict[str, str]:
    """Return the errors by the labels of their fields. Two fields of one label share a line."""
    errors: dict[str, str] = {}
    for field, text in refused.errors.items():
        label = labels.get(field) or field.replace("_", " ")
        errors[label] = f"{errors[label]} {text}" if label in errors else text
    return errors
