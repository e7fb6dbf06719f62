"""Choose which cases of one mechanism the plain run tries; the others are `thorough` (script/test all)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def plain_run_tries(*plain: Any, of: Iterable[Any]) -> list[Any]:
    """Return the cases `of` a parametrized test, all but `plain` marked thorough. A tuple is a case of several values.

    Raise ValueError where `plain` names a case that the test does not have.
    """
    cases = list(of)
    if unknown := [case for case in plain if case not in cases]:
        raise ValueError(f"no case of the test is {unknown}")
    return [case if case in plain else _thorough(case) for case in cases]


def _thorough(case: Any) -> Any:
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.thorough)
