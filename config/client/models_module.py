"""Write the module of models: a dataclass for each row that answers hold, a TypedDict for each that requests hold."""

from __future__ import annotations

from collections.abc import Iterator

from config.client.schema_types import Components, Schema, prose, python_identifier

_HEAD = '''"""What the API answers with and takes. Made by script/client from the API's schema; do not edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Dict, List, Literal, NotRequired, TypedDict
'''


def models_module(components: Components) -> str:
    """Return the source of `models.py`."""
    parts = [_HEAD]
    for name, schema in sorted(components.schemas.items()):
        if name in components.read | components.sent and "enum" in schema and schema["enum"] not in ([None], [""]):
            values = ", ".join(map(repr, schema["enum"]))
            parts.append(f"{components.python_name(name, is_sent=False)} = Literal[{values}]\n")
    for name, schema in sorted(components.schemas.items()):
        if "properties" not in schema:
            continue
        if name in components.read and components.page_row(schema) is None:
            parts.append("\n".join(_dataclass(components, name, schema)))
        if name in components.sent:
            parts.append("\n".join(_typed_dict(components, name, schema)))
    return "\n\n".join(parts)


def _dataclass(components: Components, name: str, schema: Schema) -> Iterator[str]:
    yield "@dataclass(frozen=True, kw_only=True)"
    yield f"class {components.python_name(name, is_sent=False)}:"
    yield from _docstring(schema)
    for field_name, field_schema in schema["properties"].items():
        kind = components.python_type(field_schema, is_sent=False)
        if field_name not in schema.get("required", ()) and not kind.endswith("None") and kind != "Any":
            kind = f"{kind} | None"
        python = python_identifier(field_name)
        other = f' = field(metadata={{"json": {field_name!r}}})' if python != field_name else ""
        yield f"    {python}: {kind}{other}"
        if text := prose(field_schema.get("description", "")):
            yield f'    """{text}"""'
    yield ""


def _typed_dict(components: Components, name: str, schema: Schema) -> Iterator[str]:
    """Fields that Python cannot write as names are left to plain dictionaries by the functional form."""
    fields = []
    for field_name, field_schema in schema["properties"].items():
        kind = components.python_type(field_schema, is_sent=True)
        fields.append((field_name, kind if field_name in schema.get("required", ()) else f"NotRequired[{kind}]"))
    python = components.python_name(name, is_sent=True)
    if any(python_identifier(field_name) != field_name for field_name, _ in fields):
        yield f"{python} = TypedDict({python!r}, {{{', '.join(f'{n!r}: {k!r}' for n, k in fields)}}})"
    else:
        yield f"class {python}(TypedDict):"
        yield from _docstring(schema)
        yield from (f"    {field_name}: {kind}" for field_name, kind in fields)
    yield ""


def _docstring(schema: Schema) -> Iterator[str]:
    text = prose(schema.get("description", ""))
    if text and not text.startswith("Read a request's body."):  # that of the serializers' base class
        yield f'    """{text}"""'
        yield ""
