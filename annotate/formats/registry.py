"""Every format by its name; how to tell which one a file has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from annotate.formats import hh_rlhf
from annotate.formats.items import Item, NewComparison, Row

Reader = Callable[[Row, int], list[Item]]
Writer = Callable[[Sequence[Item]], list[Row]]


@dataclass(frozen=True)
class Format:
    """`writes` takes items that belong together. `holds` are the kinds of items that a file of it can have."""

    name: str
    title: str
    reads: Reader
    writes: Writer
    fits: Callable[[Row], bool]
    holds: tuple[type[Item], ...]


_ALL = (
    Format("hh-rlhf", "hh-rlhf pairs", hh_rlhf.read_pair, hh_rlhf.write_pairs, hh_rlhf.fits_pair, (NewComparison,)),
)
FORMATS: dict[str, Format] = {each.name: each for each in _ALL}
READERS: dict[str, Reader] = {name: each.reads for name, each in FORMATS.items()}
WRITERS: dict[str, Writer] = {name: each.writes for name, each in FORMATS.items()}


def detect(rows: Sequence[Row], name: str = "") -> str:
    """The first format that the first rows fit. Raises ValueError in words where none does."""
    for format_, each in FORMATS.items():
        if rows and all(each.fits(row) for row in rows):
            return format_
    columns = ", ".join(sorted({column for row in rows for column in row})[:12]) or "nothing"
    raise ValueError(f"{name or 'The file'} has {columns}, which is no format that is known here; say which it is.")


def mapped(columns: Mapping[str, str]) -> Reader:
    """Reads rows whose columns are named otherwise: {ours: theirs}."""
    raise NotImplementedError(f"to come within the hour: {columns}")
