"""Items that stand in what a model was trained on are found, whatever form the training data has."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from evaluation.recipes.common import contamination
from evaluation.recipes.common.contamination import Index, mark
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec

LONG = "the quick brown fox jumps over the lazy dog near the old river bank at noon"  # 16 words
SHORT = "who wrote the book about the white whale"  # 8 words
TINY = "is water wet"


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.create(RunSpec("evaluate", {}))
    return run


@pytest.fixture
def trained(tmp_path):
    def write(name: str, *rows, file: str = "rows.jsonl") -> str:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(folder)

    return write


@pytest.mark.parametrize(
    "row",
    [
        {"text": f"Chapter one. {LONG.upper()}! And so on."},
        {"prompt": [{"role": "user", "content": LONG}], "completion": "Yes."},
        {"prompt": [{"role": "user", "content": "Go on."}], "completion": f"Well, {LONG}"},
        {"prompt": "x", "chosen": LONG, "rejected": "no"},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": LONG}]},
        {"text": "a", "text_b": LONG, "label": "b"},
        {"id": 3, "messages": [{"role": "user", "content": LONG.replace(" ", "\n")}]},
    ],
)
def test_a_passage_is_found_in_every_form_of_training_data(run, trained, row):
    marks = mark(
        run, [(LONG,), ("something else that no training text has ever said before now",)], [trained("d", row)]
    )
    assert marks.seen_in == [["d/rows.jsonl"], []]


def test_twelve_words_in_common_are_no_passage_and_thirteen_are(run, trained):
    words = LONG.split()
    twelve = trained("twelve", {"text": " ".join([*words[:12], "other", *words[13:]])})
    thirteen = trained("thirteen", {"text": "And " + " ".join(words[2:15]) + " too"})
    assert mark(run, [(LONG,)], [twelve]).seen_in == [[]]
    assert mark(run, [(LONG,)], [thirteen]).seen_in == [["thirteen/rows.jsonl"]]


def test_an_item_of_eight_words_is_found_as_a_whole(run, trained):
    inside = trained("inside", {"text": f"The question was: {SHORT}? Nobody knew."})
    part = trained("part", {"text": "who wrote the book about the white shark?"})
    assert mark(run, [(SHORT,)], [inside]).seen_in == [["inside/rows.jsonl"]]
    assert mark(run, [(SHORT,)], [part]).seen_in == [[]]


def test_fewer_words_are_only_found_when_a_text_is_exactly_them(run, trained):
    exact = trained("exact", {"prompt": "Is water wet?", "completion": "Yes"})
    inside = trained("inside", {"text": "Everyone asks: is water wet? Nobody knows for sure what that even means."})
    assert mark(run, [(TINY,)], [exact]).seen_in == [["exact/rows.jsonl"]]
    marks = mark(run, [(TINY,), (LONG,)], [inside])
    assert marks.seen_in == [[], []]
    assert marks.too_short == [True, False], "not found does not mean not there"


def test_what_a_corpus_holds_out_was_not_trained_on(run, trained):
    corpus = trained("corpus", {"text": "Nothing of that kind.", "source": "a"}, file="train-00000.jsonl")
    trained("corpus", {"text": LONG, "source": "a"}, file="validation.jsonl")
    assert mark(run, [(LONG,)], [corpus]).seen_in == [[]]
    trained("corpus", {"text": LONG, "source": "a"}, file="train-00000.jsonl")
    assert mark(run, [(LONG,)], [corpus]).seen_in == [["corpus/train-00000.jsonl"]]


def test_every_dataset_that_holds_an_item_is_named(run, trained):
    folders = [
        trained("one", {"text": LONG}),
        trained("two", {"text": LONG}, file="b.jsonl"),
        trained("three", {"text": "no"}),
    ]
    marks = mark(run, [(LONG,)], folders)
    assert marks.seen_in == [["one/rows.jsonl", "two/b.jsonl"]]
    assert (len(marks.files), marks.texts) == (3, 3)


def test_any_text_of_an_item_is_enough(run, trained):
    folder = trained("d", {"text": LONG})
    assert mark(run, [("a prompt that nobody has seen in any training text", LONG)], [folder]).seen_in[0]


def test_the_wording_that_all_items_share_tells_of_none(run, trained):
    instruction = "Read the following text with care and then say in one word whether it is glad or sad:"
    items = [(f"{instruction} " + " ".join(f"w{i}x{k}" for k in range(13)),) for i in range(12)]
    folder = trained("d", {"text": f"{instruction} another text"}, {"text": items[3][0]})
    marks = mark(run, items, [folder])
    assert [i for i, names in enumerate(marks.seen_in) if names] == [3]
    assert not any(marks.too_short)
    few = mark(run, items[:5], [folder])
    assert all(few.seen_in), "what five items share may be their source"
    only_the_wording = mark(run, [(instruction,)] * 12, [folder])
    assert all(only_the_wording.too_short), "nothing of their own is left to look for"


def test_two_items_of_the_same_words_are_both_found():
    assert Index([(LONG,), (SHORT,), (LONG,)]).items_in(LONG) == {0, 2}


def test_chinese_has_words_though_it_has_no_spaces(run, trained):
    text = "今天天气很好我们一起去公园散步吧"
    folder = trained("d", {"text": f"他说:{text}。然后他们走了。"})
    marks = mark(run, [(text,), ("昨天下雨了所以我们待在家里看电影",)], [folder])
    assert marks.seen_in == [["d/rows.jsonl"], []]
    assert marks.too_short == [False, False]


@pytest.mark.thorough
@pytest.mark.slow
def test_memory_does_not_grow_with_the_training_data(run, tmp_path):
    folder = tmp_path / "big"
    folder.mkdir()
    peaks = []
    for lines in (500, 5000):
        with (folder / "rows.jsonl").open("w") as file:
            for i in range(lines):
                file.write(json.dumps({"text": " ".join(f"w{i}x{k}" for k in range(40))}) + "\n")
        tracemalloc.start()
        mark(run, [(LONG,)], [str(folder)])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 200_000


def test_hashes_by_length_are_those_of_each_length_alone():
    words = contamination.hashes_of(list("abcdefghijklmn"), 1)
    together = contamination.hashes_by_length(words, [8, 13])
    for length in (8, 13):
        alone = contamination.hashes_by_length(words, [length])[length]
        assert together[length].tolist() == alone.tolist()
        assert len(alone) == 14 - length + 1


def test_training_data_that_cannot_be_read_is_said_by_line(run, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "rows.jsonl").write_text('{"text": "a"}\n{broken\n')
    with pytest.raises(RecipeFailure, match=r"Line 2 of rows\.jsonl") as failure:
        mark(run, [(LONG,)], [str(folder)])
    assert "config.contamination" in failure.value.remedy
