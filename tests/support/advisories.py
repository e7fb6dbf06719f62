"""Say what pip-audit has written: `python -m tests.support.advisories audit.json`; script/audit calls it.

pip-audit ends well when it could ask about nothing at all: so it is counted what was asked about.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Audit:
    """Hold how many packages were asked about, the names of those that were not, and the weaknesses in words."""

    asked: int
    skipped: tuple[str, ...]
    weaknesses: tuple[str, ...]


def read(path: Path) -> Audit:
    """Return what is in the file; nothing was asked where there is none, or half of one."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["dependencies"]
    except (OSError, ValueError, KeyError, TypeError):
        return Audit(0, (), ())
    asked = [row for row in rows if "skip_reason" not in row]
    skipped = tuple(row["name"] for row in rows if "skip_reason" in row)
    return Audit(len(asked), skipped, tuple(_in_words(row, each) for row in asked for each in row["vulns"]))


def verdict(audit: Audit, *, is_ci: bool) -> tuple[int, str]:
    """Return the exit status and what to say: 1 for a weakness; in CI 2 where packages were not asked about."""
    lines = list(audit.weaknesses)
    lines.append(f"{audit.asked} packages were asked about; known weaknesses: {len(audit.weaknesses)}.")
    if not audit.asked:
        lines[-1] = (
            "PyPI's advisories could not be had, so nothing is known of any package. Try where pypi.org is reached."
        )
    elif audit.skipped:
        lines.append(f"Not asked about: {', '.join(audit.skipped)}.")
    is_whole = audit.asked and not audit.skipped
    return (1 if audit.weaknesses else 2 if is_ci and not is_whole else 0), "\n".join(lines)


def _in_words(row: dict[str, Any], weakness: dict[str, Any]) -> str:
    mended = ", ".join(weakness.get("fix_versions") or []) or "no release yet"
    return f"{row['name']} {row['version']}: {weakness['id']}, mended in {mended}"


if __name__ == "__main__":
    status, text = verdict(read(Path(sys.argv[1])), is_ci=os.environ.get("CI") == "true")
    print(text, file=sys.stderr)
    sys.exit(status)
