"""Text that every Python carries: the language's help topics, and the docstrings of its standard library.

The docstrings are read out of the source and not by importing: some modules do things when they are imported.
"""

from __future__ import annotations

import ast
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "turtledemo", "lib2to3", "pydoc_data"}


def topics(skip: int = 0) -> Iterator[str]:
    """Yield what `help("while")` and its like print: some eighty texts, half a megabyte of English."""
    from pydoc_data import topics as carried

    yield from (carried.topics[name] for name in sorted(carried.topics)[skip:])


def docstrings(skip: int = 0) -> Iterator[str]:
    """Yield one document for each module of the standard library: its docstrings, one after the other."""
    for module in _modules()[skip:]:
        yield _docstrings_of(module)


def count(name: str) -> int:
    """Return how many texts there are of this name."""
    from pydoc_data import topics as carried

    return len(carried.topics) if name == "topics" else len(_modules())


def _modules() -> list[Path]:
    root = Path(sysconfig.get_paths()["stdlib"])
    return sorted(p for p in root.rglob("*.py") if not _LEFT_OUT & set(p.relative_to(root).parts))


def _docstrings_of(module: Path) -> str:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escapes in somebody else's source
        tree = ast.parse(module.read_bytes())
    docstrings = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented))
    return "\n\n".join(text for text in docstrings if text)
