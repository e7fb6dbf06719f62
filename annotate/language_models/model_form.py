"""The fields of a model's forms: read from what was sent, and shown again with what is wrong beside each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from annotate.core.errors import Refused
from annotate.language_models.model_settings import ModelSettings, lines_of_options, options_of_lines
from annotate.language_models.serving import address_of
from annotate.models import LanguageModel


@dataclass(frozen=True)
class Field:
    """A number of the form: how it is called, what it does, and what stands in it."""

    name: str
    label: str
    note: str
    value: Any = ""
    said: str = ""  # what is wrong


_SAMPLING = (
    ("temperature", "Temperature", "0 takes the most likely token"),
    ("top_p", "Top p", "the most likely tokens with this total probability"),
    ("max_new_tokens", "Max new tokens", "more for a reasoning model"),
)
_LIMITS = (
    ("concurrency", "Concurrent requests", "per process; check the limit of the provider"),
    ("prompt_price", "Dollars per million prompt tokens", "for the cost of runs; empty: not counted"),
    ("completion_price", "Dollars per million completion tokens", "for the cost of runs; empty: not counted"),
)
_WHOLE = ("max_new_tokens", "concurrency")
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(,\d{3})+(\.\d*)?")
_EMPTY = ("temperature", "top_p", "max_new_tokens", "prompt_price", "completion_price")  # may be left so


def settings_of(fields: Mapping[str, str]) -> ModelSettings:
    """Return what a form says of how a model is asked. Raises Refused, 400, with each field that is none."""
    errors: dict[str, str] = {}
    values: dict[str, Any] = {"system_prompt": fields.get("system_prompt", "").strip()}
    for name, _, _ in (*_SAMPLING, *_LIMITS):
        typed = fields.get(name, "").strip()
        try:
            if _THOUSANDS.fullmatch(typed):
                errors[name] = _two_meanings(name, typed[:40])
            elif typed:
                number = typed.replace(",", ".")
                values[name] = int(number) if name in _WHOLE else _number(name, number)
            elif name in _EMPTY:
                values[name] = None
        except (ValueError, InvalidOperation):
            errors[name] = f"{typed[:40]!r} is not a {'whole ' if name in _WHOLE else ''}number."
    try:
        values["template_options"] = options_of_lines(fields.get("template_options", ""))
    except ValueError as error:
        errors["template_options"] = str(error)
    if errors:
        raise Refused(400, **errors)
    settings = ModelSettings(**values)
    if errors := settings.errors():
        raise Refused(400, **errors)
    return settings


def _two_meanings(name: str, typed: str) -> str:
    """Say of commas before three digits that some read them as a point and others as nothing."""
    remedy = f"{typed!r} can be read in two ways: write {typed.replace(',', '')} without a comma"
    return f"{remedy}." if name in _WHOLE or typed.count(",") > 1 or "." in typed else f"{remedy}, or use a point."


def _number(name: str, typed: str) -> float | Decimal:
    number = Decimal(typed)
    if not number.is_finite():
        raise ValueError
    return number if name.endswith("price") else float(number)


def context(
    model: LanguageModel | None, fields: Mapping[str, str] | None = None, errors: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return what the form's template shows: as it was sent, else as the model has it. A key is never shown."""
    values = {name: value for name, value in (fields or {}).items() if name not in ("key", "csrfmiddlewaretoken")}
    if fields is None:
        settings = ModelSettings.of(model) if model is not None else ModelSettings()
        values = {name: _shown(getattr(settings, name)) for name, _, _ in (*_SAMPLING, *_LIMITS)}
        values |= {
            "system_prompt": settings.system_prompt,
            "template_options": lines_of_options(settings.template_options),
            "endpoint": address_of(model) if model is not None and model.endpoint else "",
            "served_name": model.served_name if model is not None else "",
        }
    errors_by_name = dict(errors or {})
    placed_names = {"name", "folder", "endpoint", "served_name", "key", "system_prompt", "template_options"}
    numbers = [name for name, _, _ in (*_SAMPLING, *_LIMITS)]
    placed_names.update(numbers)
    return {
        "values": values,
        "errors": errors_by_name,
        "elsewhere": [text for name, text in errors_by_name.items() if name not in placed_names],
        "sampling": [Field(*each, values.get(each[0], ""), errors_by_name.get(each[0], "")) for each in _SAMPLING],
        "limits": [Field(*each, values.get(each[0], ""), errors_by_name.get(each[0], "")) for each in _LIMITS],
        "is_open": any(name in errors_by_name for name in (*numbers, "system_prompt", "template_options")),
    }


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value.normalize():f}" if isinstance(value, Decimal) else f"{value:g}" if value < 1e6 else str(value)
