"""Opening text files: compressed or not, in whatever encoding, cut into documents without holding a file in memory."""

from __future__ import annotations

import codecs
import gzip
import io
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any, cast

from training.corpora.reading import unpacking_bounds as bounds

_LOOKED_AT = 1 << 18
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def opened(raw: IO[bytes], name: str, most: int = bounds.LARGEST_IMPORT) -> AbstractContextManager[IO[bytes]]:
    """Unpack a file whose name says that it is packed, up to `most` bytes."""
    if not name.endswith(".gz"):
        return nullcontext(raw)
    unpacked: Any = io.BufferedReader(bounds.Unpacked(cast(Any, gzip.GzipFile(fileobj=raw)), name, most))
    return unpacked


def encoding_of(file: Path) -> str:
    """Return the encoding by its byte order mark; else UTF-8 where its beginning is that, and Windows-1252, which takes
    any byte."""
    with file.open("rb") as raw, opened(raw, file.name) as stream:
        beginning = stream.read(_LOOKED_AT)
    for mark, name in _MARKS:
        if beginning.startswith(mark):
            return name
    try:
        codecs.getincrementaldecoder("utf-8")().decode(beginning)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def paragraphs(lines: Iterable[str]) -> Iterator[str]:
    """Yield the texts between blank lines."""
    paragraph_lines: list[str] = []
    length = 0
    for line in lines:
        if line.strip():
            paragraph_lines.append(line)
            length += len(line)
        if paragraph_lines and (not line.strip() or length > bounds.LONGEST_LINE):
            yield "".join(paragraph_lines).rstrip("\n")
            paragraph_lines, length = [], 0
    if paragraph_lines:
        yield "".join(paragraph_lines).rstrip("\n")


def pieces(lines: Iterable[str], longest: int) -> Iterator[str]:
    """Yield the whole, in pieces of at most `longest` characters, cut at a blank line where the last half has one."""
    piece_lines: list[str] = []
    length = blank = 0
    for line in _bounded(lines, longest):
        if length + len(line) > longest and piece_lines:
            cut = blank if sum(map(len, piece_lines[:blank])) * 2 >= longest else len(piece_lines)
            yield "".join(piece_lines[:cut])
            piece_lines = piece_lines[cut:]
            length, blank = sum(map(len, piece_lines)), 0
            if length + len(line) > longest:
                yield "".join(piece_lines)
                piece_lines, length = [], 0
        piece_lines.append(line)
        length += len(line)
        if not line.strip():
            blank = len(piece_lines)
    if "".join(piece_lines).strip():
        yield "".join(piece_lines)


def cut(text: str, longest: int) -> Iterator[str]:
    """Return a document as it is, or in pieces when it is too long."""
    yield from [text] if text.strip() and len(text) <= longest else pieces(text.splitlines(keepends=True), longest)


def _bounded(lines: Iterable[str], longest: int) -> Iterator[str]:
    """Cut the lines so that no line is longer than a piece."""
    for line in lines:
        for start in range(0, len(line), longest):
            yield line[start : start + longest]
