"""Choose the tests that are done within a minute (`pytest --quick SUBJECT`, which script/test quick calls).

Pure tests: no database, no torch, no processes. And of one subject all that is not slow: its pages and its API. A
subject is a folder of an app (`arena`, `labelling`), or part of a test module's name (`board`, `api_runs`). Modules
that are left out are not even imported.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.processes import ROOT

TORCH = re.compile(r"^(?:from|import) (?:torch|transformers|trl|peft|accelerate|datasets|lm_eval)\b", re.M)
DATABASE = re.compile(r"\bdb\b|django_db|\bclient\b|tests\.factories|live_server")
PROCESSES = re.compile(r"\bsubprocess\b|tests\.processes|tests\.servers")
SITE = re.compile(r"tests\.site|playwright")  # of several processes, and perhaps a browser
_OURS = r"(?:common|annotate|training|evaluation|config|tests)"
_FROM = re.compile(rf"^from ({_OURS}[\w.]*) import (\([^)]*\)|[^\n]*)", re.M)
_IMPORT = re.compile(rf"^import ({_OURS}[\w.]*)", re.M)


def is_quick(module: Path, subject: str) -> bool:
    """Return whether this test module has tests for the minute."""
    text = module.read_text(encoding="utf-8")
    if SITE.search(text) or needs_torch(module):
        return False
    return is_of(module, subject) or not (DATABASE.search(text) or PROCESSES.search(text))


@cache
def is_of(module: Path, subject: str) -> bool:
    """Return whether a test module has the subject in its name, or imports something of the subject's folder."""
    if not subject:
        return False
    if subject in module.stem.removeprefix("test_"):
        return True
    name = rf"\b{re.escape(subject)}\b"
    place = re.compile(rf"^\s*from (?:annotate|training|evaluation)(?:\.{name}| import [^\n]*{name})", re.M)
    return bool(place.search(module.read_text(encoding="utf-8")))


def require_subject(subject: str) -> None:
    """Raise pytest.UsageError where nothing is of the subject: a minute of other tests would look like its success."""
    if subject and not any(is_of(path, subject) for path in sorted((ROOT / "tests").rglob("test_*.py"))):
        raise pytest.UsageError(
            f"No test is of {subject}: name a folder of an app (arena), or part of a test module's name."
        )


def needs_torch(module: Path) -> bool:
    """Return whether importing this file imports torch, by the imports at its left margin and theirs."""
    seen, waiting = set(), [module]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            ours, is_torch = _imports(path)
            if is_torch:
                return True
            waiting += ours
    return False


@cache
def _imports(path: Path) -> tuple[list[Path], bool]:
    """Return our own files that this one imports, and whether it imports torch itself."""
    text = path.read_text(encoding="utf-8")
    return _imported(text), bool(TORCH.search(text))


@cache
def _file_of(name: str) -> Path | None:
    place = ROOT / name.replace(".", "/")
    paths = (path for path in (place.with_suffix(".py"), place / "__init__.py") if path.exists())
    return next(paths, None)


def _imported(text: str) -> list[Path]:
    """Return our own files that a text imports, with the packages they lie in."""
    names = {match[1] for match in _IMPORT.finditer(text)}
    for match in _FROM.finditer(text):
        members = re.findall(r"\w+", re.sub(r"#.*|\bas \w+", "", match[2]))
        names |= {match[1], *(f"{match[1]}.{member}" for member in members)}
    names |= {name.rpartition(".")[0] for name in names if "." in name}
    return [path for path in map(_file_of, sorted(names)) if path is not None]
