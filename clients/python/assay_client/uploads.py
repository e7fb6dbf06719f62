"""Files that are sent, read as they go, and sent again from where they began."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

Upload = str | os.PathLike[str] | BinaryIO  # a path, or an open file that can be read again from where it stands
_CHUNK = 1 << 16


@dataclass(frozen=True)
class FilePart:
    """A file among the fields of a form."""

    source: Upload


class Multipart:
    """The body of a form with a file. The same form with the same key is the same bytes, however often it is sent."""

    def __init__(self, form: Mapping[str, Any], key: str) -> None:
        self._boundary = hashlib.sha256(key.encode()).hexdigest()
        texts = {name: value for name, value in form.items() if not isinstance(value, FilePart)}
        self._files = {name: value.source for name, value in form.items() if isinstance(value, FilePart)}
        self._starts = {name: _start(name, source) for name, source in self._files.items()}
        self._texts = b"".join(
            self._head(f'name="{name}"') + str(text).encode() + b"\r\n" for name, text in texts.items()
        )

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={self._boundary}"

    def send(self, closing: ExitStack) -> tuple[int, Iterator[bytes]]:
        """Return the length of the body, and the body piece by piece. `closing` closes the files that are opened."""
        files = {name: self._open(name, closing) for name in self._files}
        heads = {name: self._file_head(name) for name in files}
        length = len(self._texts) + len(self._end()) + sum(len(head) + 2 for head in heads.values())
        length += sum(_rest(file) for file in files.values())
        return length, self._pieces(files, heads)

    def _pieces(self, files: dict[str, BinaryIO], heads: dict[str, bytes]) -> Iterator[bytes]:
        yield self._texts
        for name, file in files.items():
            yield heads[name]
            while piece := file.read(_CHUNK):
                yield piece
            yield b"\r\n"
        yield self._end()

    def _open(self, name: str, closing: ExitStack) -> BinaryIO:
        source = self._files[name]
        if isinstance(source, str | os.PathLike):
            return closing.enter_context(Path(source).open("rb"))
        source.seek(self._starts[name])
        return source

    def _file_head(self, name: str) -> bytes:
        source = self._files[name]
        path = source if isinstance(source, str | os.PathLike) else str(getattr(source, "name", "file"))
        file_name = Path(path).name.translate({ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"})
        return self._head(f'name="{name}"; filename="{file_name}"', "Content-Type: application/octet-stream\r\n")

    def _head(self, about: str, more: str = "") -> bytes:
        return f"--{self._boundary}\r\nContent-Disposition: form-data; {about}\r\n{more}\r\n".encode()

    def _end(self) -> bytes:
        return f"--{self._boundary}--\r\n".encode()


def _start(name: str, source: Upload) -> int:
    """Return where an open file stands. Raises ValueError for one that cannot be sent again."""
    if isinstance(source, str | os.PathLike):
        return 0
    if isinstance(source, io.TextIOBase):
        raise ValueError(f"{name}: open the file in binary mode, open(path, 'rb').")
    if not source.seekable():
        raise ValueError(f"{name}: give a path, or an open file that can be read again from its place.")
    return source.tell()


def _rest(file: BinaryIO) -> int:
    start = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(start)
    return end - start
