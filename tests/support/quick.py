"""Choose the tests that are done within a minute (`pytest --quick SUBJECT`, which script/test quick calls).

All of tests/unit: no database, no torch, no processes. And of one subject the pages and the API (tests/web), as far as
they are not slow. A subject is a folder of an app (`arena`, `labelling`), or part of a test module's name (`board`,
`api_runs`). Modules that are left out are not even imported.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.processes import ROOT

_TESTS = ROOT / "tests"


def is_quick(module: Path, subject: str) -> bool:
    """Return whether this test module is of the minute."""
    kind = module.relative_to(_TESTS).parts[0]
    return kind == "unit" or (kind == "web" and is_of(module, subject))


def is_of(module: Path, subject: str) -> bool:
    """Return whether a test module lies in the subject's folder, or has the subject in its name."""
    return bool(subject) and (subject in module.parent.parts or subject in module.stem.removeprefix("test_"))


def require_subject(subject: str) -> None:
    """Raise pytest.UsageError where nothing is of the subject: a minute of other tests would look like its success."""
    if subject and not any(is_of(path, subject) for path in sorted(_TESTS.rglob("test_*.py"))):
        raise pytest.UsageError(
            f"No test is of {subject}: name a folder of an app (arena), or part of a test module's name."
        )
