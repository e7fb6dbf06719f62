"""Read values of a row as items want them. Each raises ValueError in words that continue "line 7 …". Pure: no
Django."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from annotate.data.formats.items import Messages, Row

ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "chatbot": "assistant",
}  # fmt: skip
_FIRST = {"model_a", "a", "left", "first", "1", "1.0", "model_1", "output_1", "response_a", "response_1", "chosen"}
_SECOND = {"model_b", "b", "right", "second", "2", "2.0", "model_2", "output_2", "response_b", "response_2"}
_TIE = {"tie", "draw", "equal", "same", "0", "0.0", "1.5", "both_good", "neither"}
_BOTH_BAD = {"tie_(bothbad)", "tie(bothbad)", "tie_(both_bad)", "bothbad", "both_bad", "both_are_bad"}


def text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if isinstance(value, str):
        return value
    if value is None:
        raise ValueError(f"has no {name}.")
    raise ValueError(f"has {'an' if name[0] in 'aeiou' else 'a'} {name} that is not text: {value!r:.60}.")


def as_text(row: Mapping[str, Any], name: str) -> str:
    """Return a text, or what a program wrote without quotes: an answer "True" or "42"."""
    value = row.get(name)
    return str(value) if isinstance(value, bool | int | float) else text(row, name)


def optional(row: Mapping[str, Any], name: str) -> str:
    """Return the text, "" where the field is not there; a number is a name, too."""
    value = row.get(name)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value if isinstance(value, str) else str(value)


def language(row: Mapping[str, Any]) -> str:
    """Return the row's own field of its language, however it is called."""
    return optional(row, "language") or optional(row, "lang")


def number(row: Mapping[str, Any], name: str) -> float | None:
    """Return None where there is none; a text in a CSV cell is read as one."""
    value = row.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        parsed_value = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"has the {name} {value!r:.60}, which is not a number.") from None
    except OverflowError:
        raise ValueError(f"has the {name} {value!r:.60}, which is too large.") from None
    if math.isinf(parsed_value):
        raise ValueError(f"has the {name} {value!r:.60}, which is not a finite number.")
    return None if math.isnan(parsed_value) else parsed_value


def whole(row: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    value = number(row, name)
    if value is None:
        return None
    if not value.is_integer() or not low <= value <= high:
        raise ValueError(f"has the {name} {row[name]!r:.60}, but it must be a whole number from {low} to {high}.")
    return int(value)


def truth(row: Mapping[str, Any], name: str) -> bool | None:
    value = row.get(name)
    normalised = str(value).strip().lower()
    if value is None or normalised == "":
        return None
    if normalised in ("true", "1", "1.0", "yes", "up", "good", "+1"):
        return True
    if normalised in ("false", "0", "0.0", "no", "down", "bad", "-1"):
        return False
    raise ValueError(f"has the {name} {value!r:.60}, but it must be true or false.")


def winner(value: Any, name: str = "winner", model_a: str = "", model_b: str = "") -> str:
    """Return one of our four winners; a model's name says which side it stands on."""
    normalised = re.sub(r"[\s-]+", "_", str(value).strip().lower()) if value is not None else ""
    for names, label in ((_FIRST, "model_a"), (_SECOND, "model_b"), (_TIE, "tie"), (_BOTH_BAD, "both_bad")):
        if normalised in names:
            return label
    if model_a != model_b and value in (model_a, model_b) and value:
        return "model_a" if value == model_a else "model_b"
    if not normalised or normalised == "none":
        raise ValueError(f"has no {name}.")
    raise ValueError(f"has the {name} {value!r:.60}, but it must be model_a, model_b, tie or both_bad.")


def moment(value: Any) -> datetime | None:
    """Return the moment: seconds since 1970, or a date in ISO 8601; UTC where it names no zone. None for what is
    neither."""
    try:
        if isinstance(value, bool) or value in (None, ""):
            return None
        if isinstance(value, datetime):
            time = value
        elif isinstance(value, int | float):
            time = datetime.fromtimestamp(value, UTC)
        else:
            time = datetime.fromisoformat(str(value).strip())
    except (ValueError, OverflowError, OSError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def parsed(value: Any) -> Any:
    """Return the list or object that stands as JSON in a cell; any other value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def turns(value: Any) -> list[Any] | None:
    """Return the turns where a value is a conversation, perhaps as JSON in a cell; else None."""
    parsed_value = parsed(value)
    is_one = (
        isinstance(parsed_value, list) and bool(parsed_value) and all(isinstance(turn, dict) for turn in parsed_value)
    )
    return parsed_value if is_one and all("role" in turn or "from" in turn for turn in parsed_value) else None


def conversation(value: Any, name: str) -> Messages:
    """Return turns of {role, content}, or of ShareGPT's {from, value}. A content may be a list of texts."""
    turn_list = turns(value)
    if turn_list is None:
        raise ValueError(f'has a {name} that is not a list of turns such as [{{"role": "user", "content": "…"}}].')
    return [_turn(turn, name) for turn in turn_list]


def _turn(turn: Row, name: str) -> dict[str, str]:
    role_name = turn.get("role", turn.get("from"))
    role = ROLES.get(str(role_name).strip().lower())
    if role is None:
        raise ValueError(f"has a turn of {role_name!r:.30} in {name}; the roles are system, user and assistant.")
    content = turn["content"] if "content" in turn else turn.get("value")
    if isinstance(content, list):
        content = _joined(content, name)
    if content is None:
        content = ""
    if not isinstance(content, str):
        raise ValueError(f"has a turn in {name} whose content is not text: {content!r:.60}.")
    return {"role": role, "content": content}


def _joined(parts: Iterable[Any], name: str) -> str:
    texts = []
    for part in parts:
        kind = part.get("type") or "text" if isinstance(part, dict) else "text"
        content = part.get("text") if isinstance(part, dict) else part
        if not isinstance(content, str) and (content is not None or kind != "text"):
            raise ValueError(
                f"has a part of the kind {kind!r:.30} in {name}; only text can be imported, no pictures or sound."
            )
        texts.append(content or "")
    return "".join(texts)


def answer(content: str) -> Messages:
    return [{"role": "assistant", "content": content}]


def question(content: str) -> Messages:
    return [{"role": "user", "content": content}]
