"""Show what a file of prompts would bring before anything is taken: its first rows, columns that nothing reads, how
many prompts each split would get."""

from __future__ import annotations

from dataclasses import dataclass

from annotate.data.formats.items import KIND_OF
from annotate.data.imports import kept_files, options
from annotate.data.imports.file_preview import PreviewItem, preview_file
from annotate.models import Import


@dataclass(frozen=True)
class PreviewRow:
    """The line in the file, its kind, the last turn of its prompt, and the system prompt before it."""

    line: int
    kind: str
    text: str
    system: str
    category: str
    language: str


@dataclass(frozen=True)
class Preview:
    """`train` and `eval` count prompts that differ, in the first `rows` rows: of the whole file where `is_whole`."""

    first: tuple[PreviewRow, ...]
    ignored: tuple[str, ...]
    train: int
    eval: int
    rows: int
    is_whole: bool

    @property
    def has_categories(self) -> bool:
        return any(row.category for row in self.first)

    @property
    def has_languages(self) -> bool:
        return any(row.language for row in self.first)


def preview(import_: Import) -> Preview | None:
    """Read the beginning of its kept file; None once the file is gone, or where it cannot be read."""
    path = kept_files.path_of(import_.file_hash)
    if not path.exists():
        return None
    how, percent = options.how_to_read(import_), import_.project.eval_percent
    try:
        beginning = preview_file(path, import_.file_name, how, eval_percent=percent)
    except (ValueError, OSError):  # what is wrong stands in the import itself
        return None
    first = tuple(_row(each) for each in beginning.first)
    ignored = tuple(options.unused_columns(import_))
    return Preview(first, ignored, beginning.train, beginning.eval, beginning.rows, beginning.is_whole)


def _row(each: PreviewItem) -> PreviewRow:
    item = each.item
    system = next((turn["content"] for turn in item.messages if turn["role"] == "system"), "")
    kind, text = KIND_OF[type(item)], item.messages[-1]["content"]
    return PreviewRow(each.line, kind, text, system, item.category, each.language)
