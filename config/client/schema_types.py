"""Read the types of an OpenAPI schema as Python's."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]
_PLAIN = {"integer": "int", "number": "float", "boolean": "bool", "string": "str"}


class Components:
    """The named schemas: which of them answers hold, which requests hold, and what each is called in Python."""

    def __init__(self, schema: Schema) -> None:
        self.schemas: dict[str, Schema] = schema["components"]["schemas"]
        read, sent = set(), set()
        for operations in schema["paths"].values():
            for operation in operations.values():
                answers = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
                read |= set(_references(answers))
                sent |= set(_references([operation.get("requestBody"), operation.get("parameters")]))
        self.read, self.sent = self._reachable(read), self._reachable(sent)

    def python_name(self, name: str, is_sent: bool) -> str:
        """Return the name of a component: `RunOut` is `Run`; a row that is both read and sent has two classes."""
        if is_sent:
            return f"{name}In" if name in self.read and self.is_object(name) else name
        short = name.removesuffix("Out")
        return short if short == name or short not in self.schemas else name

    def is_object(self, name: str) -> bool:
        return self.schemas[name].get("type") == "object"

    def resolve(self, schema: Schema) -> Schema:
        """Return what a reference points at."""
        while "$ref" in schema or (len(schema.get("allOf", ())) == 1 and "properties" not in schema):
            schema = self.schemas[_target(schema)] if "$ref" in schema else schema["allOf"][0]
        return schema

    def page_row(self, schema: Schema) -> Schema | None:
        """Return the schema of a row where `schema` is a page of a list."""
        properties = self.resolve(schema).get("properties", {})
        return properties["results"]["items"] if {"next", "results"} <= properties.keys() else None

    def row_of_many(self, schema: Schema) -> Schema | None:
        """Return the schema of a row where `schema` is one row or a list of them."""
        choices = self.resolve(schema).get("oneOf", ())
        rows = [choice["items"] for choice in choices if choice.get("type") == "array"]
        return rows[0] if len(choices) == 2 and rows and rows[0] in choices else None

    def python_type(self, schema: Schema, is_sent: bool, prefix: str = "") -> str:
        """Return the annotation of a value. Names of models are written after `prefix`."""
        kinds = list(dict.fromkeys(self._kinds(schema, is_sent, prefix)))
        if "Any" in kinds:
            return "Any"
        return " | ".join(sorted(kinds, key=lambda kind: kind == "None"))

    def _kinds(self, schema: Schema, is_sent: bool, prefix: str) -> Iterator[str]:
        if schema.get("nullable"):
            yield "None"
        if "$ref" in schema:
            name = _target(schema)
            target = self.schemas[name]
            if self.is_object(name) and "properties" not in target:
                yield from self._kinds(target, is_sent, prefix)
            elif self.is_object(name) or _is_named_choice(target):
                yield prefix + self.python_name(name, is_sent)
            else:
                yield from self._kinds(target, is_sent, prefix)
            return
        for choice in [*schema.get("oneOf", ()), *schema.get("anyOf", ()), *schema.get("allOf", ())]:
            yield from self._kinds(choice, is_sent, prefix)
        if "oneOf" in schema or "anyOf" in schema or "allOf" in schema:
            return
        if "enum" in schema:
            values = [value for value in schema["enum"] if value is not None]
            yield from (["None"] if None in schema["enum"] else [])
            yield from ([f"Literal[{', '.join(map(repr, values))}]"] if values else [])
        elif schema.get("type") == "array":
            item = self.python_type(schema["items"], is_sent, prefix)
            yield f"Sequence[{item}]" if is_sent else f"List[{item}]"
        elif schema.get("type") == "object":
            value = self.python_type(schema.get("additionalProperties") or {}, is_sent, prefix)
            yield f"Mapping[str, {value}]" if is_sent else f"Dict[str, {value}]"
        elif schema.get("format") == "date-time":
            yield "datetime"
        else:
            yield _PLAIN.get(schema.get("type", ""), "Any")

    def _reachable(self, names: set[str]) -> set[str]:
        found: set[str] = set()
        while names:
            name = names.pop()
            if name not in found:
                found.add(name)
                names |= set(_references(self.schemas[name]))
        return found


def python_identifier(name: str) -> str:
    """Return a field's name as Python can write it: `from` becomes `from_`."""
    plain = re.sub(r"\W", "_", name)
    return f"{plain}_" if keyword.iskeyword(plain) or plain[0].isdigit() else plain


def prose(text: str) -> str:
    """Return a description without the lists of choices that the types repeat, safe within a docstring."""
    lines = [line.rstrip() for line in text.splitlines() if not line.startswith("* `")]
    return "\n".join(lines).strip().replace("\\", "\\\\").replace('"""', "'''")


def _is_named_choice(schema: Schema) -> bool:
    return "enum" in schema and schema["enum"] not in ([None], [""])


def _target(schema: Schema) -> str:
    return schema["$ref"].rsplit("/", 1)[1]


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield _target(part)
        for inner in part.values():
            yield from _references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _references(inner)
