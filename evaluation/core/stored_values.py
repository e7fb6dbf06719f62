"""Write values of our own classes as bytes, and read them again: dataclasses, named tuples, arrays and plain values.

Only the classes that the reader names are made. What an older or newer version wrote, with other fields, is Unreadable.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import zlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import numpy as np

_KIND, _VALUE = "@", "="


class Unreadable(ValueError):
    """Raised where the bytes hold no value of these classes."""


def written(value: Any) -> bytes:
    return zlib.compress(json.dumps(_plain(value), separators=(",", ":")).encode(), 1)


def read(body: bytes, classes: Iterable[type]) -> Any:
    """Return the value. Raises Unreadable."""
    by_name = {class_.__name__: class_ for class_ in classes}
    try:
        return _made(json.loads(zlib.decompress(body)), by_name)
    except (zlib.error, ValueError, TypeError, KeyError) as error:
        raise Unreadable(str(error)) from error


def _plain(value: Any) -> Any:
    match value:
        case np.generic():
            return value.item()
        case None | bool() | int() | float() | str():
            return value
        case list():
            return [_plain(item) for item in value]
        case dict():
            return _tagged("dict", [[_plain(key), _plain(item)] for key, item in value.items()])
        case np.ndarray():
            raw = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
            return _tagged("array", [value.dtype.str, list(value.shape), raw])
        case datetime():
            return _tagged("datetime", value.isoformat())
        case frozenset():
            return _tagged("frozenset", [_plain(item) for item in value])
        case tuple() if hasattr(value, "_asdict"):
            return _tagged(type(value).__name__, {name: _plain(item) for name, item in value._asdict().items()})
        case tuple():
            return _tagged("tuple", [_plain(item) for item in value])
    if not dataclasses.is_dataclass(value):
        raise TypeError(f"{type(value).__name__} cannot be stored.")
    fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return _tagged(type(value).__name__, fields)


def _tagged(kind: str, value: Any) -> dict[str, Any]:
    return {_KIND: kind, _VALUE: value}


def _made(plain: Any, classes: dict[str, type]) -> Any:
    if isinstance(plain, list):
        return [_made(item, classes) for item in plain]
    if not isinstance(plain, dict):
        return plain
    value = plain[_VALUE]
    match plain[_KIND]:
        case "dict":
            return {_made(key, classes): _made(item, classes) for key, item in value}
        case "array":
            kind, shape, raw = value
            return np.frombuffer(base64.b64decode(raw), dtype=kind).reshape(shape)
        case "datetime":
            return datetime.fromisoformat(value)
        case "frozenset":
            return frozenset(_made(item, classes) for item in value)
        case "tuple":
            return tuple(_made(item, classes) for item in value)
        case name:
            return classes[name](**{field: _made(item, classes) for field, item in value.items()})
