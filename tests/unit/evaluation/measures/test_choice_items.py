"""What a row of a task of choices means, and what is said of one that means nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from annotate.data.rows.choice_items import ChoiceItem, read_choice
from evaluation.recipes.common.choice_items import read_folder, read_items
from training.core.run_directory import RecipeFailure


@pytest.mark.parametrize("answer", [1, "1", "B", "sky", " sky ", 1.0])
def test_an_answer_is_an_index_a_letter_or_a_text(answer):
    item = read_choice({"context": "The bird is in the", "choices": ["mat", "sky"], "answer": answer, "group": "g"})
    assert item == ChoiceItem("The bird is in the", ("mat", "sky"), 1, group="g")


@pytest.mark.parametrize("answer", ["BC", "ABC"])
def test_several_letters_are_no_answer(answer):
    with pytest.raises(ValueError, match="use an index"):
        read_choice({"context": "It is", "choices": ["red", "green", "blue"], "answer": answer})


def test_a_text_that_is_a_candidate_comes_before_an_index():
    assert read_choice({"context": "1 + 1 =", "choices": ["3", "2", "1"], "answer": "1"}).answer == 2


def test_minimal_pairs_have_no_context_and_the_first_is_right():
    row = {
        "sentence_good": "Susan hid herself.",
        "sentence_bad": "Susan hid themselves.",
        "UID": "anaphor",
        "pairID": "3",
    }
    item = read_choice(row)
    assert (item.context, item.candidates, item.answer) == ("", ("Susan hid herself.", "Susan hid themselves."), 0)
    assert (item.group, item.id) == ("anaphor", "anaphor-3")


def test_a_sentence_with_a_blank_is_scored_by_what_follows_it():
    """As lm-evaluation-harness's winogrande cuts it."""
    row = {"sentence": "Ann asked Bo because _ knew the way.", "option1": "Ann", "option2": "Bo", "answer": "2"}
    item = read_choice(row)
    assert (item.context, item.candidates, item.suffix, item.answer) == (
        "Ann asked Bo because ", ("Ann", "Bo"), "knew the way.", 1,
    )  # fmt: skip


@pytest.mark.slow
def test_endings_are_put_as_the_harness_puts_them():
    """Its own functions on the same row."""
    datasets = pytest.importorskip("datasets")
    from lm_eval.tasks.hellaswag.utils import process_docs

    row = {
        "activity_label": "Baking", "ctx_a": "A man [title] is in  a kitchen.", "ctx_b": "he", "label": "2",
        "endings": ["sings [substeps] loudly.", "bakes bread.", "[step] sleeps.", "runs."],
    }  # fmt: skip
    theirs = process_docs(datasets.Dataset.from_list([row]))[0]
    item = read_choice(row)
    assert (item.context, list(item.candidates), item.answer) == (theirs["query"], theirs["choices"], theirs["gold"])


def test_questions_are_put_as_the_harness_puts_them():
    arc = {
        "question": "What melts?", "choices": {"text": ["ice", "stone", "wood"], "label": ["1", "2", "3"]},
        "answerKey": "2",
    }  # fmt: skip
    item = read_choice(arc)
    assert (item.context, item.candidates, item.answer) == (
        "Question: What melts?\nAnswer:",
        ("ice", "stone", "wood"),
        1,
    )
    piqa = {"goal": "Boil an egg.", "sol1": "Use water.", "sol2": "Use sand.", "label": 0}
    item = read_choice(piqa)
    assert (item.context, item.candidates, item.answer) == (
        "Question: Boil an egg.\nAnswer:", ("Use water.", "Use sand."), 0,
    )  # fmt: skip


def test_a_csv_cell_holds_candidates_parted_by_bars_or_as_json():
    for cell in ("ice|stone", '["ice", "stone"]'):
        assert read_choice({"question": "What melts?", "choices": cell, "answer": "ice"}).candidates == ("ice", "stone")


def test_a_context_that_ends_in_white_space_gets_no_second_one():
    assert read_choice({"context": "Answer:\n", "choices": ["yes", "no"], "answer": 0}).delimiter == ""
    assert read_choice({"context": "氷は", "choices": ["溶ける", "歌う"], "answer": 0, "delimiter": ""}).delimiter == ""
    assert read_choice({"context": "Answer:", "choices": ["yes", "no"], "answer": 0}).delimiter == " "


WHOLE = {"context": "Ice", "choices": ["melts.", "sings."], "answer": 0}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"answer": None}, "has no answer"),
        ({"answer": ""}, "has no answer"),
        ({"answer": 2}, "an index from 0 to 1"),
        ({"answer": -1}, "an index from 0 to 1"),
        ({"answer": True}, "an index from 0 to 1"),
        ({"answer": "freezes."}, "or the text of a candidate"),
        ({"choices": ["melts.", "melts."]}, "two equal candidates"),
        ({"choices": ["melts.", " melts. "]}, "two equal candidates"),
        ({"choices": ["melts.", " "]}, "an empty candidate (2 of 2)"),
        ({"choices": ["melts."]}, "1 candidate;"),
        ({"choices": None}, "has no choices"),
        ({"choices": "[" * 5000}, "has no choices"),
        ({"choices": [1, 2]}, "not text"),
        ({"choices": {"text": ["a", "b"], "label": ["A", "B"]}}, "no answerKey"),
        ({"context": 7}, "a context that is not text"),
        ({"sentence": "Ann and _ ran.", "option1": 1, "option2": "x"}, "has an option1 that is not text"),
        ({"context": "a\x00"}, "NUL"),
        ({"delimiter": 3}, "delimiter"),
    ],
)
def test_a_row_that_is_no_item_is_told_why(change, words):
    with pytest.raises(ValueError, match=r"^(has|is) ") as error:
        read_choice({**WHOLE, **change})
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"sentence": "no blank", "option1": "a", "option2": "b", "answer": "1"}, "exactly one _"),
        ({"sentence": "it is _", "option1": "a", "option2": "b", "answer": "1"}, "nothing after the _"),
        ({"sentence": "_ is", "option1": "a", "option2": "b", "answer": "3"}, "1 or 2"),
        ({"sentence": "_ is", "option1": "a", "option2": "b"}, "1 or 2"),
        ({"sentence_good": "Same.", "sentence_bad": "Same."}, "two equal candidates"),
        ({"sentence_good": "One.", "sentence_bad": ""}, "empty sentence_bad"),
        ({"ctx": "He", "endings": ["runs.", "[step]"], "label": 0}, "empty candidate"),
        ({"ctx": "He", "endings": ["runs.", "sits."]}, "has no label"),
        ({"question": "?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "C"}, "one of A, B"),
        ({"question": "?", "choices": {"text": ["a", "b"], "label": ["A"]}, "answerKey": "A"}, "2 candidates with 1"),
        ({"goal": "g", "sol1": "a", "sol2": "b", "label": 5}, "an index from 0 to 1"),
        ({"text": "hello"}, "is not an item with choices"),
    ],
)
def test_public_forms_are_told_why_too(row, words):
    with pytest.raises(ValueError) as error:
        read_choice(row)
    assert words in str(error.value)


def lay(folder: Path, *files: list[dict]) -> Path:
    for number, rows in enumerate(files):
        (folder / f"part-{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_bad_lines_are_named_and_none_is_left_out_quietly(tmp_path):
    bad = [{**WHOLE, "answer": None}, {**WHOLE, "choices": ["a", "a"]}]
    with pytest.raises(RecipeFailure) as error:
        read_items(read_folder(lay(tmp_path, [WHOLE, bad[0], WHOLE], [bad[1]] * 4)), 10)
    assert "Line 2 of part-0.jsonl has no answer" in error.value.message
    assert "Line 1 of part-1.jsonl has two equal candidates" in error.value.message
    assert "And 2 more" in error.value.message and error.value.remedy


def test_the_same_few_items_are_drawn_whatever_their_order(tmp_path):
    rows = [{"context": f"{n} is", "choices": ["odd", "even"], "answer": n % 2, "id": n} for n in range(1, 40)]
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    one = read_items(read_folder(lay(tmp_path / "one", rows)), 7)
    other = read_items(read_folder(lay(tmp_path / "other", rows[::-1])), 7)
    assert len(one.chosen) == 7 and len(one.others) == 32
    assert {item.id for item in one.chosen} == {item.id for item in other.chosen}


def test_ids_are_told_apart(tmp_path):
    items = read_items(read_folder(lay(tmp_path, [{**WHOLE, "id": "a"}, {**WHOLE, "id": "a"}, WHOLE])), 10)
    assert sorted(item.id for item in items.chosen) == ["3", "a", "a (2)"]


def test_no_items_fail_in_words(tmp_path):
    with pytest.raises(RecipeFailure) as error:
        read_items(read_folder(tmp_path), 10)
    assert error.value.code == "no_items"
