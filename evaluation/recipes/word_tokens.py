"""Words of any script: what ROUGE and METEOR compare.

On plain ASCII the words are those of rouge-score's own tokenizer, which throws every other letter away (Chinese against
itself then scores 0). Here letters and digits of all scripts stay, with the marks that belong to them; Chinese and
Japanese characters are words of their own, for nothing parts them.
"""

from __future__ import annotations

import unicodedata
from itertools import groupby

# Hiragana and Katakana, Chinese characters with their extensions, compatibility forms.
_UNSPACED = ((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))
_WORD, _ALONE, _SIGN, _SPACE = range(4)


def words(text: str, signs: bool = False) -> list[str]:
    """Return the words in lower case. With `signs`, punctuation marks are words too, each by itself, as METEOR counts
    them."""
    texts: list[str] = []
    for kind, run in groupby(unicodedata.normalize("NFC", text.lower()), _sort):
        if kind == _WORD:
            texts.append("".join(run))
        elif kind == _ALONE or (kind == _SIGN and signs):
            texts.extend(run)
    return texts


def is_unspaced(character: str) -> bool:
    """Return whether it belongs to a script that puts no spaces between words."""
    return any(first <= ord(character) <= last for first, last in _UNSPACED)


def _sort(character: str) -> int:
    if character >= "\u3040" and is_unspaced(character):
        return _ALONE
    # Vowel signs of Indic scripts and accents are marks (M), and no letters to Python; they would part a word.
    if character.isalnum() or (character > "\x7f" and unicodedata.category(character)[0] == "M"):
        return _WORD
    return _SPACE if character.isspace() else _SIGN
