"""Read the file of an arena: YAML with a project and models, or FastChat's JSON of API endpoints. Pure: no Django.

    project: {name: Our arena, public: true}
    models:
      - {name: Qwen 7B, endpoint: http://127.0.0.1:8000/v1, served_name: qwen}
      - {name: Large, endpoint: https://api.example.org/v1, served_name: large-2, key_from: EXAMPLE_KEY}

All that is wrong is told at once, by its place. A key never stands in the file: `key_from` names the environment
variable that holds it.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import yaml

from annotate.core.typed_texts import NotPlain, require_plain_yaml

_TOO_LONG = 1_000_000  # characters
PROJECT = {
    "name": str, "slug": str, "description": str, "public": bool, "guidelines": str, "temperature": float,
    "top_p": float, "max_new_tokens": int, "system_prompt": str, "eval_percent": int,
}  # fmt: skip
MODEL = {
    "name": str, "endpoint": str, "served_name": str, "folder": str, "key_from": str, "shared": bool, "stage": str,
    "licence": str, "origin": str, "temperature": float, "top_p": float, "max_new_tokens": int, "system_prompt": str,
    "template_options": dict, "concurrency": int, "prompt_price": Decimal, "completion_price": Decimal,
}  # fmt: skip
_ELSEWHERE = {  # what other tools call them
    "url": "endpoint", "base_url": "endpoint", "api_base": "endpoint", "model": "served_name",
    "model_name": "served_name", "model_path": "folder", "path": "folder", "api_key_env": "key_from",
    "max_tokens": "max_new_tokens", "license": "licence", "is_public": "public", "title": "name",
    "system": "system_prompt", "prompt": "system_prompt", "extra_body": "template_options",
    "chat_template_kwargs": "template_options",
}  # fmt: skip
_KEYS = ("key", "api_key", "apikey", "token", "secret")
_MEANT = {str: "a text", bool: "true or false", int: "a whole number", float: "a number", Decimal: "a number",
          dict: "names with a value each, such as enable_thinking: false"}  # fmt: skip


class ArenaFileError(ValueError):
    """All that is wrong with the file: {place in it: why}."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("\n".join(f"{place}: {text}" for place, text in errors.items()))
        self.errors = dict(errors)


@dataclass(frozen=True)
class ModelEntry:
    """One model; `given` has the fields that the file names beside its name, of the types in MODEL."""

    name: str
    given: dict[str, Any] = field(default_factory=dict)

    def text(self, name: str) -> str:
        return str(self.given.get(name, ""))


@dataclass(frozen=True)
class ArenaFile:
    """`project` has the fields that the file names, of the types in PROJECT."""

    project: dict[str, Any]
    models: tuple[ModelEntry, ...]


def read(text: str) -> ArenaFile:
    """Return what the file says. Raises ArenaFileError."""
    content = _parsed(text)
    errors: dict[str, str] = {}
    if _is_fastchat(content):
        content = {"models": [_of_fastchat(name, entry, errors) for name, entry in content.items()]}
    if not isinstance(content, dict) or "models" not in content:
        raise ArenaFileError({"file": "Give models: a list of them, each with name and endpoint or folder."})
    for name in content.keys() - {"project", "models"}:
        errors[str(name)] = _unknown(str(name), "the file", ("project", "models"))
    project = _fields(content.get("project") or {}, PROJECT, "project", errors)
    listed = content["models"]
    if not isinstance(listed, list) or not listed:
        raise ArenaFileError(errors | {"models": "Give a list of at least one model, each after a dash."})
    models = [_model(entry, place, errors) for place, entry in enumerate(listed, start=1)]
    names = [model.name for model in models if model.name]
    for name in {name for name in names if names.count(name) > 1}:
        errors[f"models: {name}"] = f"stands there {names.count(name)} times; each model needs a name of its own."
    if errors:
        raise ArenaFileError(errors)
    return ArenaFile(project, tuple(models))


def _parsed(text: str) -> Any:
    if len(text) > _TOO_LONG:
        raise ArenaFileError({"file": f"At most {_TOO_LONG:,} characters; a model needs some hundred."})
    try:
        if text.lstrip().startswith("{"):
            return json.loads(text)  # tabs are allowed there, and not in YAML
        require_plain_yaml(text)
        return yaml.load(text, Loader=_Loader)
    except NotPlain as error:
        raise ArenaFileError({"file": str(error)}) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ArenaFileError({"file": f"This is not YAML: {place}{problem}."}) from error


class _Loader(yaml.SafeLoader):
    """YAML in which a name that stands twice is an error: the second would silently replace the first."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]  # type: ignore[no-untyped-call]
        for name, (key, _) in zip(names, node.value, strict=True):
            if names.count(name) > 1:
                raise yaml.MarkedYAMLError(problem=f"{name} is there twice", problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)


def _model(entry: Any, place: int, errors: dict[str, str]) -> ModelEntry:
    name = entry.get("name") if isinstance(entry, dict) else None
    at = f"models[{place}] ({name:.60})" if isinstance(name, str) and name.strip() else f"models[{place}]"
    given = _fields(entry, MODEL, at, errors)
    name = given.pop("name", "")
    if isinstance(entry, dict) and not name and f"{at}.name" not in errors:
        errors[f"{at}.name"] = "Give each model a name: voters read it once they have voted."
    if given.get("endpoint") and not given.get("served_name"):
        given["served_name"] = name
    return ModelEntry(name, given)


def _fields(entry: Any, known: Mapping[str, type], at: str, errors: dict[str, str]) -> dict[str, Any]:
    if not isinstance(entry, dict):
        errors[at] = f"Give fields such as `name: …`; {entry!r:.40} has none."
        return {}
    given: dict[str, Any] = {}
    for name, value in entry.items():
        place = f"{at}.{name}"
        if name in _KEYS and known is MODEL:
            errors[place] = (
                "A key does not belong in a file that is copied and committed. Put it into an environment variable "
                "and name that: key_from: EXAMPLE_KEY. It is then kept encrypted."
            )
        elif name not in known:
            errors[place] = _unknown(str(name), "a model" if known is MODEL else "a project", tuple(known))
        elif value is not None:
            try:
                given[name] = _value(value, known[name])
            except ValueError:
                errors[place] = f"is {value!r:.40}; enter {_MEANT[known[name]]}."
    return given


def _value(value: Any, kind: type) -> Any:
    """Return the value as that type. Raises ValueError."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and is_number:
        return float(value)
    if kind is Decimal and is_number:
        return Decimal(str(value))
    if kind is str and is_number:  # a name such as 7
        return str(value)
    if type(value) is kind:
        return value.strip() if isinstance(value, str) else value
    raise ValueError


def _unknown(name: str, of: str, known: tuple[str, ...]) -> str:
    meant = _ELSEWHERE.get(name.lower(), "")
    nearest = [meant] if meant in known else difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]}?" if nearest else f"the fields are {', '.join(known)}."
    return f"is not a field of {of}; {hint}"


def _is_fastchat(content: Any) -> bool:
    is_object = isinstance(content, dict) and bool(content) and "models" not in content
    return is_object and all(isinstance(entry, dict) and "api_base" in entry for entry in content.values())


def _of_fastchat(name: str, entry: dict[str, Any], errors: dict[str, str]) -> dict[str, Any]:
    """Return an entry of FastChat's `--register-api-endpoint-file` in our fields."""
    if entry.get("api_type", "openai") not in ("openai", "openai-custom"):
        errors[f"{name}.api_type"] = f"is {entry['api_type']!r:.40}; addresses that speak OpenAI's protocol are asked."
    key = entry.get("api_key")
    if isinstance(key, str) and key.strip() and not key.startswith("["):
        errors[f"{name}.api_key"] = (
            "A key does not belong in a file. Put it into an environment variable, take it out here, and write "
            '"key_from": "NAME" in its place.'
        )
    recommended = entry.get("recommended_config")
    sampling = recommended if isinstance(recommended, dict) else {}
    fields = {"name": name, "endpoint": entry["api_base"], "served_name": entry.get("model_name") or name}
    fields |= {own: sampling[own] for own in ("temperature", "top_p") if own in sampling}
    return fields | {own: entry[own] for own in MODEL if own in entry}
