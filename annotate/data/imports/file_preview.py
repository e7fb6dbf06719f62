"""Show what a kept file would become before anything of it is taken: its first items, how many of each kind, and how
many prompts each split would get."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from annotate.data.formats.items import KIND_OF, Item
from annotate.data.imports import reading
from annotate.data.imports.reading import Bad, HowToRead
from annotate.models import Split
from common.languages.language_names import tag_of

_PORTIONS = 5  # of 400 rows: what somebody waits for
_BAD_SHOWN = 10


@dataclass(frozen=True)
class PreviewItem:
    """Hold an item with its line in the file and the split of its prompt."""

    line: int
    item: Item
    side: str

    @property
    def language(self) -> str:
        """Return the tag that its prompt gets; "" where the file has none, or one that nobody knows."""
        return tag_of(self.item.language)


@dataclass(frozen=True)
class FilePreview:
    """`train` and `eval` count prompts that differ, and `kinds` items, in the first `rows` rows: of the whole file
    where `is_whole`."""

    first: tuple[PreviewItem, ...] = ()
    kinds: Counter[str] = field(default_factory=Counter)
    train: int = 0
    eval: int = 0
    rows: int = 0
    bad: tuple[Bad, ...] = ()
    bad_count: int = 0
    is_whole: bool = True


def preview_file(path: Path, name: str, how: HowToRead, *, eval_percent: int, shown: int = 3) -> FilePreview:
    """Read the beginning of a file. `how.format` is no longer "auto". Raises ValueError or OSError where the file is
    damaged."""
    source = reading.portions(path, name, how, eval_percent=eval_percent)
    try:
        portions = list(islice(source, _PORTIONS + 1))
    finally:
        source.close()
    read = portions[:_PORTIONS]
    ready = [item for portion in read for item in portion.ready]
    bad = [problem for portion in read for problem in portion.bad]
    sides = Counter({item.text_hash: item.side for item in ready}.values())
    return FilePreview(
        first=tuple(PreviewItem(item.line, item.item, item.side) for item in ready[:shown]),
        kinds=Counter(KIND_OF[type(item.item)] for item in ready),
        train=sides[Split.TRAIN],
        eval=sides[Split.EVAL],
        rows=sum(portion.rows for portion in read),
        bad=tuple(bad[:_BAD_SHOWN]),
        bad_count=len(bad),
        is_whole=len(portions) <= _PORTIONS,
    )
