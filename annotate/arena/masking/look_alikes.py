"""Fold a text for the search of names: without look-alikes, accents, marks and invisible characters.

Pure: no Django.
"""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

# Letters of other alphabets that look like Latin ones.
_LOOK_ALIKES = str.maketrans(
    {
        **dict(zip("аеёорсухіїјѕһԁԛԝкмнтвгьбз", "aeeopcyxiijshdqwkmhtbrbb3", strict=True)),
        **dict(zip("αβεικνορτυχγηωɡıɑꮯ", "abeiknoptuxynwgiac", strict=True)),
        **dict(zip("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnoprstuvwyz", strict=True)),
        **dict(zip("ᎪᏴᏟᎠᎬᏀᎻᎥᎫᏦᏞᎷᏢᎡᏚᎢᏙᎳᎩᏃ", "abcdeghijklmprstvwyz", strict=True)),
        **dict(zip("տօոս", "sonu", strict=True)),
        **{chr(0x1F1E6 + n): chr(ord("a") + n) for n in range(26)},
    }
)
_NOTHING = frozenset("*`~\\\u00ad\u034f\u061c\u115f\u180e\ufeff") | frozenset(
    chr(c) for start, end in ((0x300, 0x370), (0x200B, 0x2010), (0x202A, 0x202F), (0x2060, 0x2070), (0xFE00, 0xFE10))
    for c in range(start, end)
)  # fmt: skip
# A character that is spelt out, or a tag, which shows or hides nothing of a name here.
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z]{2,12});|</?[a-z][a-z0-9]{0,9}>", re.IGNORECASE)


@dataclass(frozen=True)
class Folded:
    """A folded text; `starts` and `ends` lead back to the characters it came from."""

    plain: str
    latin: str
    starts: list[int]
    ends: list[int]


@lru_cache(maxsize=64)
def fold(text: str) -> Folded:
    plain: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    entities = {match.start(): match for match in _ENTITY.finditer(text)}
    at = 0
    while at < len(text):
        entity = entities.get(at)
        source, stop = (_meant(entity[0]), entity.end()) if entity else (text[at], at + 1)
        for char in unicodedata.normalize("NFKC", source).casefold():
            if char not in _NOTHING:
                plain.append({"_": " ", "’": "'", "‘": "'", "ʼ": "'"}.get(char, char))
                starts.append(at)
                ends.append(stop)
        at = stop
    joined = "".join(plain)
    return Folded(joined, "".join(map(_to_latin, joined)), starts, ends)


def _meant(spelt: str) -> str:
    return "" if spelt.startswith("<") else html.unescape(spelt)


@lru_cache(maxsize=4096)
def _to_latin(char: str) -> str:
    if char.isascii():
        return char
    base = unicodedata.normalize("NFD", char)[0] if unicodedata.category(char).startswith("L") else char
    return base.translate(_LOOK_ALIKES)[0]
