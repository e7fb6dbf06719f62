"""Items of a run, read by place: what fits, in which order, and what the index keeps of them."""

from __future__ import annotations

import json
import os
import time

import numpy as np
import pytest

from evaluation.measures import item_store as items
from evaluation.measures.item_store import NO, UNKNOWN, YES, Choice
from tests.support.evaluation.evaluated import item

ROWS = [
    item(0, right=True, group="a"),
    item(1, right=False, group="b", seen=True),
    item(2, right=False, group="a", seen=None),
    {**item(3, group="b"), "counts": {"accuracy": [0.5, 1.0]}},
]


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, ROWS)
    return tmp_path


def write(folder, rows):
    (folder / "items.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def ids(folder, choice=None):
    index = items.index_of(folder)
    return [row["id"] for row in items.read(folder, index, items.chosen(index, choice or Choice()))]


def test_items_are_read_in_the_order_in_which_they_were_measured(folder):
    assert ids(folder) == ["item-0", "item-1", "item-2", "item-3"]


def test_what_was_right_wrong_or_neither_is_known(folder):
    assert items.index_of(folder).right.tolist() == [YES, NO, NO, UNKNOWN]
    assert ids(folder, Choice(right=NO)) == ["item-1", "item-2"]
    assert ids(folder, Choice(right=UNKNOWN)) == ["item-3"]


def test_items_are_chosen_by_group_and_by_what_was_seen_in_training(folder):
    assert ids(folder, Choice(group="b")) == ["item-1", "item-3"]
    assert ids(folder, Choice(seen=YES)) == ["item-1"]
    assert ids(folder, Choice(seen=UNKNOWN)) == ["item-2"]
    assert ids(folder, Choice(group="nothing of the sort")) == []


def test_the_worst_come_first_whichever_way_a_metric_goes(folder, tmp_path_factory):
    assert ids(folder, Choice(order="worst"))[:2] == ["item-1", "item-2"]
    assert ids(folder, Choice(order="best"))[0] == "item-0"
    other = tmp_path_factory.mktemp("losses")
    losses = [{**item(n), "counts": {"perplexity": [loss, 10.0]}} for n, loss in enumerate((5.0, 20.0, 1.0))]
    write(other, losses)
    assert ids(other, Choice(order="worst")) == ["item-1", "item-0", "item-2"]
    assert not items.index_of(other).tells_right


def test_an_item_without_a_value_of_its_own_comes_last(tmp_path):
    rows = [{**item(n), "counts": {"perplexity": counts}} for n, counts in enumerate(([0.0, 0.0], [5.0, 10.0]))]
    write(tmp_path, rows)
    assert ids(tmp_path, Choice(order="worst")) == ids(tmp_path, Choice(order="best")) == ["item-1", "item-0"]
    assert items.value_of("perplexity", [0.0, 0.0]) is None


def test_the_index_is_made_once_and_again_when_the_file_is_another(folder):
    items.index_of(folder)
    made = (folder / items.INDEX).stat().st_mtime_ns
    items.index_of(folder)
    assert (folder / items.INDEX).stat().st_mtime_ns == made
    write(folder, ROWS[:2])
    assert ids(folder) == ["item-0", "item-1"]


def test_texts_of_any_script_do_not_shift_the_places(tmp_path):
    write(tmp_path, [item(0, text="Ümläut 猫"), item(1, text="plain")])
    index = items.index_of(tmp_path)
    [row] = items.read(tmp_path, index, np.array([1]))
    assert row["shown"] == {"text": "plain"}


def test_a_run_without_items_has_no_index(tmp_path):
    assert items.index_of(tmp_path) is None


@pytest.mark.slow
def test_a_page_of_a_hundred_thousand_items_reads_no_more_than_its_own(tmp_path):
    line = json.dumps(item(0, text="x" * 500)).encode() + b"\n"
    (tmp_path / "items.jsonl").write_bytes(line * 100_000)
    items.index_of(tmp_path)
    os.sync()
    began = time.process_time()
    index = items.index_of(tmp_path)
    rows = items.read(tmp_path, index, items.chosen(index, Choice(order="worst"))[60_000:60_020])
    assert len(rows) == 20
    assert time.process_time() - began < 0.25  # the whole file takes more than a second to read
