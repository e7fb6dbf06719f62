"""Store a corpus as token ids in a file that is mapped, never read at once: memory stays flat however long the corpus
is.

    RUN/tokens/train.bin, validation.bin, replay.bin   ids, uint16 where the vocabulary fits, else uint32
    RUN/tokens/counts.json                             written last: what stands there is complete

Documents stand behind one another, each after an end token, and one end token closes the last: the token that ends a
document is the one that begins the next, so that a model learns to begin as well as to end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common import atomic_files
from common.texts import percent
from training.core.run_directory import RecipeFailure, RunDirectory, read_lines

_DOCUMENTS_AT_ONCE = 256
ALPHABET = 400  # 256 bytes and special tokens: a vocabulary that is no larger was chosen to have no words
TRAIN, VALIDATION, REPLAY = NAMES = ("train", "validation", "replay")


@dataclass(frozen=True)
class Counts:
    """Count what a text file holds. `bytes` are those of the texts in UTF-8, `unknown` the tokens that stand for what
    the tokenizer cannot write, `used` how many words of the vocabulary come up."""

    documents: int
    tokens: int
    bytes: int
    unknown: int = 0
    used: int = 0


@dataclass(frozen=True)
class TokenFile:
    ids: np.ndarray  # (N,), mapped
    counts: Counts

    @property
    def bytes_per_token(self) -> float:
        return self.counts.bytes / max(self.counts.tokens - 1, 1)  # the very first end token is given, not predicted


def tokenise(run: RunDirectory, tokenizer: Any, *, end: int, validation_tokens: int) -> None:
    """Write the token files of `data/`, unless an earlier attempt has. `data/other/` is a second corpus, to replay.

    `end` stands between documents; validation ends at a document's end.
    """
    if (folder(run) / "counts.json").exists():
        return
    folder(run).mkdir(exist_ok=True)
    data = run.path / "data"
    files = {
        TRAIN: _train_files(data),
        VALIDATION: [data / f"{VALIDATION}.jsonl"],
        REPLAY: _train_files(data / "other"),
    }
    total = sum(path.stat().st_size for path in files[TRAIN]) or 1

    def say(done: int) -> None:
        run.progress("Tokenising the corpus", min(done * 100 // total, 100), 100)

    say(0)
    counts = {
        TRAIN: _write(run, TRAIN, files[TRAIN], tokenizer, end, None, say),
        VALIDATION: _write(run, VALIDATION, files[VALIDATION], tokenizer, end, validation_tokens),
        REPLAY: _write(run, REPLAY, files[REPLAY], tokenizer, end, None),
    }
    text = json.dumps({name: asdict(count) for name, count in counts.items()})
    atomic_files.write_text(folder(run) / "counts.json", text)


def open_file(run: RunDirectory, name: str, tokenizer: Any) -> TokenFile:
    counts = Counts(**json.loads((folder(run) / "counts.json").read_text(encoding="utf-8"))[name])
    path = folder(run) / f"{name}.bin"
    if not counts.documents:  # an empty file cannot be mapped
        return TokenFile(np.zeros(0, dtype=_dtype(tokenizer)), counts)
    return TokenFile(np.memmap(path, dtype=_dtype(tokenizer), mode="r"), counts)


def check_corpus(train: TokenFile, validation: TokenFile, context_length: int) -> None:
    """Check that there is enough to learn from and to measure on, and that the tokenizer fits. Raises RecipeFailure."""
    if train.counts.tokens < 2 * context_length + 1:
        raise RecipeFailure(
            "too_little_text",
            f"The corpus has {train.counts.documents} texts with {train.counts.tokens} tokens in total; it needs at "
            f"least two rows of context_length {context_length}.",
            "Choose a larger corpus, or a shorter context_length.",
        )
    if validation.counts.tokens < 16:
        raise RecipeFailure(
            "no_validation_text",
            f"The corpus has {validation.counts.documents} texts for validation; it needs at least one.",
            "Build the corpus from more or shorter texts, so that some are held out.",
        )
    if train.counts.unknown > 0.01 * train.counts.tokens:
        raise _unfit(f"cannot write {percent(train.counts.unknown / train.counts.tokens)} of this corpus")


def check_tokenizer(train: TokenFile, vocabulary: int) -> None:
    """Check that the vocabulary's words occur: else their embeddings learn nothing. Raises RecipeFailure."""
    if train.bytes_per_token < 1.2 and vocabulary > ALPHABET:
        raise _unfit(
            f"was trained on other texts: it splits this corpus into single bytes ({train.bytes_per_token:.2f} bytes "
            "per token)"
        )


def _unfit(problem: str) -> RecipeFailure:
    return RecipeFailure(
        "tokenizer_does_not_fit",
        f"The tokenizer {problem}.",
        "Train a tokenizer on this corpus (byte-level, it can write any text), and start from that.",
    )


def folder(run: RunDirectory) -> Path:
    return run.path / "tokens"


def _train_files(data: Path) -> list[Path]:
    return [path for path in sorted(data.glob("*.jsonl")) if path.stem != VALIDATION]


def _texts(paths: list[Path]) -> Iterator[str]:
    for path in paths:
        for row in read_lines(path):
            if not isinstance(text := row.get("text"), str):
                raise RecipeFailure(
                    "not_a_corpus", f"{path.name} has a row without a text.", "Choose a dataset of kind corpus."
                )
            if text.strip():
                yield text


def _write(
    run: RunDirectory,
    name: str,
    paths: list[Path],
    tokenizer: Any,
    end: int,
    limit: int | None,
    report: Callable[[int], None] = lambda done: None,
) -> Counts:
    dtype, unknown = _dtype(tokenizer), tokenizer.unk_token_id
    special = np.array(sorted({end, *tokenizer.all_special_ids} - {unknown}), dtype=dtype)
    documents = tokens = size = strange = 0
    used = np.zeros(len(tokenizer), dtype=bool)
    with (folder(run) / f"{name}.bin").open("wb") as file:
        for batch in _batches(_texts(paths)):
            encoded = tokenizer(batch, add_special_tokens=False, verbose=False)["input_ids"]
            for text, ids in zip(batch, encoded, strict=True):
                row = np.array([end, *ids], dtype=dtype)
                # A text that spells a special token must not end a document, nor name a mask.
                row = row[np.concatenate(([True], ~np.isin(row[1:], special)))]
                row.tofile(file)
                used[row] = True
                documents, tokens, size = documents + 1, tokens + len(row), size + len(text.encode())
                strange += int((row == unknown).sum()) if unknown not in (None, end) else 0
                if limit is not None and tokens >= limit:
                    break
            report(size)
            if limit is not None and tokens >= limit:
                break
        if documents:
            np.array([end], dtype=dtype).tofile(file)
            tokens += 1
        file.flush()
        os.fsync(file.fileno())
    return Counts(documents, tokens, size, strange, int(used.sum()))


def _batches(texts: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == _DOCUMENTS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _dtype(tokenizer: Any) -> Any:
    return np.uint16 if len(tokenizer) <= 2**16 else np.uint32
