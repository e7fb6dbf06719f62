"""Read and write the parts of a reward as text, one on each line: `number weight=2 tolerance=0.01`. Pure.

    reward_model models='helpful 3,helpful 4' spread_penalty=0.5
    number weight=2
    regex pattern='^Answer: \\d+$' where=last_line weight=0.2
    length maximum=80 weight=0.1

Values with spaces stand between quotation marks, within which a value may go on over several lines; a backslash is a
backslash. A list of objects, {"kind": "number", "weight": 2}, says the same and is kept as such lines.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import typing
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Protocol

from training.configs.options import ConfigError, check, option
from training.configs.rewards.reward_parts import KIND_OF, KINDS, RewardPart, judges_of

MOST = 20
_LONGEST = 50_000  # characters
_HELP = (
    "what answers are rewarded by: a line for each part, its kind and then its options (number weight=2 "
    "tolerance=0.01); their sum counts. Empty: the reward model, or the function, alone. See the guide Rewards of "
    "several parts. Kinds: "
)


def rewards_option() -> Any:
    """Declare the parts of a reward."""
    return option("", _HELP + ", ".join(KINDS), multiline=True, read=canonical)


class Rewarded(Protocol):
    """A config whose answers are rewarded."""

    @property
    def rewards(self) -> str: ...

    @property
    def reward_function(self) -> str: ...


def check_rewards(config: Rewarded) -> dict[str, str]:
    """Return what is wrong with the rewards beside the other options."""
    if config.rewards and config.reward_function:
        return {"rewards": "have no functions among their parts; leave out rewards, or reward_function."}
    if getattr(config, "processes", 1) > 1 and judges_of(read_parts(config.rewards)):
        return {"processes": "must be 1 where a part of rewards is a judge: one process asks it."}
    return {}


@lru_cache(maxsize=64)  # whoever orders runs writes them
def read_parts(text: str) -> tuple[RewardPart, ...]:
    """Return the parts in these lines. Raises ConfigError naming every wrong field, `[1].pattern`, and its remedy."""
    return parts_of(list(_rows(text)))


def judges_in(text: str) -> list[str]:
    """Return the names of the judge models among the parts in these lines, each once; none where they are wrong."""
    try:
        judges = judges_of(read_parts(text))
    except ConfigError:  # of an earlier version: what is shown of an old run must not fail
        return []
    return sorted({part.judge.strip() for part in judges.values()})


def canonical(value: Any) -> str:
    """Return parts, given as lines or as a list of objects, as the lines in which they are kept. Raises ConfigError."""
    if isinstance(value, str):
        if len(value) > _LONGEST:
            raise ValueError(f"has more than {_LONGEST:,} characters; shorten it.")
        parts = read_parts(value)
    elif isinstance(value, list | tuple):
        parts = parts_of(list(value))
    else:
        raise ValueError(f"must be lines or a list of parts, not {value!r:.60}.")
    return "\n".join(map(line_of, parts))


def line_of(part: RewardPart) -> str:
    """Return a part as a line: what differs from its kind's defaults."""
    words = [KIND_OF[type(part)]]
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if value != field.default:
            words.append(f"{field.name}={shlex.quote(_written(value))}")
    return " ".join(words)


def parts_of(rows: list[Any]) -> tuple[RewardPart, ...]:
    """Return the parts of objects, {"kind": …, option: value}. Raises ConfigError as `read_parts`."""
    if len(rows) > MOST:
        raise ValueError(f"has {len(rows)} parts; use at most {MOST}.")
    errors: dict[str, str] = {}
    parts = []
    for index, row in enumerate(rows):
        try:
            parts.append(_part(row))
        except ConfigError as error:
            errors |= {f"[{index}]{name}": text for name, text in error.errors.items()}
    if not errors and parts and not any(part.weight for part in parts):
        raise ValueError("has no part with a weight other than 0: nothing would be rewarded; set one.")
    if errors:
        raise ConfigError(errors)
    return tuple(parts)


def _part(row: Any) -> RewardPart:
    if not isinstance(row, dict):
        raise ConfigError({"": f"must be an object such as {{'kind': 'number'}}, not {row!r:.60}."})
    kind = KINDS.get(row.get("kind", "")) if isinstance(row.get("kind", ""), str) else None
    if kind is None:
        raise ConfigError({".kind": f"must be one of {', '.join(KINDS)}, not {row.get('kind')!r:.60}."})
    fields, hints = {field.name: field for field in dataclasses.fields(kind)}, typing.get_type_hints(kind)
    errors, values = {}, {}
    for name, value in row.items():
        if name == "kind":
            continue
        if name not in fields:
            errors[f".{name}"] = f"is not an option of {row['kind']}; the options are {', '.join(fields)}."
            continue
        try:
            values[name] = check(_plain(name, value), hints[name], fields[name].metadata)
        except ValueError as error:
            errors[f".{name}"] = str(error)
    if not errors:
        part = kind(**values)
        errors = {f".{name}": text for name, text in part.problems().items()}
    if errors:
        raise ConfigError(errors)
    return part


def _plain(name: str, value: Any) -> Any:
    """Return models and a schema, which an object may give as a list and as an object, as texts."""
    if name == "models" and isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    if name == "schema" and isinstance(value, dict | bool):
        return json.dumps(value, ensure_ascii=False)
    return value


def _rows(text: str) -> Iterator[dict[str, Any]]:
    """Yield each line as an object; its values are what its kind's options take. Raises ConfigError."""
    for index, words in enumerate(_lines(text)):
        kind, *options = words
        row: dict[str, Any] = {"kind": kind}
        hints = typing.get_type_hints(KINDS[kind]) if kind in KINDS else {}
        for word in options:
            name, sign, value = word.partition("=")
            if not sign:
                raise ConfigError({f"[{index}]": f"{word[:60]!r} is no option with its value; write name=value."})
            if name in row:
                raise ConfigError({f"[{index}].{name}": "is there twice; remove one."})
            row[name] = _value(value, hints.get(name, str))
        yield row


def _lines(text: str) -> Iterator[list[str]]:
    """Yield the words of each line; one with an open quotation mark goes on in the next."""
    waiting: list[str] = []
    mark = ""
    for line in text.splitlines():
        if not waiting and (not line.strip() or line.lstrip().startswith("#")):
            continue
        waiting.append(line)
        mark = _open_mark(line, mark)
        if not mark:
            yield _words("\n".join(waiting))
            waiting = []
    if waiting:
        raise ValueError(f"has a quotation mark without its end: {waiting[0][:60]!r}; close it.")


def _open_mark(line: str, mark: str) -> str:
    """Return the quotation mark that is open at the end of a line, "" for none; `mark` was open before it."""
    for character in line:
        if not mark and character in "'\"":
            mark = character
        elif character == mark:
            mark = ""
    return mark


def _words(line: str) -> list[str]:
    reader = shlex.shlex(line, posix=True)
    reader.whitespace_split, reader.commenters, reader.escape = True, "", ""
    return list(reader)


def _value(text: str, hint: Any) -> Any:
    """Return a word as the type that its option takes; what is no number stays a text, and the check names it."""
    types = typing.get_args(hint) or (hint,)
    if bool in types:
        return {"true": True, "false": False}.get(text.lower(), text)
    if type(None) in types and text.lower() in ("", "none", "null"):
        return None
    for number in (int, float):
        if number in types:
            try:
                return number(text)
            except ValueError:
                continue
    return text


def _written(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
