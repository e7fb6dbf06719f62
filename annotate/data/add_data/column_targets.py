"""Name what a column of a file can be read as, and suggest it for each column. Pure: no Django."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from annotate.data.formats import guessing
from annotate.data.formats.mapping import COLUMNS
from annotate.data.rows.row_source import printable
from annotate.data.rows.task_families import TASKS

ROWS, SFT, LABELLED, CORPUS, TASK = "rows", "sft", "labelled", "corpus", "task"
_MOST_COLUMNS = 60
_LABELLED = tuple(dict.fromkeys(name for task in TASKS.values() for name in (*task.fields, task.text_b) if name))
_TARGETS = {
    ROWS: COLUMNS,
    SFT: ("messages", "prompt", "completion", "instruction", "input", "output", "system"),
    LABELLED: _LABELLED,
    CORPUS: ("text", "source"),
    TASK: (
        *("prompt", "references", "reference", "text", "label", "context", "question", "choices", "answer"),
        *("chosen", "rejected", "group", "id"),
    ),
}
_WORDS = {
    "prompt": "prompt",
    "answer": "right answer, which rewards compare with",
    "input": "input: what an instruction is about",
    "chosen": "chosen answer",
    "rejected": "rejected answer",
    "completion_a": "answer A",
    "completion_b": "answer B",
    "completion": "answer",
    "model": "model that answered",
    "model_a": "model of answer A",
    "model_b": "model of answer B",
    "winner": "winner",
    "strength": "strength of the preference, 1 to 3",
    "thumbs": "thumbs, up or down",
    "stars": "stars, 1 to 5",
    "system": "system prompt",
    "author": "annotator",
    "created_at": "time",
}
_BY_USE = {
    "prompt": ("prompt", "input"),
    "system prompt": ("system",),
    "annotator": ("author",),
    "time": ("created_at",),
    "category": ("category",),
    "language": ("language",),
    "id": ("id",),
    "comment": ("comment",),
    "right answer": ("answer",),
}
_ANNOTATIONS = {
    "winner": r"winner|preference|choice|preferred",
    "stars": r"stars?|rating|score|quality|overall.*",
    "thumbs": r"thumbs?|label|vote|is_good",
    "strength": r"strength|margin",
    "answer": r"(right|correct|gold|true)[ _-]?answer|solution|ground[ _-]?truth",
}
_TEXTS = ("text", "content", "document", "body", "article")
_LINE_END = re.compile(r"\r\n?|\n")


def targets(shape: str) -> list[tuple[str, str]]:
    """Return (name, words) of what a column can be read as."""
    return [(name, _WORDS.get(name, name) if shape == ROWS else name) for name in _TARGETS[shape]]


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns that any of the rows has, in the file's order; without those whose name no form can hold."""
    names = dict.fromkeys(str(name) for row in rows for name in row)
    return [name for name in names if printable(name, len(name)) == name][:_MOST_COLUMNS]


def choose(suggested: Mapping[str, str], sent: Mapping[str, str]) -> dict[str, str]:
    """Return what each column is read as: as a form sent it, else as suggested. Browsers send the line ends in a
    field's name as CR and LF, whatever the column's own are."""
    by_lines = {tuple(_LINE_END.split(name)): target for name, target in sent.items()}
    return {name: by_lines.get(tuple(_LINE_END.split(name)), target) for name, target in suggested.items()}


def suggest(shape: str, columns: Sequence[str], uses: Mapping[str, str]) -> dict[str, str]:
    """Return {column: what it is read as}, "" where nothing reads it. `uses` are what a format reads its columns as,
    where one fits."""
    if shape != ROWS:
        return {name: _own_name(shape, name, columns) for name in columns}
    return _by_use(columns, uses) if uses else _by_name(columns)


def _own_name(shape: str, column: str, columns: Sequence[str]) -> str:
    if column in _TARGETS[shape]:
        return column
    is_text = shape == CORPUS and "text" not in columns and column.lower() in _TEXTS
    return "text" if is_text else ""


def _by_use(columns: Sequence[str], uses: Mapping[str, str]) -> dict[str, str]:
    several = sum(uses.get(name) == "answer" for name in columns) > 1
    models = sum(uses.get(name) == "model" for name in columns) > 1
    order = dict(_BY_USE)
    order["answer"] = ("completion_a", "completion_b") if several else ("completion",)
    order["model"] = ("model_a", "model_b") if models else ("model",)
    suggested: dict[str, str] = {}
    for column in columns:
        use = uses.get(column, "")
        wanted = [*_own(column), *order.get(use, ()), *([_annotation(column)] if use == "annotation" else [])]
        suggested[column] = _first_free(wanted, suggested) if use else ""
    return suggested


def _by_name(columns: Sequence[str]) -> dict[str, str]:
    """Suggest where no format fits: by the names alone."""
    answers = [name for name in columns if guessing.is_answer(name) and not _own(name)]
    suggested: dict[str, str] = {}
    for column in columns:
        wanted = _own(column)
        if guessing.has_prompt({column.strip(): "?"}):
            wanted += ["prompt", "input"]
        if column in answers:
            wanted += ["completion_a", "completion_b"] if len(answers) > 1 else ["completion"]
        suggested[column] = _first_free([*wanted, _annotation(column)], suggested)
    return suggested


def _own(column: str) -> list[str]:
    """Return what a column means by its own name. `answer` is mostly one to learn from: that it is right for rewards
    is for people to say."""
    name = column.strip().lower()  # spreadsheets leave spaces behind a name
    return [name] if name in COLUMNS and name != "answer" else []


def _annotation(column: str) -> str:
    return next((name for name, known in _ANNOTATIONS.items() if re.fullmatch(known, column.strip().lower())), "")


def _first_free(wanted: Sequence[str], taken: Mapping[str, str]) -> str:
    return next((name for name in wanted if name in COLUMNS and name not in taken.values()), "")
