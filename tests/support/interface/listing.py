"""List every text of the interface, one on each line: subject, file:line, sort, text. Sorted by subject."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.interface.found_text import FoundText, subject_of
from tests.support.interface.python_texts import python_texts
from tests.support.interface.script_texts import script_texts
from tests.support.interface.template_texts import template_texts

ROOT = Path(__file__).resolve().parents[3]
PLACES: tuple[tuple[str, str, Callable[[str], Iterator[tuple[int, str, str]]]], ...] = (
    ("templates", "*.html", template_texts),
    ("annotate", "*.py", python_texts),
    ("training", "*.py", python_texts),
    ("evaluation", "*.py", python_texts),
    ("common", "*.py", python_texts),
    ("config", "*.py", python_texts),
    ("static", "*.js", script_texts),
)
LEFT_OUT = frozenset(("migrations", "vendor", "commands", "__pycache__"))


def interface_texts(root: Path = ROOT) -> list[FoundText]:
    """Return all texts of the interface below `root`, sorted by subject, file and line."""
    return sorted(
        FoundText(subject_of(path), path, line, sort, text)
        for folder, pattern, texts_of in PLACES
        for path in _paths(root, folder, pattern)
        for line, sort, text in texts_of((root / path).read_text(encoding="utf-8"))
    )


def _paths(root: Path, folder: str, pattern: str) -> Iterator[str]:
    for path in (root / folder).rglob(pattern):
        parts = path.relative_to(root).parts
        if not LEFT_OUT.intersection(parts):
            yield "/".join(parts)


def main(arguments: list[str]) -> None:
    """Print the texts whose subject or file begins as one of the arguments; all without an argument."""
    for each in interface_texts():
        if not arguments or any(each.subject.startswith(one) or each.path.startswith(one) for one in arguments):
            print(each)


if __name__ == "__main__":
    main(sys.argv[1:])
