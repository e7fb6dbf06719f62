"""Threads take short turns at the interpreter wherever the database is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from annotate.core.db import interpreter_turns


@pytest.mark.parametrize("name", ["postgres", "sqlite"])
def test_turns_are_short_on_either_database(name: str) -> None:
    line = f"import sys, annotate.core.db.{name}.base; print(sys.getswitchinterval())"
    said = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    assert float(said.stdout) == interpreter_turns.SECONDS
