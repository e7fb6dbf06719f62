"""Make dataclasses of an answer's JSON, by their annotations."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from datetime import datetime
from typing import Any, Literal, Union

from assay_client.errors import UnexpectedAnswer


def decode(kind: Any, value: Any, path: str = "") -> Any:
    """Return `value`, of JSON, as `kind`: a dataclass, list, dict, union, datetime or plain type.

    Fields that the dataclass does not know are left out: newer servers send more. A choice that is not among those
    known is kept, for the same reason. Raises UnexpectedAnswer, which names the place.
    """
    if kind is Any or kind is object:
        return value
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, path)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        items = _checked(list, value, path)
        return [decode(arguments[0], item, f"{path}.{index}") for index, item in enumerate(items)]
    if origin is dict:
        pairs = _checked(dict, value, path)
        return {name: decode(arguments[1], item, f"{path}.{name}") for name, item in pairs.items()}
    if origin in (Union, types.UnionType):
        return _one_of(arguments, value, path)
    if origin is Literal:
        return value
    if kind is datetime:
        return datetime.fromisoformat(_checked(str, value, path))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return _checked(kind, value, path)


def _dataclass(kind: Any, value: Any, path: str) -> Any:
    fields = _checked(dict, value, path)
    hints = _hints(kind)
    return kind(**{name: decode(hint, fields.get(sent), f"{path}.{sent}") for name, sent, hint in hints})


@functools.cache
def _hints(kind: Any) -> list[tuple[str, str, Any]]:
    """Return name, name in JSON, and type of each field."""
    hints = typing.get_type_hints(kind)
    return [(f.name, f.metadata.get("json", f.name), hints[f.name]) for f in dataclasses.fields(kind)]


def _one_of(kinds: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    others = [kind for kind in kinds if kind is not type(None)]
    for kind in others[:-1]:
        try:
            return decode(kind, value, path)
        except UnexpectedAnswer:
            continue
    return decode(others[-1], value, path)


def _checked(kind: type, value: Any, path: str) -> Any:
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise UnexpectedAnswer(
        f"{path.lstrip('.') or 'The answer'} is {value!r:.80}, not {kind.__name__}: the server's version differs from "
        "this client's; make the client anew (script/client) from the server's."
    )
