"""What is exported is taken by Hugging Face's `datasets`, with the real library."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from annotate.data.formats import FORMATS, WRITERS
from annotate.data.formats.containers import written
from annotate.data.formats.items import Item, NewComparison
from tests.support.annotate.odd_items import Odd

pytestmark = pytest.mark.slow
LOADER = {"jsonl": "json", "json": "json", "csv": "csv", "parquet": "parquet", "jsonl.gz": "json", "csv.gz": "csv"}


def items_for(name: str) -> list[Item]:
    odd = Odd(11)
    items = [*odd.all_kinds(), odd.comparison(winner="model_a"), odd.comparison(winner="tie"), odd.rating(thumbs=True)]
    items += [odd.comparison(winner="model_b", messages=odd.messages(system=False, turns=0)) for _ in range(3)]
    return [item for item in items if isinstance(item, FORMATS[name].holds)]


def loaded(tmp_path: Path, name: str, container: str):
    datasets = pytest.importorskip("datasets")
    rows = WRITERS[name](items_for(name))
    if name.startswith("trl-preference"):
        rows = [{field: value for field, value in row.items() if field != "margin"} for row in rows]
    path = tmp_path / f"{name}.{container}"
    path.write_bytes(b"".join(written(rows, container)))
    dataset = datasets.load_dataset(
        LOADER[container], data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"), keep_in_memory=True
    )
    return rows, dataset


@pytest.mark.parametrize("container", ["jsonl", "parquet"])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_loaded(tmp_path, name, container):
    rows, found = loaded(tmp_path, name, container)
    assert len(found) == len(rows) > 0
    assert set(found.column_names) == {field for row in rows for field in row}


@pytest.mark.parametrize("container", ["json", "csv", "jsonl.gz", "csv.gz"])
@pytest.mark.parametrize("name", ["assay", "trl-preference-text", "lmarena", "lmarena-55k"])
def test_every_kind_of_file_is_loaded(tmp_path, name, container):
    rows, found = loaded(tmp_path, name, container)
    assert len(found) == len(rows) > 0


@pytest.mark.parametrize("container", ["jsonl", "csv", "parquet"])
def test_texts_arrive_as_they_were(tmp_path, container):
    rows, found = loaded(tmp_path, "hh-rlhf", container)
    assert [dict(row) for row in found] == rows


def test_trl_knows_what_it_is_given(tmp_path):
    data_utils = pytest.importorskip("trl.data_utils")
    for name in ("trl-preference", "trl-unpaired", "trl-prompt-completion", "trl-preference-implicit"):
        _, found = loaded(tmp_path, name, "jsonl")
        assert data_utils.is_conversational(found[0]), name
    for name in ("trl-preference-text", "trl-unpaired-text"):
        _, found = loaded(tmp_path, name, "jsonl")
        assert not data_utils.is_conversational(found[0]), name


def test_trl_finds_the_prompt_of_an_implicit_pair(tmp_path):
    """`extract_prompt` is what its trainers call; what it finds is what the item had."""
    data_utils = pytest.importorskip("trl.data_utils")
    _, found = loaded(tmp_path, "trl-preference-implicit", "jsonl")
    pairs = [
        i
        for i in items_for("trl-preference-implicit")
        if isinstance(i, NewComparison) and i.winner in ("model_a", "model_b")
    ]
    for row, pair in zip(found, pairs, strict=True):
        parted = data_utils.extract_prompt(row)
        assert json.dumps(parted["prompt"]) == json.dumps(pair.messages)
