"""Overlap with references against the field's own libraries, and the recipe on a tiny model."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rouge_score.tokenize import tokenize

from evaluation.metrics import definitions as families
from evaluation.metrics import figure_intervals as intervals
from evaluation.recipes import evaluate, meteor, overlap
from evaluation.recipes.overlap import ReferencePrompt, Scorer
from evaluation.recipes.word_tokens import words
from tests.support.evaluation.recipe_runs import result_of
from training.core.run_directory import RunDirectory, RunSpec, read_lines
from training.recipes.common import loading
from training.recipes.common.entry import attempt

GOLDEN = json.loads((Path(__file__).parents[4] / "tests/support/golden" / "overlap.json").read_text())


class Synonyms:
    """WordNet as far as the golden texts need it."""

    def synsets(self, word: str) -> list:
        names = GOLDEN["synonyms"].get(word, [])
        return [SimpleNamespace(lemmas=lambda: [SimpleNamespace(name=lambda n=name: n) for name in names])]


def asked(pairs) -> list[ReferencePrompt]:
    return [ReferencePrompt(str(i), [{"role": "user", "content": "?"}], refs) for i, (_, refs) in enumerate(pairs)]


def corpus(pairs) -> tuple[dict[str, float], Scorer]:
    """The corpus figures of these answers, from the sums of the items."""
    scorer = Scorer(asked(pairs))
    rows = [scorer.counts(answer, references) for answer, references in pairs]
    return {
        name: intervals.value_of(families.find(name), np.array([row[name] for row in rows], dtype=float))
        for name in rows[0]
    }, scorer


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
@pytest.mark.parametrize("with_wordnet", [True, False])
def test_corpus_figures_are_those_of_the_fields_libraries(case, with_wordnet, monkeypatch):
    wordnet = Synonyms() if with_wordnet else meteor.NoSynonyms()
    monkeypatch.setattr(meteor, "synonyms", lambda: (wordnet, ""))
    found, scorer = corpus(case["pairs"])
    expected = dict(case["expected"])
    for kind in ("with", "without"):
        value = expected.pop(f"METEOR {kind} WordNet", None)
        if value is not None and (kind == "with") == with_wordnet:
            expected["METEOR"] = value
    for name in ("BLEU", "chrF2"):
        assert str(scorer.signatures[name].format(short=True)) == expected.pop(f"{name} signature")
    expected.pop("chrF2++ signature")
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-12), name


def test_chinese_against_itself_is_perfect():
    found, _ = corpus([("我喜欢吃苹果,也喜欢吃香蕉。", ["我喜欢吃苹果,也喜欢吃香蕉。"])] * 2)
    assert found["ROUGE-1"] == found["ROUGE-L"] == 1
    assert found["BLEU"] == pytest.approx(100)
    assert found["chrF2"] == pytest.approx(100)


def test_ascii_words_are_rouge_scores_own():
    draw = random.Random(0)
    letters = [chr(c) for c in range(32, 127)] + ["\n", "\t"]
    for _ in range(200):
        text = "".join(draw.choices(letters, k=60))
        assert words(text) == tokenize(text, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Überfluß, ja!", ["überfluß", "ja"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),  # its vowel signs do not part the words
        ("東京タワー2基", ["東", "京", "タ", "ワ", "ー", "2", "基"]),
        ("cafe\u0301 café", ["café", "café"]),
    ],
)
def test_words_of_other_scripts_stay_whole(text, expected):
    assert words(text) == expected


def test_without_wordnet_meteor_says_so_and_does_not_crash(monkeypatch):
    import nltk

    def missing(name: str, *_, **__):
        raise LookupError(name)

    monkeypatch.setattr(nltk.data, "find", missing)
    meteor.synonyms.cache_clear()
    try:
        assert "no WordNet" in meteor.signature()
        assert meteor.meteor("running dogs", ["the dog runs"]) > 0, "stems match"
        assert meteor.meteor("", ["the dog runs"]) == 0
    finally:
        meteor.synonyms.cache_clear()


def test_a_synonym_counts_where_wordnet_knows_it():
    without = meteor.meteor("the car is quick", ["the car is fast"], meteor.NoSynonyms())
    assert meteor.meteor("the car is quick", ["the car is fast"], Synonyms()) > without


# The recipe


def rows(n: int = 9) -> list[dict]:
    return [
        {"id": f"r{i}", "prompt": f"Question {i}?", "references": [f"Answer {i}.", "It depends."]} for i in range(n)
    ]


def run_on(folder, given, model, *, other=False, **config) -> RunDirectory:
    run = RunDirectory(folder)
    config = {"measure": "overlap", "max_new_tokens": 12, "batch_size": 4, "draws": 100, **config}
    run.create(
        RunSpec("evaluate", config, parent=str(model), parent_hash="b" * 64),
        {} if other else {"references": iter(given)},
    )
    if other:
        (run.path / "data" / "other").mkdir()
        (run.path / "data" / "other" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    attempt(evaluate.main, run)
    return run


def failure_of(run: RunDirectory) -> dict:
    failure = run.failure()
    assert failure is not None
    return failure


@pytest.fixture(scope="module")
def first(model, tmp_path_factory) -> RunDirectory:
    return run_on(tmp_path_factory.mktemp("overlap") / "run", rows(), model)


def test_every_figure_has_its_interval_and_every_item_its_answer(first):
    result = result_of(first)
    assert set(result["metrics"]) == {
        *("BLEU", "chrF2", "chrF2++", "ROUGE-1", "ROUGE-2", "ROUGE-L", "ROUGE-Lsum", "METEOR")
    }
    assert result["n"] == 9
    assert "BLEU|#:2" in result["signature"] and "rouge-score 0.1" in result["signature"]
    assert "METEOR nltk" in result["signature"]
    assert any("9 of 9 answers were cut off at 12 tokens" in note for note in result["notes"])
    lines = list(read_lines(first.path / "items.jsonl"))
    assert [line["id"] for line in lines] == [f"r{i}" for i in range(9)]
    assert all(line["shown"]["answer"] and line["shown"]["references"] for line in lines)
    assert result["metrics"]["BLEU"]["lower"] is None, "nine items are too few to draw from"
    assert any("too few for an interval" in note for note in result["notes"])


def test_what_a_model_thinks_first_is_no_part_of_its_answer(model, tmp_path, monkeypatch):
    tokenizer = type(loading.load_tokenizer(model))
    monkeypatch.setattr(tokenizer, "decode", lambda self, ids, **_: "<think>Is it 3? No.</think>\n\nAnswer 3.")
    run = run_on(tmp_path / "run", rows(2), model)
    assert [row["answer"]["text"] for row in read_lines(run.path / "answers.jsonl")] == ["Answer 3."] * 2


def test_answers_do_not_hang_on_the_batch(first, model, tmp_path, monkeypatch):
    alone = run_on(tmp_path / "alone", rows(), model, batch_size=1)
    answers = [
        {row["id"]: row["answer"]["text"] for row in read_lines(run.path / "answers.jsonl")} for run in (first, alone)
    ]
    same = sum(answers[0][name] == answers[1][name] for name in answers[0])
    assert same >= 8, "up to rounding, greedy answers are the model's own"


def test_a_run_that_was_killed_goes_on_where_it_was(first, model, tmp_path, monkeypatch):
    run = RunDirectory(tmp_path / "killed")
    run.create(first.spec(), {"references": iter(rows())})
    kept = (first.path / "answers.jsonl").read_text().splitlines(keepends=True)
    (run.path / "answers.jsonl").write_text("".join(kept[:4]) + kept[4][:20])  # it died while writing the fifth
    asked_again = []

    def counting(decoder, prompts, *rest, **named):
        asked_again.append(len(prompts))
        return sample(decoder, prompts, *rest, **named)

    sample = overlap.sample
    monkeypatch.setattr(overlap, "sample", counting)
    attempt(evaluate.main, run)
    assert result_of(run)["metrics"] == result_of(first)["metrics"]
    assert sum(asked_again) == 5


def test_examples_for_instruction_tuning_are_references_too(model, tmp_path):
    chat = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Good day."}]
    given = [{"prompt": chat[:1], "completion": "Hi."}, {"messages": chat}]
    run = run_on(tmp_path / "run", given, model, other=True)
    shown = [line["shown"] for line in read_lines(run.path / "items.jsonl")]
    assert [s["references"] for s in shown] == [["Hi."], ["Good day."]]
    assert shown[1]["prompt"] == chat[:1]


def test_the_limit_takes_the_same_items_whatever_their_order(model, tmp_path):
    one = run_on(tmp_path / "one", rows(), model, limit=4)
    two = run_on(tmp_path / "two", rows()[::-1], model, limit=4)
    assert result_of(one)["items_hash"] == result_of(two)["items_hash"]
    assert result_of(one)["n"] == 4
    assert "4 of 9 items were used (config.limit)." in result_of(one)["notes"]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"id": "r9", "prompt": "Why?", "references": ["Because.", " "]}, "Item 2, 'r9', has an empty reference (2)"),
        ({"prompt": "Why?", "references": []}, "Item 2 has no reference"),
        ({"prompt": "Why?", "label": "a"}, "Item 2 has no reference"),
        ({"prompt": "", "references": ["Because."]}, "Item 2 has no prompt"),
        ({"references": ["Because."]}, "Item 2 has no prompt"),
    ],
)
def test_an_item_that_cannot_be_measured_is_refused_by_its_line(model, tmp_path, broken, said):
    failure = failure_of(run_on(tmp_path / "run", [rows()[0], broken], model))
    assert failure["code"] == "bad_item"
    assert said in failure["message"]


def test_an_id_that_is_another_row_s_number_is_told_apart(tmp_path):
    run = RunDirectory(tmp_path)
    run.create(RunSpec("evaluate", {}))
    (tmp_path / "data" / "other").mkdir()
    rows = [{"prompt": "a", "references": ["x"]}, {"id": "1", "prompt": "b", "references": ["y"]}]
    (tmp_path / "data" / "other" / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [one.id for one in overlap.read(run, 10)[0]] == ["1", "1 (2)"]


def test_one_item_is_too_few(model, tmp_path):
    assert failure_of(run_on(tmp_path / "run", rows(1), model))["code"] == "no_references"


def test_no_room_for_a_prompt_is_said_with_the_remedy(model, tmp_path):
    failure = failure_of(run_on(tmp_path / "run", rows(), model, max_new_tokens=16, max_length=16))
    assert failure["code"] == "too_long"
    assert failure["remedy_changes"] == {"max_new_tokens": 8}


def test_a_prompt_that_is_too_long_is_cut_and_said(model, tmp_path):
    given = [*rows(2), {"id": "long", "prompt": "word " * 100, "references": ["Yes."]}]
    result = result_of(run_on(tmp_path / "run", given, model, max_length=128))
    assert any("1 of 3 prompts were too long for the model" in note for note in result["notes"])
