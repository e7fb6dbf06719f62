"""Token ids of a run's examples: written once, whole or not at all, read one example at a time."""

from __future__ import annotations

import numpy as np
import pytest

from training.core import token_table
from training.core.run_directory import RunDirectory
from training.core.token_table import number_table

ROWS = [{"tokens": [1, 2, 70000], "learnt": [0, 1, 1]}, {"tokens": [], "learnt": []}, {"tokens": [5], "learnt": [1]}]
COLUMNS = {"tokens": np.uint32, "learnt": np.uint8}


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    return RunDirectory(tmp_path)


def table_of(run: RunDirectory, option: int = 1, rows=lambda: ROWS) -> dict[str, token_table.NumberLists]:
    return number_table(run, "examples", [option], COLUMNS, rows)


def test_what_was_written_is_read_row_by_row(run):
    table = table_of(run)
    assert list(table["tokens"]) == [row["tokens"] for row in ROWS]
    assert table["learnt"][0] == [0, 1, 1] and table["learnt"][-1] == [1] and table["tokens"][1:] == [[], [5]]
    assert table["tokens"].lengths.tolist() == [3, 0, 1]
    with pytest.raises(IndexError):
        table["tokens"][3]


def test_a_resumed_run_does_not_encode_again(run):
    table_of(run)
    again = table_of(run, rows=lambda: pytest.fail("encoded again"))
    assert list(again["tokens"]) == [row["tokens"] for row in ROWS]


def test_other_options_make_another_table_in_its_place(run):
    table_of(run)
    other = table_of(run, option=2, rows=lambda: ROWS[2:])
    assert list(other["tokens"]) == [[5]]
    assert len(list((run.path / "tokens").iterdir())) == 1


def test_a_table_that_was_cut_off_is_written_anew(run):
    def cut():
        yield ROWS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        table_of(run, rows=cut)
    assert len(table_of(run)["tokens"]) == 3
    assert len(list((run.path / "tokens").iterdir())) == 1


def test_a_number_that_does_not_fit_is_refused(run):
    with pytest.raises(OverflowError):
        number_table(run, "examples", [1], {"tokens": np.uint16}, lambda: ROWS)


def test_other_data_have_another_hash(run):
    (run.path / "data").mkdir()
    path = run.path / "data" / "examples.jsonl"
    path.write_text("{}\n")
    before = token_table.hash_of_data(run, "examples")
    path.write_text("[]\n")
    assert before != token_table.hash_of_data(run, "examples") != token_table.hash_of_data(run, "absent")
