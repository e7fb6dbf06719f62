"""Rows of a plain text file: a text on each line, or paragraphs with a blank line between them. Pure: no Django."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from annotate.data.rows import row_source
from annotate.data.rows.row_source import FileRow, Source, TooLarge

LINES, PARAGRAPHS = "txt", "paragraphs"
_LOOKED_AT = 1 << 16  # bytes by which the two are told apart


def guess(source: Source) -> str:
    """Return PARAGRAPHS where blank lines separate texts of which one goes over several lines, else LINES."""
    filled = [bool(line.strip()) for line in source.peek(_LOOKED_AT).strip().splitlines()]
    has_long_text = any(one and following for one, following in pairwise(filled))
    return PARAGRAPHS if has_long_text and not all(filled) else LINES


def read_text(source: Source, kind: str) -> Iterator[FileRow]:
    """Yield {"text": …} for each line that is not blank, or for each paragraph, with the number of its last line.

    Raises TooLarge for a paragraph without an end; a line that is too long is told as no row."""
    held: list[bytes] = []
    number, size, row_ended = 0, 0, 0
    for number, line in enumerate(iter(source.readline, b""), start=1):
        if not line.strip():
            source.check_void(row_ended, row_source.LONGEST_LINE)
            if held:
                yield _row(held, number - 1, source)
                held, size = [], 0
            continue
        held.append(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
        size += len(line)
        if len(line) > row_source.LONGEST_LINE:
            source.pass_rest_of(line)
        elif kind == PARAGRAPHS and size > row_source.LONGEST_LINE:
            text = f"Up to line {number} a text has more than {row_source.LONGEST_LINE:,} bytes"
            raise TooLarge(f"{text}; separate the texts by blank lines, or choose one text on each line (txt).")
        row_ended = source.read_so_far
        if kind == LINES:
            yield _row(held, number, source)
            held, size = [], 0
    if held:
        yield _row(held, number, source)


def _row(lines: list[bytes], number: int, source: Source) -> FileRow:
    content = b"".join(lines).strip()
    if len(content) > row_source.LONGEST_LINE:
        problem = f"has more than {row_source.LONGEST_LINE:,} bytes; shorten it."
        return FileRow(number, {}, problem, source.position)
    try:
        return FileRow(number, {"text": content.decode()}, "", source.position)
    except UnicodeDecodeError as error:
        return FileRow(number, {}, f"is not UTF-8 ({error.reason}); save the file as UTF-8.", source.position)
