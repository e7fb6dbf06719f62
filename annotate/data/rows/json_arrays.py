"""Read the elements of a JSON list, one at a time, however long the list is. Pure: no Django.

The standard decoder takes one element from a window of the text; where the window ends inside an element, it is
doubled, so that no text is decoded more than twice on average, and never beyond `longest`.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, Protocol


def constant(name: str) -> str | None:
    """Return values that programs write without JSON having a word for them: None for NaN, and the word itself for an
    infinite number."""
    return None if name.lower() == "nan" else name


class NamedTwice(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NamedTwice(f"has {twice!r:.60} twice in one object; remove one of them.")
    return row


DECODER = json.JSONDecoder(parse_constant=constant, object_pairs_hook=_object)
_WINDOW = 1 << 18
_LONGEST_EXPONENT = len("e+") + 1
_BLANKS = re.compile(r"[ \t\r\n]*")


class Readable(Protocol):
    def read(self, n: int, /) -> bytes: ...


def rows(file: Readable, longest: int) -> Iterator[Any]:
    """Yield the elements. Raises ValueError, which names the character, for what is no list in UTF-8 or an element over
    `longest`."""
    window = _Window(file, longest)
    if window.next_character() != "[":
        raise ValueError(f"no list begins at character {window.place}.")
    window.skip()
    if window.next_character() != "]":
        yield window.element()
        while window.next_character() == ",":
            window.skip()
            window.next_character()
            yield window.element()
    if window.next_character() != "]":
        raise ValueError(f"neither a comma nor the end of the list stands at character {window.place}.")
    window.skip()
    if window.next_character():
        raise ValueError(f"something follows the end of the list at character {window.place}.")


class _Window:
    def __init__(self, file: Readable, longest: int) -> None:
        self.file, self.longest = file, longest
        self.decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self.scan = DECODER.raw_decode
        self.text, self.at, self.dropped, self.is_whole = "", 0, 0, False

    @property
    def place(self) -> int:
        return self.dropped + self.at

    def skip(self) -> None:
        self.at += 1

    def next_character(self) -> str:
        """Return the next character that is not blank, at which the window then stands; "" at the end of the file."""
        began = self.place
        while True:
            self.at = _BLANKS.match(self.text, self.at).end()  # type: ignore[union-attr]  # it fits nothing, too
            if self.at < len(self.text):
                return self.text[self.at]
            if self.place - began > self.longest:
                raise ValueError(f"nothing but white space for {self.longest:,} characters.")
            if not self._more(_WINDOW):
                return ""

    def element(self) -> Any:
        size = _WINDOW
        while True:
            try:
                value, end = self.scan(self.text, self.at)
            except json.JSONDecodeError as error:
                position = self.dropped + error.pos
                if len(self.text) - self.at > self.longest:
                    raise ValueError(f"no element that ends within {self.longest:,} characters.") from error
                if not self._more(size):
                    raise ValueError(f"{error.msg} at character {position}.") from error
                size *= 2
                continue
            if len(self.text) - end < _LONGEST_EXPONENT and self._more(_WINDOW):
                continue  # a number may go on behind the window: 1 as 1e+5
            self.at = end
            return value

    def _more(self, n: int) -> bool:
        """Read at least `n` further characters, if there are so many; return False at the end."""
        if self.is_whole:
            return False
        block = self.file.read(n)
        if not block:
            self.decode(b"", True)  # it raises where the last character is cut off
            self.is_whole = True
            return False
        self.dropped += self.at
        self.text, self.at = self.text[self.at :] + self.decode(block), 0
        return True
