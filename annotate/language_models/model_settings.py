"""Choose how a model is asked: its own sampling, system prompt and template options, before the project's.

What a model leaves empty is as its project says. A model that thinks may need more room than the project's others; one
behind somebody's API costs money and takes only so many requests at a time.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any

from annotate.models import LanguageModel, Project
from annotate.models.language_models import DEFAULT_CONCURRENCY
from common.sampling import BOUNDS, LONGEST_SYSTEM_PROMPT, Sampling, sampling_of
from common.texts import NOT_STORABLE, is_storable

MOST_AT_ONCE = 256
HIGHEST_PRICE = Decimal(100_000)  # dollars for a million tokens
LONGEST_OPTIONS = 1000  # characters of their JSON
_PRICES = ("prompt_price", "completion_price")


@dataclass(frozen=True)
class ModelSettings:
    """Hold what may be set of a model; None: as the project says."""

    temperature: float | None = None
    top_p: float | None = None
    max_new_tokens: int | None = None
    system_prompt: str = ""
    template_options: dict[str, Any] = field(default_factory=dict)
    concurrency: int = DEFAULT_CONCURRENCY
    prompt_price: Decimal | None = None
    completion_price: Decimal | None = None

    @classmethod
    def of(cls, model: LanguageModel) -> ModelSettings:
        return cls(**{each.name: getattr(model, each.name) for each in fields(cls)})

    def apply_to(self, model: LanguageModel) -> None:
        for each in fields(self):
            setattr(model, each.name, getattr(self, each.name))

    def errors(self) -> dict[str, str]:
        """Return what is wrong, by field."""
        errors = {}
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                errors[name] = (
                    f"Enter a number from {low:g} to {high:g}, or leave it empty to use the project's setting."
                )
        if len(self.system_prompt) > LONGEST_SYSTEM_PROMPT:
            errors["system_prompt"] = f"At most {LONGEST_SYSTEM_PROMPT:,} characters."
        elif not is_storable(self.system_prompt):
            errors["system_prompt"] = NOT_STORABLE
        if not 1 <= self.concurrency <= MOST_AT_ONCE:
            errors["concurrency"] = f"Enter a whole number from 1 to {MOST_AT_ONCE}."
        for name in _PRICES:
            price = getattr(self, name)
            if price is not None and not 0 <= price <= HIGHEST_PRICE:
                errors[name] = f"Enter dollars per million tokens, from 0 to {HIGHEST_PRICE:,}."
        return errors | _option_errors(self.template_options)


def _option_errors(options: dict[str, Any]) -> dict[str, str]:
    is_flat = all(map(_is_sendable, options.values()))
    if not is_flat or any(not name.isidentifier() for name in options):
        return {
            "template_options": "Each option needs a name and a number, a text, true or false, such as enable_thinking."
        }
    if len(json.dumps(options)) > LONGEST_OPTIONS:
        return {"template_options": f"At most {LONGEST_OPTIONS:,} characters in all."}
    return {}


def _is_sendable(value: Any) -> bool:
    """Return whether it is one value that JSON, a database and a server take."""
    if isinstance(value, str):
        return is_storable(value)
    return isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))


def options_of_lines(text: str) -> dict[str, Any]:
    """Return the template options of a form: a line each, `name = value`; a value that is no JSON is a text.

    Raises ValueError in words."""
    options: dict[str, Any] = {}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        name, sign, value = (part.strip() for part in line.partition("="))
        if not sign or not name.isidentifier():
            raise ValueError(
                f"Write each option on a line, such as enable_thinking = false; {line[:60]!r} is not an option."
            )
        try:
            options[name] = json.loads(value)
        except (ValueError, RecursionError):
            options[name] = value
    return options


def lines_of_options(options: dict[str, Any]) -> str:
    return "\n".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in options.items())


def sampling_for(project: Project, model: LanguageModel) -> Sampling:
    """Return how this model's answers are drawn in this project."""
    sampling = sampling_of(project)
    for name in BOUNDS:
        if (value := getattr(model, name)) is not None:
            sampling[name] = value  # type: ignore[literal-required]
    return sampling


def system_prompt_for(project: Project, model: LanguageModel) -> str:
    return model.system_prompt or project.system_prompt
