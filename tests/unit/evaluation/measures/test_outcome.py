"""What an evaluation leaves behind: files of items and figures, the same for whoever measures."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from evaluation.recipes.common import outcome
from evaluation.recipes.common.outcome import Item, Measured
from training.configs.evaluate import EvaluateConfig
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec, read_lines


def items(n: int = 20) -> list[Item]:
    return [
        Item(
            str(i),
            " ".join(f"word{i}x{k}" for k in range(15)),
            {"accuracy": [float(i % 4 > 0), 1.0]},
            {"prompt": f"q{i}"},
            f"g{i % 2}",
        )
        for i in range(n)
    ]


@pytest.fixture
def finish(tmp_path):
    def call(measured: Measured, config: EvaluateConfig | None = None, **spec) -> tuple[dict, list[dict]]:
        run = RunDirectory(tmp_path / f"run{len(list(tmp_path.iterdir()))}")
        run_spec = RunSpec(kind="evaluate", config={}, **{"parent_hash": "f" * 64, **spec})
        run.create(run_spec)
        outcome.finish(run, run_spec, config or EvaluateConfig(measure="choices"), measured)
        return run.result() or {}, list(read_lines(run.path / "items.jsonl"))

    return call


def trained_on(folder, *texts: str) -> str:
    folder.mkdir()
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(folder)


def test_figures_of_all_and_of_each_group_come_with_interval_and_n(finish):
    result, lines = finish(Measured("task", items(), "assay 1"))
    accuracy = result["metrics"]["accuracy"]
    assert (accuracy["value"], accuracy["n"], accuracy["higher_is_better"]) == (0.75, 20, True)
    assert 0 < accuracy["lower"] < 0.75 < accuracy["upper"] < 1
    assert {name: g["accuracy"]["value"] for name, g in result["groups"].items()} == {"g0": 0.5, "g1": 1.0}
    assert result["groups"]["g1"]["accuracy"]["lower"] < 1, "all right of ten is no proof of always right"
    assert [line["id"] for line in lines] == [str(i) for i in range(20)]
    assert lines[3]["counts"] == {"accuracy": [1.0, 1.0]}
    assert lines[3]["shown"] == {"prompt": "q3"}


def test_seen_items_are_marked_and_figures_given_without_them(finish, tmp_path):
    asked = items()
    folder = trained_on(tmp_path / "seen", "Preface. " + asked[1].text.upper(), asked[4].text)
    result, lines = finish(Measured("task", asked, "assay 1"), trained_on=[folder])
    assert [line["id"] for line in lines if line["contaminated"]] == ["1", "4"]
    assert lines[1]["seen_in"] == ["seen/texts.jsonl"]
    assert result["contaminated"] == 2
    clean = result["metrics"]["accuracy"]["clean"]
    assert (clean["n"], clean["value"]) == (18, pytest.approx(14 / 18))  # 1 was right, 4 was wrong
    assert result["groups"]["g1"]["accuracy"]["clean"]["n"] == 9
    assert any("2 of 20 items" in note for note in result["notes"])


def test_nobody_looked_is_not_the_same_as_nothing_found(finish, tmp_path):
    unknown, lines = finish(Measured("task", items(), "assay 1"))
    assert unknown["metrics"]["accuracy"]["clean"] is None
    assert lines[0]["contaminated"] is None
    folder = trained_on(tmp_path / "other", "something else altogether")
    looked, lines = finish(Measured("task", items(), "assay 1"), trained_on=[folder])
    assert looked["metrics"]["accuracy"]["clean"]["n"] == 20
    assert lines[0]["contaminated"] is False


def test_when_all_were_seen_there_is_no_clean_figure(finish, tmp_path):
    folder = trained_on(tmp_path / "seen", *(item.text for item in items()))
    result, _ = finish(Measured("task", items(), "assay 1"), trained_on=[folder])
    assert result["metrics"]["accuracy"]["clean"] is None
    assert any("All items were seen" in note for note in result["notes"])


def test_the_hash_is_of_what_was_asked_and_not_of_what_was_answered(finish):
    first, _ = finish(Measured("task", items(), "assay 1"))
    answered = [replace(item, counts={"accuracy": [0.0, 1.0]}, shown={"answer": "x"}) for item in items()]
    second, _ = finish(Measured("task", answered[::-1], "assay 1"))
    third, _ = finish(Measured("task", [*items()[:-1], replace(items()[-1], text="another")], "assay 1"))
    assert first["items_hash"] == second["items_hash"] != third["items_hash"]


def test_the_signature_names_what_it_takes_to_get_the_figure_again(finish):
    result, _ = finish(Measured("task", items(), "sacrebleu 2.6"))
    assert "sacrebleu 2.6" in result["signature"]
    assert f"items {result['items_hash'][:12]}" in result["signature"]
    assert f"model {'f' * 12}" in result["signature"]


def test_too_few_items_for_an_interval_are_said_in_words(finish):
    result, _ = finish(Measured("task", items(1), "assay 1"))
    accuracy = result["metrics"]["accuracy"]
    assert (accuracy["value"], accuracy["lower"], accuracy["standard_error"]) == (0.0, None, None)
    assert any("1 item are too few" in note or "too few for an interval" in note for note in result["notes"])


def test_figures_that_no_sum_gives_stand_beside_the_others(finish):
    fitted = {"value": 0.6, "standard_error": 0.1, "lower": 0.4, "upper": 0.8, "n": 20, "higher_is_better": True}
    result, _ = finish(Measured("task", items(), "assay 1", {"length-controlled win rate": fitted}))
    assert set(result["metrics"]) == {"accuracy", "length-controlled win rate"}


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        ([], "no_items"),
        ([items()[0], items()[0]], "id_repeats"),
        ([*items(), replace(items()[0], id="x", counts={"MCC": [1, 0, 0]})], "counts_missing"),
        ([replace(item, counts={"accuracy": [float("nan"), 1.0]}) for item in items()], "not_a_number"),
        ([replace(item, counts={"perplexity": [1.0, 0.0]}) for item in items()], "not_a_number"),
        ([replace(item, counts={"accuracy": [1.0]}) for item in items()], "not_a_number"),
        ([replace(item, counts={"luck": [1.0]}) for item in items()], "not_a_number"),
    ],
)
def test_what_gives_no_number_fails_in_words(finish, broken, code):
    with pytest.raises(RecipeFailure) as failure:
        finish(Measured("task", broken, "assay 1"))
    assert failure.value.code == code
    assert failure.value.remedy


def test_half_a_character_in_a_text_is_replaced_for_no_page_could_be_written_with_it(finish):
    _, lines = finish(Measured("task", [replace(item, shown={"answer": "so \ud83d"}) for item in items()], "assay 1"))
    assert lines[0]["shown"] == {"answer": "so ?"}
