"""Mask an answer that grows: one pass for all readers, and linear in time to its end.

Each pass reads the text from its beginning, since a name's telling words may stand far before it. A pass for each piece
would cost the square of the length; so the next one waits until the text has grown by a share of itself.
Pure: no Django.
"""

from __future__ import annotations

from annotate.arena.masking import masked_text as masking
from annotate.arena.masking.naming_rules import MaskingContext

SHORT = 1_000  # characters up to which each piece is shown at once
GROWTH = 32  # then a pass for each 32nd part more: 33 times the last pass in all, at most


class GrowingMask:
    """The mask of one answer. What it has shown stays, so an earlier pass is a beginning of what a later one shows."""

    def __init__(self, context: MaskingContext) -> None:
        self._told = context
        self._read, self._is_whole, self._shown = "", False, ""

    def shown(self, text: str, *, is_whole: bool) -> str:
        if (text, is_whole) == (self._read, self._is_whole) or not (is_whole or self._is_due(text)):
            return self._shown
        self._shown = masking.shown(text, self._told, is_whole=is_whole)
        self._read, self._is_whole = text, is_whole
        return self._shown

    def _is_due(self, text: str) -> bool:
        grown = len(text) - len(self._read)
        return len(text) < SHORT or grown >= len(self._read) / GROWTH or not text.startswith(self._read)
