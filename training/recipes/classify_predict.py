"""Label texts with a classifier's folder.

    python -m training.recipes.classify_predict MODEL_DIR < texts.jsonl > labels.jsonl

In: one JSON object on each line, {"text", "text_b"?}, or a JSON text. Out: for each line {"label", "probabilities"}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from training.core.run_directory import RecipeFailure
from training.recipes.classify.text_classifier import Classifier, Pair

_BATCH = 64


def read(lines: Iterable[str]) -> Iterator[Pair]:
    """Return the texts. Raises RecipeFailure, naming the line."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row: Any = json.loads(line)
        except ValueError:
            row = None
        row = {"text": row} if isinstance(row, str) else row
        if not isinstance(row, dict) or not isinstance(row.get("text"), str) or not row["text"].strip():
            raise RecipeFailure("bad_line", f"Line {number} holds no text.", 'Write {"text": "…"} on each line.')
        yield row["text"], str(row.get("text_b") or "")


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        pairs = list(read(sys.stdin))
        classifier = Classifier.load(arguments[0])
        for start in range(0, len(pairs), _BATCH):
            for row in classifier.predict(pairs[start : start + _BATCH]):
                print(json.dumps({"label": next(iter(row)), "probabilities": row}, ensure_ascii=False))
    except RecipeFailure as failure:
        print(f"{failure.message} {failure.remedy}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
