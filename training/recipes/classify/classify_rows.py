"""Read labelled rows for a classifier, check them, and split them so that no text is in both splits."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from common.splits import normalise
from training.core.run_directory import RecipeFailure, Row

FEWEST_OF_A_LABEL = 2


@dataclass(frozen=True)
class Example:
    text: str
    text_b: str
    label: str

    @property
    def key(self) -> str:
        """Return the same for texts that differ in case and white space alone."""
        return hashlib.sha256(f"{normalise(self.text)}\n{normalise(self.text_b)}".encode()).hexdigest()


@dataclass
class Split:
    train: list[Example]
    held_out: list[Example]
    labels: list[str]
    left_out: dict[str, int] = field(default_factory=dict)
    held_out_by: str = "hash"


def read_examples(rows: Iterable[Row]) -> list[Example]:
    """Return the examples; premise and hypothesis are a pair of texts, too. Raises RecipeFailure for rows without
    labels."""
    examples = []
    for number, row in enumerate(rows, start=1):
        text, second = row.get("text") or row.get("premise"), row.get("text_b") or row.get("hypothesis") or ""
        label = row.get("label")
        if not isinstance(text, str) or not text.strip() or not isinstance(label, str) or not label.strip():
            raise RecipeFailure(
                "no_labels",
                f"Row {number} has no text with a label; its fields are {', '.join(row)}.",
                "Use a dataset of a task with labels, such as sentiment; turn other tasks into instructions.",
            )
        examples.append(Example(text, second, label))
    return examples


def split(examples: list[Example], test: list[Example], *, share: float, allowed: list[str] | None = None) -> Split:
    """Split the examples: `test` is held out as it is, when there is one; else of each label the texts with the lowest
    hashes.

    The same text twice counts once; one that bears several labels is left out, for nobody could say which is right.
    """
    left_out: Counter[str] = Counter()
    usable = _once(examples, left_out)
    labels = allowed or sorted({e.label for e in usable})
    _refuse_unknown(usable, labels, "dataset")
    held_out = _once(test, Counter())
    if held_out:
        tested = {e.key for e in held_out}
        left_out["texts that the second dataset tests"] += sum(e.key in tested for e in usable)
        usable = [e for e in usable if e.key not in tested]
    _refuse_too_few(usable, labels, 1 if held_out else FEWEST_OF_A_LABEL)
    _refuse_unknown(held_out, labels, "second dataset")
    by = "a dataset of its own" if held_out else "hash"
    if not held_out:
        usable, held_out = _by_hash(usable, share)
    return Split(usable, held_out, labels, {reason: n for reason, n in left_out.items() if n}, by)


def _once(examples: list[Example], left_out: Counter[str]) -> list[Example]:
    by_key: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_key[example.key].append(example)
    kept_examples = []
    for same in by_key.values():
        if len({e.label for e in same}) > 1:
            left_out["texts with several labels"] += len(same)
            continue
        left_out["repeated texts"] += len(same) - 1
        kept_examples.append(same[0])
    return kept_examples


def _refuse_unknown(examples: list[Example], labels: list[str], source: str) -> None:
    unknown = Counter(e.label for e in examples if e.label not in labels)
    if unknown:
        text = ", ".join(f"{label!r} ({n})" for label, n in unknown.most_common(5))
        raise RecipeFailure(
            "unknown_labels",
            f"The {source} has labels that are not among {', '.join(labels)}: {text}.",
            "Add them to config.labels, map them to names when uploading (labels), or leave these rows out.",
        )


def _refuse_too_few(examples: list[Example], labels: list[str], fewest: int) -> None:
    counts = Counter(e.label for e in examples)
    if len(examples) < 2:
        raise RecipeFailure(
            "too_few_texts",
            f"There are {len(examples)} different texts for training.",
            "Upload more labelled texts: at least some tens of each label.",
        )
    if len(labels) < 2:
        raise RecipeFailure(
            "one_label",
            f"Every text has the label {labels[0]!r}, so there is nothing to distinguish.",
            "Upload texts with at least two labels.",
        )
    if rare := [label for label in labels if counts[label] < fewest]:
        raise RecipeFailure(
            "rare_label",
            f"Of the label {rare[0]!r} there are {counts[rare[0]]} different texts; {fewest} are needed, so that some "
            "can be used for training and one can be held out.",
            f"Upload more texts of {', '.join(map(repr, rare))}, or leave that label out.",
        )


def _by_hash(examples: list[Example], share: float) -> tuple[list[Example], list[Example]]:
    held_out: set[str] = set()
    for label in {e.label for e in examples}:
        keys = sorted(e.key for e in examples if e.label == label)
        held_out |= set(keys[: min(max(math.floor(share * len(keys) + 0.5), 1), len(keys) - 1)])
    return [e for e in examples if e.key not in held_out], [e for e in examples if e.key in held_out]
