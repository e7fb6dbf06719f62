"""The small suite of choices that comes with this project: `evaluation/suite/*.jsonl`, a file for each part.

Written for this project, item by item, and checked by machine for what a machine can check (tests of this module):
the right candidate stands as often in each place, and is as often the longest as chance would have it. What it can
tell, and what not, stands in `docs/guides/evaluation.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from evaluation.recipes.common.choice_items import Place
from training.core.run_directory import Row, read_lines

NAME = "assay"
VERSION = 1
FOLDER = Path(__file__).resolve().parent.parent / "suite"


def rows() -> Iterator[tuple[Place, Row]]:
    """Yield every item, with the name of its part as its group."""
    for path in sorted(FOLDER.glob("*.jsonl")):
        for line, row in enumerate(read_lines(path), start=1):
            yield Place(path.name, line), {"group": path.stem.replace("_", " "), **row}
