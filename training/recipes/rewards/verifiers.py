"""Verify an answer by a rule: 1 where it is right, 0 where it is not. Pure, and as quick as an answer is short.

Each verifier is made once of its part and takes (prompt, text, answer): the conversation, what the policy said, and the
prompt's reference answer, "" where there is none.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable
from typing import Any

import jsonschema
import referencing
import regex

from common.languages import language_tags
from training.configs.rewards.reward_parts import (
    ExactPart,
    JsonSchemaPart,
    LanguagePart,
    LengthPart,
    NumberPart,
    RegexPart,
    RewardPart,
)
from training.core.run_directory import RecipeFailure
from training.corpora.reading.unpacking_bounds import TooSlow, within

Messages = list[dict[str, str]]
Verify = Callable[[Messages, str, str], float]
LONGEST_MATCH = 0.1  # seconds that a pattern may take for one answer
LONGEST_CHECK = 1.0  # and a whole schema, whose references may take it round and round
_AROUND = " \t\n\r.,;:!?\"'`*_()[]{}<>«»„“”‚‘’¿¡…"
_NUMBER = re.compile(
    r"(?<![\w./])[-+−–]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+|(?<=\d))(?:[eE][-+]?\d+)?(?:/\d+(?![\d/]))?"
)
_FENCE = re.compile(r"```[\w-]*\s*\n(.*?)```", re.DOTALL)
_LOOKED_AT = 2000  # characters, for a language


def verifier_of(part: RewardPart) -> Verify:
    """Return the verifier of a part. Raises RecipeFailure where it cannot be made here."""
    makers: dict[type[RewardPart], Callable[[Any], Verify]] = {
        ExactPart: exact,
        NumberPart: number,
        RegexPart: matches,
        JsonSchemaPart: fits_schema,
        LanguagePart: in_language,
        LengthPart: of_length,
    }
    return makers[type(part)](part)


def exact(part: ExactPart) -> Verify:
    def verify(prompt: Messages, text: str, answer: str) -> float:
        return float(normalised(_place(text, part.where), part.ignore_case) == normalised(answer, part.ignore_case))

    return verify


def number(part: NumberPart) -> Verify:
    def verify(prompt: Messages, text: str, answer: str) -> float:
        said, right = last_number(text), last_number(answer)
        if said is None or right is None:
            return 0.0
        return float(abs(said - right) <= max(part.tolerance, part.relative_tolerance * abs(right)))

    return verify


def matches(part: RegexPart) -> Verify:
    pattern = regex.compile(part.pattern, regex.IGNORECASE if part.ignore_case else 0)
    look = pattern.search if part.where == "anywhere" else pattern.fullmatch

    def verify(prompt: Messages, text: str, answer: str) -> float:
        place = text if part.where == "anywhere" else _place(text, part.where).strip()
        try:
            return float(look(place, timeout=LONGEST_MATCH) is not None)
        except TimeoutError:
            return 0.0

    return verify


def fits_schema(part: JsonSchemaPart) -> Verify:
    # Of a schema elsewhere nothing is fetched: a registry of one's own holds what there is.
    validator = _SCHEMAS(json.loads(part.schema), registry=referencing.Registry())

    def verify(prompt: Messages, text: str, answer: str) -> float:
        try:
            with within(LONGEST_CHECK):
                blocks = _FENCE.findall(text)
                value = json.loads(blocks[-1] if blocks else text)
                return float(validator.is_valid(value))
        except (ValueError, ArithmeticError, RecursionError, TimeoutError, TooSlow):
            return 0.0
        except referencing.exceptions.Unresolvable as error:
            raise RecipeFailure(
                "bad_config", f"rewards: the schema names {error.ref!r}, which it does not hold.",
                "Write what it names under $defs in the schema itself.",
            ) from error  # fmt: skip

    return verify


def in_language(part: LanguagePart) -> Verify:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    wanted = language_tags.primary(language_tags.parse_tag(part.language))
    if wanted and wanted not in identifier.labels:
        raise RecipeFailure(
            "bad_config", f"rewards: the language {wanted} cannot be detected.",
            f"Use one of {', '.join(sorted(identifier.labels))}.",
        )  # fmt: skip

    def verify(prompt: Messages, text: str, answer: str) -> float:
        if not any(map(str.isalpha, text)):
            return 0.0
        best, share = identifier.rank(text[:_LOOKED_AT])[0]
        right = wanted or identifier.rank(prompt[-1]["content"][:_LOOKED_AT])[0][0]
        return float(best == right and share >= part.confidence)

    return verify


def of_length(part: LengthPart) -> Verify:
    def verify(prompt: Messages, text: str, answer: str) -> float:
        length = len(text.split()) if part.unit == "words" else len(text)
        return float(part.minimum <= length and (part.maximum is None or length <= part.maximum))

    return verify


def normalised(text: str, ignore_case: bool = True) -> str:
    """Return a text as it is compared: one form of each character, single spaces, no marks around it."""
    text = " ".join(unicodedata.normalize("NFKC", text).split()).strip(_AROUND)
    return text.casefold() if ignore_case else text


def last_number(text: str) -> float | None:
    """Return the last number of a text: 42, -3.5, 1,234, 6e23, or 3/4 as a quotient; None where there is none."""
    for found in reversed(_NUMBER.findall(text)):
        upper, _, lower = found.replace(",", "").replace("−", "-").replace("–", "-").partition("/")
        try:
            value = float(upper) / float(lower or 1)
        except (ValueError, ArithmeticError):
            continue
        if math.isfinite(value):
            return value
    return None


def _place(text: str, where: str) -> str:
    if where != "last_line":
        return text
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


def _pattern_within_time(validator: Any, pattern: str, instance: Any, schema: Any) -> Any:
    """Check `pattern` of a schema within the time that a pattern may take. Raises TimeoutError."""
    if isinstance(instance, str) and not regex.search(pattern, instance, timeout=LONGEST_MATCH):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def _patterns_of_names(validator: Any, patterns: Any, instance: Any, schema: Any) -> Any:
    """Check `patternProperties` likewise."""
    if isinstance(instance, dict):
        for pattern, subschema in patterns.items():
            for name, value in instance.items():
                if regex.search(pattern, name, timeout=LONGEST_MATCH):
                    yield from validator.descend(value, subschema, path=name, schema_path=pattern)


_SCHEMAS = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    {"pattern": _pattern_within_time, "patternProperties": _patterns_of_names},
)
