"""Classification as an evaluation: scikit-learn's figures, the commonest label beside them, and unknown labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from evaluation.recipes import classification, evaluate
from evaluation.recipes.classification import ABOVE, ALWAYS, Text, measured_of
from tests.support import tiny_model
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec, read_lines
from training.recipes.classify.text_classifier import Classifier, Head, load_trunk
from training.recipes.common import entry

GOLDEN = json.loads((Path(__file__).parents[4] / "tests/support/golden" / "classification.json").read_text())
KNOWN = ["anger", "fear", "joy", "neutral"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A classifier that tells texts with many a's from others: random weights, a head set by hand."""
    folder = tmp_path_factory.mktemp("models")
    trunk, tokenizer = load_trunk(tiny_model.make(folder / "tiny"))
    made = Classifier(trunk, tokenizer, Head(64, 2), ["negative", "positive"], "mean", 64)
    ids = [list(tokenizer(text)["input_ids"]) for text in ("aaaa", "zzzz")]
    many, none = made.features(ids)
    made.head.standardise_by(torch.stack([many, none]))
    with torch.no_grad():
        made.head.weight[1] = (many - none) / (many - none).norm()
    made.save(folder / "classifier")
    return folder / "classifier"


def carry_out(folder: Path, model: Path, rows: list[dict], **config) -> RunDirectory:
    run = RunDirectory(folder)
    config = {"measure": "classification", **config}
    run.create(RunSpec("evaluate", config, seed=1, parent=str(model), parent_hash="f" * 64))
    (folder / "data" / "other").mkdir()
    (folder / "data" / "other" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    entry.attempt(evaluate.main, run)
    return run


def letters(n: int) -> list[dict]:
    return [
        {"text": f"{'aaaa' if i % 3 else 'zzzz'}{i}", "label": "positive" if i % 3 else "negative"} for i in range(n)
    ]


def measured(true: list[str], found: list[str]) -> classification.Measured:
    texts = [Text(str(i), "", f"text {i}", "", label) for i, label in enumerate(true)]
    return measured_of(texts, [(label, 0.9) for label in found], KNOWN, [])


def figures(finish, true: list[str], found: list[str]) -> dict:
    return finish(measured(true, found))["metrics"]


@pytest.fixture
def finish(tmp_path):
    """What `outcome.finish` leaves of what was measured."""
    from evaluation.recipes.common import outcome
    from training.configs.evaluate import EvaluateConfig

    def call(told: classification.Measured) -> dict:
        run = RunDirectory(tmp_path / f"run{len(list(tmp_path.iterdir()))}")
        spec = RunSpec("evaluate", {}, parent_hash="f" * 64)
        run.create(spec)
        outcome.finish(run, spec, EvaluateConfig(measure="classification"), told)
        return run.result() or {}

    return call


def test_every_figure_is_scikit_learns(finish):
    found = figures(finish, GOLDEN["true"], GOLDEN["found"])
    for name in ("accuracy", "macro F1", "MCC"):
        assert found[name]["value"] == pytest.approx(GOLDEN[name], abs=1e-12), name
        assert found[name]["lower"] < found[name]["value"] < found[name]["upper"]
        assert found[name]["n"] == 120
    of_labels = {name.removeprefix("F1 of "): row["value"] for name, row in found.items() if name.startswith("F1 of ")}
    assert of_labels == pytest.approx(GOLDEN["F1"], abs=1e-12)
    assert of_labels["fear"] == 0, "it was there, and was never found"


def test_the_commonest_label_stands_beside_accuracy_and_the_difference_is_paired(finish):
    found = figures(finish, GOLDEN["true"], GOLDEN["found"])
    assert found[ALWAYS]["value"] == pytest.approx(GOLDEN["commonest"], abs=1e-12)
    assert found[ABOVE]["value"] == pytest.approx(GOLDEN["accuracy"] - GOLDEN["commonest"], abs=1e-12)
    assert found[ABOVE]["lower"] < found[ABOVE]["value"] < found[ABOVE]["upper"]


def test_a_label_that_these_texts_neither_bear_nor_got_has_no_f1(finish):
    found = figures(finish, ["joy", "joy", "neutral"] * 4, ["joy", "neutral", "neutral"] * 4)
    assert {name for name in found if name.startswith("F1")} == {"F1 of joy", "F1 of neutral"}
    assert found["macro F1"]["value"] == pytest.approx(
        (found["F1 of joy"]["value"] + found["F1 of neutral"]["value"]) / 2
    )


def test_from_a_folder_and_rows_to_items_and_figures(tmp_path, model):
    run = carry_out(tmp_path / "run", model, letters(12))
    result = run.result()
    assert result is not None, run.failure()
    assert result["metrics"]["accuracy"]["value"] == 1.0
    assert result["metrics"]["accuracy"]["lower"] < 1
    assert result["metrics"][ALWAYS]["value"] == pytest.approx(8 / 12)
    assert "The most frequent label is 'positive': 8 of 12 texts have it." in result["notes"]
    [first, *rest] = read_lines(run.path / "items.jsonl")
    assert first["shown"]["label"] == first["shown"]["answer"] == "negative"
    assert 0.5 < first["shown"]["probability"] <= 1
    assert len(rest) == 11


def test_pairs_of_texts_and_groups_are_taken(tmp_path, model):
    rows = [
        {"premise": "aaaa", "hypothesis": f"aaa{i}", "label": "positive", "group": "a", "id": f"p{i}"} for i in range(3)
    ]
    rows += [{"text": "zzzz", "text_b": f"zzz{i}", "label": "negative", "group": "z", "id": f"n{i}"} for i in range(3)]
    result = carry_out(tmp_path / "run", model, rows).result()
    assert result is not None
    assert {group: row["accuracy"]["value"] for group, row in result["groups"].items()} == {"a": 1.0, "z": 1.0}
    assert "F1 of negative" not in result["groups"]["a"]


def test_labels_that_the_classifier_does_not_know_count_as_wrong_and_are_said(tmp_path, model):
    rows = [*letters(9), {"text": "aaaa!", "label": "glad"}]
    result = carry_out(tmp_path / "run", model, rows).result()
    assert result is not None
    assert result["metrics"]["accuracy"]["value"] == pytest.approx(0.9)
    assert any("1 texts have labels that the classifier does not know ('glad' (1)" in note for note in result["notes"])
    assert result["metrics"]["F1 of glad"]["value"] == 0


def test_the_same_texts_are_measured_whatever_the_order_of_the_file(tmp_path, model):
    rows = letters(30)
    one = carry_out(tmp_path / "one", model, rows, limit=8)
    other = carry_out(tmp_path / "other", model, rows[::-1], limit=8)
    told = [{row["shown"]["text"] for row in read_lines(run.path / "items.jsonl")} for run in (one, other)]
    assert told[0] == told[1] and len(told[0]) == 8
    assert "8 of 30 texts, chosen by the hash of their words." in (one.result() or {})["notes"]


@pytest.mark.parametrize("rows, code, told", [
    ([], "no_texts", "There are no texts"),
    ([{"text": "a", "label": "positive"}], "no_texts", "There is 1 text"),
    ([{"text": "a"}, {"text": "b"}], "no_labels", "Row 1 has no text with a label"),
    ([{"text": "", "label": "x"}] * 2, "no_labels", "Row 1"),
    ([{"text": "a", "label": "Positive"}, {"text": "b", "label": "glad"}], "unknown_labels", "It knows 'negative'"),
])  # fmt: skip
def test_rows_that_tell_nothing_are_refused_in_words(tmp_path, model, rows, code, told):
    failure = carry_out(tmp_path / "run", model, rows).failure()
    assert failure is not None and failure["code"] == code
    assert told in failure["message"] and failure["remedy"]


def test_a_model_that_is_no_classifier_is_refused(tmp_path, model):
    failure = carry_out(tmp_path / "run", tmp_path, letters(4)).failure()
    assert failure is not None and failure["code"] == "not_a_classifier"


def test_all_texts_of_one_label_are_said_to_tell_little(finish):
    true = ["joy"] * 12
    texts = [Text(str(i), "", f"text {i}", "", label) for i, label in enumerate(true)]
    notes = classification._notes(texts, 12, classification.Counter(), KNOWN)
    assert any("the same label" in note for note in notes)
    assert figures(finish, true, true)["MCC"]["value"] == 0


def test_a_wrong_row_is_named_by_the_exception_itself():
    with pytest.raises(RecipeFailure, match="Row 2"):
        classification.read_examples([{"text": "a", "label": "b"}, {"text": "c"}])
