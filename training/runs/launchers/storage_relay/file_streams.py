"""Copy the growing files of a run directory from a node to its worker: each time what was appended, and no more.

A short JSON file, which is replaced as a whole each time, goes with the message itself. Any other is sent in parts; a
file that was cut or replaced begins a new generation.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from common import atomic_files
from training.runs.launchers.storage_relay.message_box import MessageBox, Row

INPUTS = ("config.json", "identity", "amendments.json", "opinions.jsonl", "lock")  # the worker's own
_OF_ENDS = ("failure.json", "paused.json")  # an earlier attempt's must not be told of this one
_SHORT = 32_768  # bytes of a JSON file that goes with the message
_PART = 8 << 20
_MOST_PARTS = 200  # of a file, after which it is sent anew as a whole: who begins to read has not thousands to fetch
_BLOCK = 1 << 20


@dataclass
class _Sent:
    """How far a file was sent."""

    generation: int
    inode: int
    size: int = 0
    time: int = -1
    parts: list[str] = field(default_factory=list)


class FileSender:
    """Send the files of a folder, not those of its folders."""

    def __init__(self, box: MessageBox, folder: Path, attempt: int) -> None:
        self._box, self._folder, self._attempt = box, folder, attempt
        self._sent: dict[str, _Sent] = {}
        self._stale: list[str] = []  # parts that the next message does not name any more
        self._dropped: list[str] = []  # parts that the last message did not name

    def send(self) -> Row:
        """Send what has grown; return {name: how far}, for the message. Raises StorageProblem."""
        for name in self._dropped:
            self._box.delete(name)
        self._dropped, self._stale = self._stale, []
        index: Row = {}
        for path in sorted(self._folder.iterdir()):
            if _is_sent(path.name) and path.is_file() and not path.is_symlink():
                try:
                    index[path.name] = self._send_file(path)
                except FileNotFoundError:
                    continue  # it was replaced or deleted at this moment
        return index

    def _send_file(self, path: Path) -> Row:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if path.suffix == ".json" and status.st_size <= _SHORT:
                return {"text": file.read().decode("utf-8", "replace")}
            sent = self._sent_of(path, status)
            while sent.size < status.st_size:
                file.seek(sent.size)
                data = file.read(min(_PART, status.st_size - sent.size))
                if not data:
                    break
                name = part_name(self._attempt, path.name, sent.generation, sent.size)
                self._box.write_bytes(name, data)
                sent.parts.append(name)
                sent.size += len(data)
            sent.time = status.st_mtime_ns
        return {"generation": sent.generation, "size": sent.size}

    def _sent_of(self, path: Path, status: os.stat_result) -> _Sent:
        """Return how far a file was sent: nowhere, where it is not the one that it was."""
        sent = self._sent.get(path.name)
        is_changed = sent is not None and status.st_size == sent.size and status.st_mtime_ns != sent.time
        is_same = sent is not None and sent.inode == status.st_ino and status.st_size >= sent.size and not is_changed
        if sent is not None and is_same and (len(sent.parts) < _MOST_PARTS or status.st_size == sent.size):
            return sent
        generation = 1
        if sent is not None:
            generation = sent.generation + 1
            self._stale += sent.parts
        self._sent[path.name] = _Sent(generation, status.st_ino)
        return self._sent[path.name]


class FileReceiver:
    """Write in a folder what a FileSender sent."""

    def __init__(self, box: MessageBox, folder: Path, attempt: int) -> None:
        self._box, self._folder, self._attempt = box, folder, attempt
        self._received: dict[str, tuple[int, int]] = {}  # name: generation and size

    def receive(self, index: Mapping[str, Row]) -> list[str]:
        """Write what has grown; return the names of files of which a part is gone. Raises StorageProblem."""
        missing = []
        for name in _OF_ENDS:
            if name not in index:
                (self._folder / name).unlink(missing_ok=True)
        for name, entry in index.items():
            if not _is_sent(name):
                continue
            try:
                if "text" in entry:
                    self._replace_text(name, str(entry["text"]))
                else:
                    self._receive_file(name, int(entry["generation"]), int(entry["size"]))
            except FileNotFoundError:
                missing.append(name)
        return missing

    def _replace_text(self, name: str, text: str) -> None:
        path = self._folder / name
        if path.is_symlink() or not path.exists() or path.read_text(encoding="utf-8", errors="replace") != text:
            atomic_files.write_text(path, text, writer="relay", is_synced=False)

    def _receive_file(self, name: str, generation: int, size: int) -> None:
        path, before = self._folder / name, self._received.get(name)
        is_ours = before is not None and before[0] == generation and path.is_file() and path.stat().st_size == before[1]
        if is_ours and before is not None:
            if size > before[1]:
                self._append(path, self._parts(name, generation, before[1], size))
        else:
            self._begin(path, self._parts(name, generation, 0, size))
        self._received[name] = (generation, size)

    def _parts(self, name: str, generation: int, start: int, end: int) -> Iterator[bytes]:
        while start < end:
            data = self._box.read_bytes(part_name(self._attempt, name, generation, start))
            start += len(data)
            yield data

    def _append(self, path: Path, parts: Iterator[bytes]) -> None:
        data = b"".join(parts)  # all of them or none
        with path.open("ab") as file:
            file.write(data)

    def _begin(self, path: Path, parts: Iterator[bytes]) -> None:
        """Put a whole file in place; where what stands there is its beginning, write the rest behind that: whoever
        follows the file has read it."""
        whole = path.with_name(f".{path.name}.relay.partial")
        try:
            with whole.open("wb") as file:
                for data in parts:
                    file.write(data)
            if path.is_file() and not path.is_symlink() and _begins_with(whole, path):
                _append_rest(path, whole)
            else:
                whole.replace(path)
        finally:
            whole.unlink(missing_ok=True)


def part_name(attempt: int, name: str, generation: int, offset: int) -> str:
    return f"part/{attempt}/{name}/{generation:06d}-{offset:015d}"


def end_of_file(box: MessageBox, attempt: int, name: str, most_bytes: int | None = None) -> tuple[bytes, int] | None:
    """Return the end of a file as it was sent so far, of at least so many bytes where there are as many, all of it
    without a bound; and the size of the file. None for one that was not sent, or whose parts were deleted meanwhile.
    Raises StorageProblem."""
    entry = ((box.read(f"out-{attempt}.json") or {}).get("files") or {}).get(name)
    if not entry or "generation" not in entry:
        return None
    generation = part_name(attempt, name, int(entry["generation"]), 0).rpartition("-")[0]
    parts: list[bytes] = []
    try:
        for part in reversed(box.names(f"part/{attempt}/{name}")):
            if part.startswith(f"{generation}-"):
                parts.append(box.read_bytes(part))
            if most_bytes is not None and sum(map(len, parts)) >= most_bytes:
                break
    except FileNotFoundError:
        return None
    return b"".join(reversed(parts)), int(entry["size"])


def _is_sent(name: str) -> bool:
    return name not in INPUTS and not name.startswith(".") and "/" not in name and "\\" not in name


def _begins_with(whole: Path, beginning: Path) -> bool:
    with whole.open("rb") as first, beginning.open("rb") as second:
        while block := second.read(_BLOCK):
            if first.read(len(block)) != block:
                return False
    return True


def _append_rest(path: Path, whole: Path) -> None:
    with whole.open("rb") as source, path.open("ab") as target:
        source.seek(path.stat().st_size)
        while block := source.read(_BLOCK):
            target.write(block)
