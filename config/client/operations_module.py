"""Write the module of operations: a class for each resource of the API, a method for each operation."""

from __future__ import annotations

import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from config.client.schema_types import Components, Schema, prose, python_identifier

PREFIX = "/api/v1/"
MODELS = "_models."
_IN_PROJECT = "projects/{slug}/"
_VERBS = {"get": "get", "post": "create", "patch": "update", "put": "replace", "delete": "delete"}
_HEAD = '''"""All operations of the API. Made by script/client from the API's schema; do not edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Dict, List, Literal

from assay_client import models as _models  # some methods take an argument of this name
from assay_client.connection import (
    UNSET,
    Call,
    Connection,
    Unset,
    new_key,
    quoted,
    without_unset,
)
from assay_client.downloads import Download
from assay_client.pages import Pages
from assay_client.uploads import FilePart, Upload


class Resource:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
'''


@dataclass(frozen=True)
class Operation:
    method: str  # get, post, …
    path: str
    schema: Schema

    @property
    def parts(self) -> list[str]:
        """The path below its resource's name; of what lies in a project, below the project."""
        inner = self.path.removeprefix(PREFIX)
        in_project = inner.removeprefix(_IN_PROJECT)
        return [part for part in (in_project or inner).split("/") if part]

    @property
    def resource(self) -> str:
        return self.parts[0].replace("-", "_")

    @property
    def words(self) -> list[str]:
        return [part.replace("-", "_") for part in self.parts[1:] if not part.startswith("{")]

    @property
    def is_of_one(self) -> bool:
        return self.parts[-1].startswith("{")


def operations_module(schema: Schema, components: Components) -> str:
    """Return the source of `operations.py`."""
    resources: dict[str, list[Operation]] = defaultdict(list)
    for path, methods in sorted(schema["paths"].items()):
        for method, each in methods.items():
            operation = Operation(method, path, each)
            resources[operation.resource].append(operation)
    parts = [_HEAD]
    for resource, operations in sorted(resources.items()):
        lines = [f"class {_class_name(resource)}(Resource):"]
        for name, operation in _named(resource, operations, components):
            lines += _method(name, operation, components)
        parts.append("\n".join(lines))
    lines = ["class Operations:", "    def __init__(self, connection: Connection) -> None:"]
    lines += [f"        self.{resource} = {_class_name(resource)}(connection)" for resource in sorted(resources)]
    return "\n\n".join([*parts, "\n".join([*lines, ""])])


def _class_name(resource: str) -> str:
    return "".join(word.capitalize() for word in resource.split("_")) + "Resource"


def _named(resource: str, operations: list[Operation], components: Components) -> list[tuple[str, Operation]]:
    """Return each operation with its method's name. Raises ValueError where two would have one name."""
    reads = {tuple(o.words) for o in operations if o.method == "get"}
    named = [(_method_name(o, reads, components), o) for o in operations]
    counts = Counter(name for name, _ in named)
    named = [
        (f"get_{name}" if counts[name] > 1 and o.method == "get" and o.is_of_one else name, o) for name, o in named
    ]
    twice = [name for name, count in Counter(name for name, _ in named).items() if count > 1]
    if twice:
        raise ValueError(f"Two operations of {resource} are both called {', '.join(twice)}; give them other addresses.")
    return sorted(named, key=lambda pair: pair[0])


def _method_name(operation: Operation, reads: set[tuple[str, ...]], components: Components) -> str:
    """`GET runs/` is list, `POST runs/{id}/cancel/` cancel; `POST models/{id}/serving/`, which can be read too,
    create_serving."""
    verb = _VERBS[operation.method]
    if not operation.words:
        is_list = operation.method == "get" and not operation.is_of_one and _lists(operation, components)
        return "list" if is_list else verb
    stem = "_".join(operation.words)
    if operation.method == "get" or (operation.method == "post" and tuple(operation.words) not in reads):
        return python_identifier(stem)
    return f"{verb}_{stem}"


def _lists(operation: Operation, components: Components) -> bool:
    answer = _json_answers(operation).get(200)
    return answer is not None and (answer.get("type") == "array" or components.page_row(answer) is not None)


def _json_answers(operation: Operation) -> dict[int, Schema | None]:
    """Return the schema of each status that is a success; None for an empty answer."""
    return {
        int(status): answer["content"]["application/json"]["schema"] if answer.get("content") else None
        for status, answer in operation.schema["responses"].items()
        if status.startswith("2") and (not answer.get("content") or "application/json" in answer["content"])
    }


def _is_download(operation: Operation) -> bool:
    contents = operation.schema["responses"].get("200", {}).get("content", {})
    return any(name != "application/json" for name in contents)


@dataclass
class _Body:
    """What a method takes for the body, and how it is sent."""

    arguments: list[str]
    expression: str = ""  # of Call: "json=…"
    texts: list[tuple[str, str]] | None = None
    is_list: bool = False


def _method(name: str, operation: Operation, components: Components) -> Iterator[str]:
    parameters = operation.schema.get("parameters", [])
    in_path = re.findall(r"{(\w+)}", operation.path)
    kinds = {p["name"]: components.python_type(p["schema"], is_sent=True, prefix=MODELS) for p in parameters}
    body = _body(operation, components)
    queries = [p for p in parameters if p["in"] == "query" and p["name"] != "cursor"]
    headers = [p for p in parameters if p["in"] == "header" and p["name"] != "Idempotency-Key"]
    has_key = any(p["name"] == "Idempotency-Key" for p in parameters)

    required = [f"{python_identifier(p['name'])}: {kinds[p['name']]}" for p in queries if p.get("required")]
    optional = [
        f"{python_identifier(p['name'].lower())}: {kinds[p['name']]} | None = None"
        for p in [*queries, *headers]
        if not p.get("required")
    ]
    keywords = [*required, *body.arguments, *optional]
    keywords.sort(key=lambda argument: "=" in argument)
    if has_key:
        keywords.append("idempotency_key: str | None = None")
    taken = {argument.partition(":")[0] for argument in keywords}
    names = {part: _path_name(part, taken) for part in in_path}
    positional = [f"{names[part]}: {_path_kind(part, kinds)}" for part in in_path]
    signature = ["self", *positional, *(["/"] if positional else []), *(["*"] if keywords else []), *keywords]
    returned, ending = _answer(operation, components, body.is_list)

    yield f"    def {name}("
    yield from (f"        {argument}," for argument in signature)
    yield f"    ) -> {returned}:"
    yield from _docstring(operation, [*queries, *headers], body)
    call = [f"method={operation.method.upper()!r}", f"path={_path_expression(operation.path, names)}"]
    if queries and not ending.startswith("pages"):
        call.append(f"query={_mapping(queries)}")
    if headers:
        call.append(f"headers={_mapping(headers)}")
    if body.expression:
        call.append(body.expression)
    if has_key:
        call.append("key=idempotency_key or new_key()")
    made = f"Call({', '.join(call)})"
    if ending.startswith("pages"):
        row = ending.removeprefix("pages ")
        made = f"Call({', '.join([*call, 'query=query'])})"
        yield f"        return Pages(lambda query: self._connection.page({made}), {row}, {_mapping(queries)})"
    elif ending == "download":
        yield f"        return self._connection.download({made})"
    elif returned == "None":
        yield f"        self._connection.call({made}, {ending})"
    else:
        yield f"        answer_: {returned} = self._connection.call({made}, {ending})"
        yield "        return answer_"
    yield ""


def _answer(operation: Operation, components: Components, is_list: bool) -> tuple[str, str]:
    """Return the type that a method returns, and how it comes about: a page, a download, or the types by status."""
    if _is_download(operation):
        return "Download", "download"
    kinds: dict[int, str] = {}
    for status, schema in _json_answers(operation).items():
        if schema is None:
            kinds[status] = "None"
        elif (row := components.page_row(schema)) is not None:
            kind = components.python_type(row, is_sent=False, prefix=MODELS)
            return f"Pages[{kind}]", f"pages {kind}"
        elif is_list and (row := components.row_of_many(schema)) is not None:
            kinds[status] = f"List[{components.python_type(row, is_sent=False, prefix=MODELS)}]"
        else:
            kinds[status] = components.python_type(schema, is_sent=False, prefix=MODELS)
    if operation.method == "get":
        kinds.pop(202, None)  # waited for
    returned = sorted(set(kinds.values()), key=lambda kind: kind == "None")
    return " | ".join(returned), f"{{{', '.join(f'{status}: {kind}' for status, kind in kinds.items())}}}"


def _body(operation: Operation, components: Components) -> _Body:
    contents = operation.schema.get("requestBody", {}).get("content", {})
    if not contents:
        return _Body([])
    content, schema = next(iter((name, each["schema"]) for name, each in contents.items()))
    if content not in ("application/json", "multipart/form-data"):
        return _Body(["text: str"], "text=text")
    if (row := components.row_of_many(schema)) is not None:
        kind = components.python_type(row, is_sent=True, prefix=MODELS)
        return _Body([f"rows: Sequence[{kind}]"], "json=rows", is_list=True)
    whole = components.resolve(schema)
    if "properties" not in whole:
        return _Body([f"body: {components.python_type(schema, is_sent=True, prefix=MODELS)}"], "json=body")
    return _fields_body(content, whole, components)


def _fields_body(content: str, schema: Schema, components: Components) -> _Body:
    """Each field is an argument. None leaves it out; where null means something, UNSET does."""
    arguments, pairs, nullable, texts = [], [], [], []
    for name, each in schema["properties"].items():
        if each.get("readOnly"):
            continue
        argument, kind = python_identifier(name), components.python_type(each, is_sent=True, prefix=MODELS)
        is_required = name in schema.get("required", ())
        is_file = each.get("format") == "binary"
        kind = "Upload" if is_file else kind
        if kind.endswith("None"):
            nullable.append(name)
            arguments.append(f"{argument}: {kind}" + ("" if is_required else " | Unset = UNSET"))
        else:
            arguments.append(f"{argument}: {kind}" + ("" if is_required else " | None = None"))
        pairs.append(f"{name!r}: " + (f"FilePart({argument})" if is_file else argument))
        texts.append((argument, prose(each.get("description", ""))))
    known = f", frozenset({sorted(nullable)!r})" if nullable else ""
    way = "form" if content == "multipart/form-data" else "json"
    return _Body(arguments, f"{way}=without_unset({{{', '.join(pairs)}}}{known})", texts)


def _docstring(operation: Operation, parameters: list[Schema], body: _Body) -> Iterator[str]:
    summary = operation.schema.get("summary") or f"{operation.method.upper()} {operation.path.removeprefix(PREFIX)}"
    named = [(python_identifier(p["name"].lower()), prose(p.get("description", ""))) for p in parameters]
    explained = [f"{name}: {_hanging(text)}" for name, text in [*(body.texts or []), *named] if text]
    description = prose(operation.schema.get("description", ""))
    title = f"{summary.rstrip('.')}."
    blocks = [title, description.removeprefix(title).strip(), "\n".join(explained)]
    text = "\n\n".join(block for block in blocks if block)
    yield textwrap.indent(f'"""{text}\n"""', " " * 8, lambda line: bool(line.strip()))


def _hanging(text: str) -> str:
    """Return the text of an argument: a line, or a list below it."""
    first, *lines = [line for line in text.splitlines() if line.strip()]
    return "\n    ".join([first, *lines])


def _path_name(part: str, taken: set[str]) -> str:
    """Return the name of a part of the address, as an argument by position."""
    name = "project" if part == "slug" else python_identifier(part)
    return f"{name}_" if name in taken else name


def _path_kind(part: str, kinds: dict[str, str]) -> str:
    return "int" if part == "id" else kinds.get(part, "str")  # of some views the schema knows only that it is text


def _path_expression(path: str, names: dict[str, str]) -> str:
    if not names:
        return repr(path)
    quoted = re.sub(r"{(\w+)}", lambda found: f"{{quoted({names[found[1]]})}}", path)
    return f"f{quoted!r}"


def _mapping(parameters: list[Schema]) -> str:
    names = [parameter["name"] for parameter in parameters]
    return f"{{{', '.join(f'{name!r}: {python_identifier(name.lower())}' for name in names)}}}"
