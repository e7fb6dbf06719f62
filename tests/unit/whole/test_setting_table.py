"""Each variable that the code reads is declared once, with the default that the code has, and stands in the guide."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from config import setting_table

ROOT = Path(__file__).resolve().parents[3]
ROOMS = ("common", "annotate", "training", "evaluation", "config")
_READERS = {"_listed": 0, "limit": 0, "json_object": 0, "_port": 1}  # our functions and which argument is the name
_FAMILIES = ("ASSAY_JUDGE_KEY", "ASSAY_JUDGE_URL")  # of which operators make up the rest


class Read(NamedTuple):
    """A place that reads a variable; `name` is None where only the caller knows it."""

    place: str
    name: str | None
    default: str | None


@cache
def parsed(path: Path) -> tuple[ast.Module, dict[str, str], dict[str, tuple[str, str]]]:
    """Return a module, its constants that are texts, and what it imports by name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts: dict[str, str] = {}
    imports: dict[str, tuple[str, str]] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            texts |= {t.id: node.value.value for t in node.targets if isinstance(t, ast.Name)}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imports |= {name.asname or name.name: (node.module, name.name) for name in node.names}
    return tree, {name: text for name, text in texts.items() if isinstance(text, str)}, imports


def text_of(node: ast.expr, path: Path) -> str | None:
    """Return a text of the code, written there or a constant of this module or of one that it imports."""
    _, texts, imports = parsed(path)
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Name):
        if node.id in imports:
            module, name = imports[node.id]
            return constant_of(module, name)
        return texts.get(node.id)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in imports:
        return constant_of(".".join(imports[node.value.id]), node.attr)
    return None


def constant_of(module: str, name: str) -> str | None:
    path = ROOT / f"{module.replace('.', '/')}.py"
    return parsed(path)[1].get(name) if path.exists() else None


def is_environment(node: ast.expr, path: Path) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name in ("environ", "environment") or (name == "values" and path.name == "runner.py")


def reads() -> Iterator[Read]:
    paths = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    for path in paths:
        if "environ" not in path.read_text(encoding="utf-8") and "getenv" not in path.read_text(encoding="utf-8"):
            continue  # parsing all of them takes seconds
        for node in ast.walk(parsed(path)[0]):
            found = read_by(node, path)
            if found is not None:
                key, default = found
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                yield Read(place, text_of(key, path), text_of(default, path) if default is not None else None)


def read_by(node: ast.AST, path: Path) -> tuple[ast.expr, ast.expr | None] | None:
    """Return which variable a piece of code reads, and the default that it has there."""
    if isinstance(node, ast.Call):
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr in ("get", "pop", "setdefault", "getenv"):
            if node.args and (is_environment(function.value, path) or function.attr == "getenv"):
                return node.args[0], node.args[1] if len(node.args) > 1 else None
        elif isinstance(function, ast.Name) and function.id in _READERS and len(node.args) > _READERS[function.id]:
            return node.args[_READERS[function.id]], None
    elif isinstance(node, ast.Subscript) and is_environment(node.value, path):
        return node.slice, None
    elif isinstance(node, ast.Compare) and any(is_environment(each, path) for each in node.comparators):
        return node.left, None
    return None


@pytest.fixture(scope="module")
def found() -> list[Read]:
    return list(reads())


def test_each_variable_that_the_code_reads_is_declared(found):
    known = setting_table.names().keys() | setting_table.INTERNAL
    assert len({read.name for read in found if read.name in known}) > 60, "the search finds what there is"
    assert not [read for read in found if read.name and read.name not in known and read.name.isupper()]


def test_each_declared_setting_is_read_and_declared_once(found):
    read = {each.name for each in found}
    everything = [setting for group in setting_table.SETTINGS.values() for setting in group]
    assert len({setting.name for setting in everything}) == len(everything)
    of_libraries = {"DATABASE_URL"}  # dj_database_url reads it
    assert not [
        setting.name
        for setting in everything
        if setting.name not in read | of_libraries and not setting.name.startswith(_FAMILIES)
    ]


def test_a_default_is_that_of_the_code(found):
    declared = setting_table.names()
    differing = [
        f"{read.place}: {read.name} is {read.default!r} there"
        for read in found
        if read.name in declared and read.default and read.default != (declared[read.name].default or read.default)
    ]
    assert not differing


def test_the_guide_has_the_table_as_it_is_declared():
    text = setting_table.PLACE.read_text(encoding="utf-8")
    assert text == setting_table.table(), "run python -m config.setting_table"
