r"""Anthropic's hh-rlhf pairs (2204.05862): `chosen` and `rejected`, whole transcripts that share their beginning.

Texts are taken without the white space around them. Where a transcript has other white space than
"\n\nHuman: …\n\nAssistant: …", it is kept whole, so that it is written out again byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence

from annotate import transcripts
from annotate.formats.items import Item, Messages, NewComparison, Row


def fits_pair(row: Row) -> bool:
    return all(isinstance(row.get(name), str) and "\n\nAssistant:" in row[name] for name in ("chosen", "rejected"))


def read_pair(row: Row, line: int) -> list[Item]:
    raise NotImplementedError


def write_pairs(items: Sequence[Item]) -> list[Row]:
    raise NotImplementedError
