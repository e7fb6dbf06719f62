"""Declare the kinds of parts that a reward may have, one frozen dataclass each, with what makes one invalid. Pure.

A reward is the sum over its parts of weight × value, the value held within `low` and `high`. Verifiers give 0 to 1, a
judge's grade is scaled to 0 to 1, and a reward model gives its score in standard deviations of its own training.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from common.languages import language_tags
from training.configs.options import option

_FAR = 1e9
_LARGEST_PATTERN = 100_000  # characters, each count in braces laid out
_TOO_LARGE = "has counts in braces that make it too large; use smaller counts, or + and *."
_COUNTED = re.compile(r"\{\s*(\d*)\s*(?:,\s*(\d*)\s*)?\}")


@dataclass(frozen=True, kw_only=True)
class RewardPart:
    """Hold what all parts have."""

    weight: float = option(1.0, "what its value is multiplied by; below 0 it is a penalty", low=-1e6, high=1e6)
    low: float | None = option(None, "lower values count as this", low=-_FAR, high=_FAR)
    high: float | None = option(None, "higher values count as this", low=-_FAR, high=_FAR)

    def problems(self) -> dict[str, str]:
        """Return what is wrong with it by field, beyond the bounds of single fields."""
        if self.low is not None and self.high is not None and self.low >= self.high:
            return {"low": f"must be below high, {self.high:g}."}
        return {}


@dataclass(frozen=True, kw_only=True)
class ModelPart(RewardPart):
    """A reward model, or an ensemble: the mean of its scores less spread_penalty times their spread."""

    models: str = option("", "names of reward models, with commas between them; empty: the run's own")
    spread_penalty: float = option(
        0.0, "the standard deviation over the models, times this, is subtracted", low=0, high=1e6
    )
    low: float | None = option(-3.0, "in standard deviations of the models' training", low=-_FAR, high=_FAR)
    high: float | None = option(3.0, "in standard deviations of the models' training", low=-_FAR, high=_FAR)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of its models; () for the run's own alone."""
        return tuple(name for name in (part.strip() for part in self.models.split(",")) if name)

    def problems(self) -> dict[str, str]:
        errors = super().problems()
        if twice := next((name for name in self.names if self.names.count(name) > 1), None):
            errors["models"] = f"names {twice} twice; name each model once."
        if self.spread_penalty and len(self.names) < 2:
            errors["spread_penalty"] = "needs two or more models, between which scores can differ; name them in models."
        return errors


@dataclass(frozen=True, kw_only=True)
class ExactPart(RewardPart):
    """1 where the text is the prompt's `answer`, letter case, spaces and marks around it aside."""

    where: str = option("whole", "what is compared", choices=("whole", "last_line"))
    ignore_case: bool = option(True, "whether A is a")


@dataclass(frozen=True, kw_only=True)
class NumberPart(RewardPart):
    """1 where the last number of the text is the last number of the prompt's `answer`."""

    tolerance: float = option(1e-6, "by how much it may differ", low=0, high=_FAR)
    relative_tolerance: float = option(0.0, "or by which share of the right number", low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class RegexPart(RewardPart):
    """1 where a regular expression matches; one that takes too long does not."""

    pattern: str = option("", "a regular expression")
    where: str = option("anywhere", "what has to match", choices=("anywhere", "whole", "last_line"))
    ignore_case: bool = option(False, "whether A is a")

    def problems(self) -> dict[str, str]:
        errors = super().problems()
        if not self.pattern:
            return errors | {"pattern": r"is missing; give a regular expression, such as pattern='Answer: \d+'."}
        return errors | ({"pattern": text} if (text := pattern_problem(self.pattern)) else {})


@dataclass(frozen=True, kw_only=True)
class JsonSchemaPart(RewardPart):
    """1 where the text, or its last fenced block, is JSON that fits a schema (draft 2020-12)."""

    schema: str = option("", "the schema, as JSON")

    def problems(self) -> dict[str, str]:
        errors = super().problems()
        if not self.schema:
            return errors | {"schema": """is missing; give a JSON schema, such as schema='{"type": "object"}'."""}
        import jsonschema

        try:
            schema = json.loads(self.schema)
            jsonschema.Draft202012Validator.check_schema(schema)
            patterns = list(_patterns_in(schema))
            if sum(map(_size_of, patterns)) > _LARGEST_PATTERN:
                return errors | {"schema": "has patterns that are too large together; use fewer or shorter ones."}
            problems = ((pattern, pattern_problem(pattern)) for pattern in patterns)
            bad = next(((pattern, text) for pattern, text in problems if text), None)
        except RecursionError:
            errors["schema"] = "is nested too deeply; use fewer levels."
        except ValueError as error:
            errors["schema"] = f"is no JSON: {error}; correct it."
        except jsonschema.SchemaError as error:
            errors["schema"] = f"is no JSON schema: {error.message[:200]}; correct it."
        else:
            errors |= {"schema": f"has the pattern {bad[0][:60]!r}, which {bad[1]}"} if bad else {}
        return errors


def pattern_problem(pattern: str) -> str:
    """Return what is wrong with a regular expression; "" where nothing is.

    The compiler lays out counted repeats, those within each other too: (a{9999}){9999} would take all memory there is.
    So the size that all counts together may make is bounded before anything is compiled.
    """
    import regex  # the processes that never read a pattern need not load it

    if _size_of(pattern) > _LARGEST_PATTERN:
        return _TOO_LARGE if len(pattern) <= _LARGEST_PATTERN else "is too long; shorten it."
    try:
        regex.compile(pattern)
    except (regex.error, RecursionError) as error:
        return f"is no regular expression: {error}; correct it."
    return ""


def _size_of(pattern: str) -> int:
    """Return its size with each count in braces laid out; where that is too large, some number that is."""
    size = max(len(pattern), 1)
    for counts in _COUNTED.findall(pattern):
        size *= max(1, *(int(digits or 0) if len(digits) < 10 else 10**9 for digits in counts))
        if size > _LARGEST_PATTERN:
            break
    return size


def _patterns_in(schema: Any) -> Iterator[str]:
    """Yield the regular expressions in a schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        if isinstance(schema.get("patternProperties"), dict):
            yield from schema["patternProperties"]
    inner = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    for value in inner:
        yield from _patterns_in(value)


@dataclass(frozen=True, kw_only=True)
class LanguagePart(RewardPart):
    """1 where the text is in a language."""

    language: str = option("", "its code, such as de; empty: that of the prompt")
    confidence: float = option(0.5, "least probability of the language", low=0, high=1)

    def problems(self) -> dict[str, str]:
        errors = super().problems()
        try:
            language_tags.parse_tag(self.language)
        except ValueError as error:
            errors["language"] = str(error)
        return errors


@dataclass(frozen=True, kw_only=True)
class LengthPart(RewardPart):
    """1 where the text has so many words or characters, 0 where it has fewer or more."""

    minimum: int = option(0, "fewest", low=0, high=10**6)
    maximum: int | None = option(None, "most; empty: no limit", low=0, high=10**6)
    unit: str = option("words", "what is counted", choices=("words", "characters"))

    def problems(self) -> dict[str, str]:
        errors = super().problems()
        if not self.minimum and self.maximum is None:
            errors["minimum"] = "is 0 and there is no maximum: every length is right; set one of them."
        elif self.maximum is not None and self.maximum < self.minimum:
            errors["maximum"] = f"must be at least minimum, {self.minimum}."
        return errors


@dataclass(frozen=True, kw_only=True)
class JudgePart(RewardPart):
    """A judge model's grade of the text by a rubric, 1 to 10, as 0 to 1. It is asked over the network."""

    judge: str = option("", "name of a model with an endpoint")
    rubric: str = option("", "what it judges by; empty: how well the text serves the user")
    lost: str = option(
        "fail",
        "when it gives no grades, or max_cost is reached. fail: the run fails and can be resumed; without: the part "
        "counts as its mean so far",
        choices=("fail", "without"),
    )
    max_cost: float | None = option(None, "limit in dollars, by the model's prices", low=1e-6, high=1e6)
    max_tokens: int = option(512, "longest reply", low=1, high=32768)
    timeout: float = option(120.0, "seconds without a response before it is asked again", low=1, high=3600)

    def problems(self) -> dict[str, str]:
        errors = super().problems()
        return errors if self.judge.strip() else errors | {"judge": "is missing; name a model with an endpoint."}


KINDS: dict[str, type[RewardPart]] = {
    "reward_model": ModelPart,
    "exact": ExactPart,
    "number": NumberPart,
    "regex": RegexPart,
    "json_schema": JsonSchemaPart,
    "language": LanguagePart,
    "length": LengthPart,
    "judge": JudgePart,
}
NEED_ANSWERS = (ExactPart, NumberPart)  # of each prompt
KIND_OF: dict[type[RewardPart], str] = {part: kind for kind, part in KINDS.items()}


def part_names(parts: tuple[RewardPart, ...]) -> tuple[str, ...]:
    """Return what each part is called in figures: its kind, and from the second of a kind on its number among them."""
    names: list[str] = []
    for part in parts:
        kind = KIND_OF[type(part)]
        number = 1 + sum(KIND_OF[type(other)] == kind for other in parts[: len(names)])
        names.append(kind if number == 1 else f"{kind}_{number}")
    return tuple(names)


def models_named(parts: tuple[RewardPart, ...]) -> tuple[str, ...]:
    """Return the names of all reward models in the parts, each once; the run's own has none here."""
    return tuple(dict.fromkeys(name for part in parts if isinstance(part, ModelPart) for name in part.names))


def judges_of(parts: tuple[RewardPart, ...]) -> dict[str, JudgePart]:
    """Return the judges by the names of their parts."""
    named = zip(part_names(parts), parts, strict=True)
    return {name: part for name, part in named if isinstance(part, JudgePart)}


def takes_own_model(parts: tuple[RewardPart, ...]) -> bool:
    """Return whether some part is the reward model that the order names beside its config."""
    return any(isinstance(part, ModelPart) and not part.names for part in parts)


def needs_answers(parts: tuple[RewardPart, ...]) -> tuple[int, ...]:
    """Return the places of the parts that compare with the prompt's answer."""
    return tuple(i for i, part in enumerate(parts) if isinstance(part, NEED_ANSWERS))
