"""Find which items of an evaluation are in what the model was trained on.

The rule is GPT-3's (Brown 2020, 2005.14165), as for the splits of training and evaluation (common.passages): an
item was seen when 13 words in a row of it, case and punctuation aside, stand in a training text; a shorter one when all
its words do, from eight words on. Fewer than eight cannot be told from a common phrase: such an item is marked only
when some training text is exactly it, and otherwise counts as too short to tell. Characters of Chinese and Japanese are
words of their own, for nothing parts them. A passage that more than ten items hold is the wording of the task, such as
its instruction, and tells of no item (GPT-3 passed over passages of more than ten documents).

The items' passages are hashed once and the training data streams past them: memory grows with the items alone.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common.passages import FEWEST_WORDS, LENGTH, hashes_of, plain_words
from training.core.run_directory import RecipeFailure, RunDirectory

HELD_OUT = "validation.jsonl"  # of a corpus: measured on while a model is trained, and never learnt from
MOST_SHARING = 10  # items that may hold a passage for it to tell of them
RULE = f"{LENGTH} words in a row, or the whole from {FEWEST_WORDS} words on"
_UNSPACED = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")
_BASE = np.uint64(0x9E3779B97F4A7C15)


@dataclass
class Marks:
    """Say which items the training data hold. `seen_in[i]`: names of the training files that hold item i.
    `too_short[i]`: not found, and could not be told."""

    seen_in: list[list[str]]
    too_short: list[bool]
    files: list[str] = field(default_factory=list)
    texts: int = 0  # training texts that were read


class Index:
    """Passages of items, sorted by hash, with the item that each belongs to."""

    def __init__(self, items: Sequence[Sequence[str]]) -> None:
        """Index items. `items`: for each item its texts, of which one that was seen is enough."""
        self.items_of_text: dict[str, set[int]] = defaultdict(set)
        self.too_short = [True] * len(items)
        hashes: dict[int, list[np.ndarray]] = defaultdict(list)
        owners: dict[int, list[np.ndarray]] = defaultdict(list)
        for number, texts in enumerate(items):
            for words in filter(None, map(words_of, texts)):
                if len(words) < FEWEST_WORDS:
                    self.items_of_text[" ".join(words)].add(number)
                    continue
                length = min(LENGTH, len(words))
                run_hashes = hashes_by_length(hashes_of(words, 1), [length])[length]
                hashes[length].append(run_hashes)
                owners[length].append(np.full(len(run_hashes), number))
        self.hashes: dict[int, np.ndarray] = {}
        self.owners: dict[int, np.ndarray] = {}
        for length in sorted(hashes):
            unique_hashes, item_numbers = _each_once(np.concatenate(hashes[length]), np.concatenate(owners[length]))
            self.hashes[length], self.owners[length] = unique_hashes, item_numbers
            for number in np.unique(item_numbers).tolist():
                self.too_short[number] = False

    def items_in(self, text: str) -> set[int]:
        """Return the items that a training text holds a passage of."""
        words = words_of(text)
        if len(words) < FEWEST_WORDS:
            return self.items_of_text.get(" ".join(words), set())
        numbers: set[int] = set()
        for length, hashes in hashes_by_length(hashes_of(words, 1), list(self.hashes)).items():
            indexed = self.hashes[length]
            if not len(indexed):
                continue
            indices = np.searchsorted(indexed, hashes)
            hits = indexed[np.minimum(indices, len(indexed) - 1)] == hashes
            for index, value in zip(indices[hits].tolist(), hashes[hits], strict=True):
                end = np.searchsorted(indexed, value, side="right")
                numbers.update(self.owners[length][index:end].tolist())
        return numbers


def _each_once(hashes: np.ndarray, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return them sorted by hash, each with each of its items once, without those that too many items hold."""
    order = np.lexsort((owners, hashes))
    hashes, owners = hashes[order], owners[order]
    new = np.ones(len(hashes), dtype=bool)
    new[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    hashes, owners = hashes[new], owners[new]
    _, hash_index, holders = np.unique(hashes, return_inverse=True, return_counts=True)
    is_kept = holders[hash_index] <= MOST_SHARING
    return hashes[is_kept], owners[is_kept]


def words_of(text: str) -> list[str]:
    return plain_words(_UNSPACED.sub(r" \1 ", text))


def hashes_by_length(words: np.ndarray, lengths: Sequence[int]) -> dict[int, np.ndarray]:
    """Return the hash of every run of so many words, from the words' own hashes; one pass for all lengths
    (ascending)."""
    hashes: dict[int, np.ndarray] = {}
    running = words
    with np.errstate(over="ignore"):
        for length in range(1, min(max(lengths, default=0), len(words)) + 1):
            if length > 1:
                running = running[:-1] * _BASE + words[length - 1 :]
            if length in lengths:
                hashes[length] = running
    return hashes


def mark(run: RunDirectory, items: Sequence[Sequence[str]], folders: Iterable[str]) -> Marks:
    """Look for the items' texts in every `*.jsonl` of the folders, but in what a corpus holds out.

    Raises RecipeFailure for a line that is no JSON.
    """
    index = Index(items)
    files_of_item: list[dict[str, None]] = [{} for _ in items]
    marks = Marks([], [], [])
    paths = [path for folder in folders for path in sorted(Path(folder).glob("*.jsonl")) if path.name != HELD_OUT]
    total = sum(path.stat().st_size for path in paths) or 1
    done = 0
    for path in paths:
        name = f"{path.parent.name[:12]}/{path.name}"
        marks.files.append(name)
        for number, (size, text) in enumerate(_texts(path)):
            marks.texts += 1
            for item in index.items_in(text):
                files_of_item[item][name] = None
            done += size
            if number % 5000 == 0:
                run.progress("searching for the items in the training data", done, total)
    marks.seen_in = [list(names) for names in files_of_item]
    marks.too_short = [short and not names for short, names in zip(index.too_short, files_of_item, strict=True)]
    return marks


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield every text in every line, with the bytes read for it: those of a line count with its first text."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line) if line.strip() else {}
            except ValueError as error:
                raise RecipeFailure(
                    "training_data_unreadable",
                    f"Line {number} of {path.name} in the dataset {path.parent.name[:12]} is not valid JSON: {error}.",
                    "Freeze that dataset again, or measure without the search for contamination "
                    "(config.contamination).",
                ) from error
            size = len(line)
            for text in strings_of(row):
                yield size, text
                size = 0


def strings_of(value: Any) -> Iterator[str]:
    """Yield every string in a row, however deep: corpus texts, both sides of an example, each message of a
    conversation."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from strings_of(part)
    elif isinstance(value, list):
        for part in value:
            yield from strings_of(part)
