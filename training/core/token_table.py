"""Keep the token ids of a run's examples in files, written once and read one example at a time.

    RUN/tokens/examples-0f3a…/tokens.ids        the numbers of all rows, end to end
    RUN/tokens/examples-0f3a…/tokens.ends.npy   (N,) int64: where each row ends

A folder is complete when it has its name, which has a hash of all that its numbers depend on: a resumed run finds it,
and one whose data, tokenizer or options are others makes a new one. Rows are read from the file and not mapped: the
system would count what it has read as the process's own memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from training.core.run_directory import RunDirectory

NumberRow = Mapping[str, Sequence[int]]


class ListsEndToEnd(Sequence[list[int]], ABC):
    """Hold lists of numbers, end to end: list i reaches from bound i to bound i + 1 of `_bounds`, (N + 1,)."""

    _bounds: Any

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        place = range(len(self))[index]
        return self._between(int(self._bounds[place]), int(self._bounds[place + 1]))

    @abstractmethod
    def _between(self, start: int, end: int) -> list[int]:
        """Return the numbers from `start` to `end`."""


class NumberLists(ListsEndToEnd):
    """Read lists of numbers from a column of a table. In memory are 8 bytes of each list: where it ends."""

    def __init__(self, folder: Path, column: str, dtype: Any) -> None:
        self._dtype = np.dtype(dtype)
        self._bounds = np.concatenate([[0], np.load(folder / f"{column}.ends.npy")])
        self._file: BinaryIO = (folder / f"{column}.ids").open("rb", buffering=0)

    @property
    def lengths(self) -> Any:
        """Return (N,) the length of each list."""
        return np.diff(self._bounds)

    def _between(self, start: int, end: int) -> list[int]:
        size = self._dtype.itemsize
        read = os.pread(self._file.fileno(), (end - start) * size, start * size)
        numbers: list[int] = np.frombuffer(read, self._dtype).tolist()
        return numbers


def number_table(
    run: RunDirectory, name: str, depends_on: Sequence[Any], columns: Mapping[str, Any],
    rows: Callable[[], Iterable[NumberRow]],
) -> dict[str, NumberLists]:  # fmt: skip
    """Return the columns of a table, by name. `columns` gives their dtypes; `rows` are asked for where no attempt has
    written them, and other tables of this name are removed."""
    digest = hashlib.sha256(json.dumps(depends_on, sort_keys=True, default=str).encode()).hexdigest()
    folder = tables_folder(run) / f"{name}-{digest[:16]}"
    if not folder.is_dir():
        for old in folder.parent.glob(f"{name}-*"):
            shutil.rmtree(old)
        _write(folder, columns, rows())
    return {column: NumberLists(folder, column, dtype) for column, dtype in columns.items()}


def tables_folder(run: RunDirectory) -> Path:
    return run.path / "tokens"


def token_dtype(tokenizer: Any) -> Any:
    return np.uint16 if len(tokenizer) <= 2**16 else np.uint32


def hash_of_data(run: RunDirectory, *names: str) -> str:
    """Return a hash of these files of rows, and of nothing where they are absent."""
    digest = hashlib.sha256()
    for name in names:
        path = run.path / "data" / f"{name}.jsonl"
        digest.update(name.encode())
        if path.exists():
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def hash_of_tokenizer(tokenizer: Any) -> str:
    """Return a hash of what makes token ids of texts and chats."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    words = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    text = json.dumps([words, tokenizer.chat_template, sorted(map(str, tokenizer.all_special_tokens))])
    return hashlib.sha256(text.encode()).hexdigest()


def _write(folder: Path, columns: Mapping[str, Any], rows: Iterable[NumberRow]) -> None:
    """Write the table under another name, bring it to the disk, rename it."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    ends = {column: array("q") for column in columns}
    with ExitStack() as stack:
        files = {column: stack.enter_context((partial / f"{column}.ids").open("wb")) for column in columns}
        for row in rows:
            for column, dtype in columns.items():
                files[column].write(np.array(row[column], dtype=dtype).tobytes())
                ends[column].append((ends[column][-1] if ends[column] else 0) + len(row[column]))
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    for column, places in ends.items():
        with (partial / f"{column}.ends.npy").open("wb") as file:
            np.save(file, np.array(places, dtype=np.int64))
            file.flush()
            os.fsync(file.fileno())
    partial.rename(folder)
