"""Write a dataset in the forms that other tools read, row by row: a file never has to fit in memory at once.

- `jsonl`: our own, each annotation with its texts
- `hh-rlhf`: chosen and rejected transcripts
- `trl-preference`, `trl-prompt-completion`, `trl-unpaired`, `trl-prompt-only`: TRL's conversational formats, and with
  `-text` or `-implicit` behind them its other ones
- `alpaca-eval`

Each as JSON lines, or in any other file that `annotate.data.formats.containers` writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from annotate.core import audit
from annotate.core.artefacts import local_copies
from annotate.core.errors import Refused
from annotate.data import frozen_rows
from annotate.data.exports.actions import FILES, Export
from annotate.data.formats import WRITERS
from annotate.data.formats.containers import content_type, written
from annotate.data.formats.items import Item, NewComparison, NewDemonstration, NewPrompt, NewRating
from annotate.data.frozen_rows import Row
from annotate.models import Dataset, User
from common import transcripts

POSITIVE_STARS, NEGATIVE_STARS = 4, 2


def export(dataset: Dataset, format: str) -> Iterator[str]:
    """Return lines of JSON. Refused at once for a format that this kind does not have, or when the files are gone."""
    return (json.dumps(row, ensure_ascii=False) + "\n" for row in _rows(dataset, format))


def export_file(dataset: Dataset, format: str, file: str = "jsonl", *, by: User | None = None) -> Export:
    """Return the same in a file of another kind. The trail says who took it."""
    if file not in FILES:
        raise Refused(400, file=f"{file!r} is not a file type for exports; use one of {', '.join(FILES)}.")
    name = f"dataset-{dataset.pk}-{format}.{file}"
    rows = _rows(dataset, format)
    audit.record(action="dataset.exported", about=f"{dataset.name} as {name}", by=by, project=dataset.project)
    return Export(name, content_type(file), written(rows, file))


def _rows(dataset: Dataset, format: str) -> Iterator[Row]:
    formats = formats_of(dataset)
    if format not in formats:
        names = ", ".join(formats)
        raise Refused(400, format=f"{format!r} is not a format for datasets of {dataset.kind}; use one of {names}.")
    local_copies.bring(dataset.path)
    if not dataset.path.is_dir():
        raise Refused(410, dataset=f"The files of {dataset.name} are missing on this machine; freeze it again.")
    return formats[format](dataset)


def formats_of(dataset: Dataset) -> dict[str, Callable[[Dataset], Iterator[Row]]]:
    return _FORMATS[dataset.kind]


def _comparisons(dataset: Dataset) -> Iterator[tuple[Row, Row, Row]]:
    """Yield each comparison with its two completions."""
    completions = _completions(dataset)
    for row in frozen_rows.read(dataset.path, "comparisons"):
        yield row, completions[row["completion_a"]], completions[row["completion_b"]]


def _pairs(dataset: Dataset) -> Iterator[tuple[Row, Row, int | None]]:
    """Yield chosen and rejected, where somebody won; a tie is no pair."""
    for row, a, b in _comparisons(dataset):
        if row["winner"] == "model_a":
            yield a, b, row["strength"]
        elif row["winner"] == "model_b":
            yield b, a, row["strength"]


def _completions(dataset: Dataset) -> dict[int, Row]:
    return {row["id"]: row for row in frozen_rows.read(dataset.path, "completions")}


def _own_preferences(dataset: Dataset) -> Iterator[Row]:
    for row, a, b in _comparisons(dataset):
        yield {
            "type": "comparison",
            "prompt": a["prompt"],
            "completion_a": a["text"],
            "completion_b": b["text"],
            "winner": row["winner"],
            "strength": row["strength"],
            "author": row["author"],
            **{name: row[name] for name in ("weight", "edit") if name in row},  # of rankings, and of edited answers
        }
    completions = _completions(dataset)
    for row in frozen_rows.read(dataset.path, "ratings"):
        completion = completions[row["completion"]]
        annotation: Row = {name: row[name] for name in ("thumbs", "stars", "aspects", "author") if name in row}
        yield {"type": "rating", "prompt": completion["prompt"], "completion": completion["text"], **annotation}
    for row in frozen_rows.read(dataset.path, "spans"):
        completion = completions[row["completion"]]
        annotation = {name: row[name] for name in ("start", "end", "label", "author")}
        yield {"type": "span", "prompt": completion["prompt"], "completion": completion["text"], **annotation}


def _hh_rlhf(dataset: Dataset) -> Iterator[Row]:
    for chosen, rejected, _ in _pairs(dataset):
        yield {
            "chosen": transcripts.join([*chosen["prompt"], *_answer(chosen["text"])]),
            "rejected": transcripts.join([*rejected["prompt"], *_answer(rejected["text"])]),
        }


def _trl_preference(dataset: Dataset) -> Iterator[Row]:
    # TRL reads a margin from every row or from none.
    with_margin = all(strength is not None for _, _, strength in _pairs(dataset))
    for chosen, rejected, strength in _pairs(dataset):
        row = {"prompt": chosen["prompt"], "chosen": _answer(chosen["text"]), "rejected": _answer(rejected["text"])}
        yield row | ({"margin": float(strength)} if with_margin and strength is not None else {})


def _trl_unpaired(dataset: Dataset) -> Iterator[Row]:
    """Yield thumbs, else stars: four and five are good, one and two bad, three is neither. Pairs are not split."""
    completions = _completions(dataset)
    for row in frozen_rows.read(dataset.path, "ratings"):
        label = _label(row)
        if label is not None:
            completion = completions[row["completion"]]
            yield {"prompt": completion["prompt"], "completion": _answer(completion["text"]), "label": label}


def _label(rating: Row) -> bool | None:
    if rating["thumbs"] is not None:
        return rating["thumbs"]
    if rating["stars"] >= POSITIVE_STARS:
        return True
    return False if rating["stars"] <= NEGATIVE_STARS else None


def _own_examples(dataset: Dataset) -> Iterator[Row]:
    yield from frozen_rows.read(dataset.path, "examples")


def _trl_prompt_completion(dataset: Dataset) -> Iterator[Row]:
    for row in frozen_rows.read(dataset.path, "examples"):
        yield {"prompt": row["prompt"], "completion": _answer(row["completion"])}


def _own_prompts(dataset: Dataset) -> Iterator[Row]:
    yield from frozen_rows.read(dataset.path, "prompts")


def _trl_prompt_only(dataset: Dataset) -> Iterator[Row]:
    for row in frozen_rows.read(dataset.path, "prompts"):
        yield {"prompt": row["messages"]}


def _own_labelled(dataset: Dataset) -> Iterator[Row]:
    yield from frozen_rows.read(dataset.path, "rows")


def _own_items(dataset: Dataset) -> Iterator[Row]:
    yield from frozen_rows.read(dataset.path, "items")


def _own_corpus(dataset: Dataset) -> Iterator[Row]:
    """Yield every document, with the part that it is in: train or validation."""
    for path in sorted(dataset.path.glob("*.jsonl")):
        part = path.stem.partition("-")[0]
        yield from ({**row, "part": part} for row in frozen_rows.read(dataset.path, path.stem))


def _answer(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text}]


def _pair_items(dataset: Dataset) -> Iterator[Item]:
    for row, a, b in _comparisons(dataset):
        annotation = {"winner": row["winner"], "strength": row["strength"], "judge": str(row["author"] or "")}
        yield NewComparison(messages=a["prompt"], a=a["text"], b=b["text"], **annotation)


def _rating_items(dataset: Dataset) -> Iterator[Item]:
    completions = _completions(dataset)
    for row in frozen_rows.read(dataset.path, "ratings"):
        completion = completions[row["completion"]]
        annotation = {"thumbs": row["thumbs"], "stars": row["stars"]}
        yield NewRating(messages=completion["prompt"], text=completion["text"], **annotation)


def _example_items(dataset: Dataset) -> Iterator[Item]:
    for row in frozen_rows.read(dataset.path, "examples"):
        yield NewDemonstration(messages=row["prompt"], text=row["completion"])


def _prompt_items(dataset: Dataset) -> Iterator[Item]:
    for row in frozen_rows.read(dataset.path, "prompts"):
        yield NewPrompt(messages=row["messages"])


def _as(name: str, items: Callable[[Dataset], Iterator[Item]]) -> dict[str, Callable[[Dataset], Iterator[Row]]]:
    """Return items in the format `name`. Margins are left to `trl-preference`, which knows whether all rows have
    one."""

    def rows(dataset: Dataset) -> Iterator[Row]:
        for item in items(dataset):
            for row in WRITERS[name]([item]):
                yield {field: value for field, value in row.items() if field != "margin"}

    return {name: rows}


_FORMATS: dict[str, dict[str, Callable[[Dataset], Iterator[Row]]]] = {
    "preferences": {
        "jsonl": _own_preferences,
        "hh-rlhf": _hh_rlhf,
        "trl-preference": _trl_preference,
        "trl-unpaired": _trl_unpaired,
        **_as("trl-preference-text", _pair_items),
        **_as("trl-preference-implicit", _pair_items),
        **_as("trl-unpaired-text", _rating_items),
        **_as("alpaca-eval", _pair_items),
    },
    "sft": {
        "jsonl": _own_examples,
        "trl-prompt-completion": _trl_prompt_completion,
        **_as("trl-prompt-completion-text", _example_items),
        **_as("trl-language-modeling", _example_items),
    },
    "prompts": {
        "jsonl": _own_prompts,
        "trl-prompt-only": _trl_prompt_only,
        **_as("trl-prompt-only-text", _prompt_items),
    },
    "labelled": {"jsonl": _own_labelled},
    "corpus": {"jsonl": _own_corpus},
    "task": {"jsonl": _own_items},
}
FORMATS = sorted({name for formats in _FORMATS.values() for name in formats})
