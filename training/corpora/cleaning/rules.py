"""Define a cleaning rule: a name, what it does in words, and a function from a text to a verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """The text as the rule leaves it, or why the document goes. `detail` is for the few that are shown."""

    text: str
    drop_reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Rule:
    name: str  # the option that switches it
    title: str
    judge: Callable[[str], Verdict]
