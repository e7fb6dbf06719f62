"""Text classification: the split, what is refused, that it learns, that an interruption changes nothing."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.support import tiny_model
from tests.support.sampling_of_cases import plain_run_tries
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec
from training.recipes import classify_predict, label
from training.recipes.classify import __main__ as classify
from training.recipes.classify import classifier_finetuning, classify_measures
from training.recipes.classify.classify_rows import Example, read_examples, split
from training.recipes.classify.text_classifier import Classifier, encode, load_trunk
from training.recipes.common import children, entry, loading
from training.recipes.common.adapters import base_folder, is_adapter
from training.rl.lora import add_adapters

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = {"epochs": 5.0, "batch_size": 8, "max_length": 40, "checkpoint_every": 4, "evaluate_every": 4}
LEARN = {"lora": {"learning_rate": 1e-2}, "full": {"learning_rate": 2e-3}, "head": {}}


@pytest.fixture(scope="module")
def parent(tmp_path_factory) -> Path:
    return tiny_model.make(tmp_path_factory.mktemp("models") / "tiny")


def reviews(n: int) -> list[dict]:
    """Letters tell the label: a model that reads bytes can learn it."""
    good, bad = ("good", "warm", "fun"), ("dull", "cold", "thin")
    return [
        {
            "text": f"{i} {(good if i % 2 else bad)[i % 3]} film {i * 7 % 13}",
            "label": "positive" if i % 2 else "negative",
        }
        for i in range(n)
    ]


def make_run(folder: Path, parent: Path, rows=None, other=None, **config) -> RunDirectory:
    run = RunDirectory(folder)
    run.create(
        RunSpec("classify", CONFIG | config, seed=1, parent=str(parent)),
        {"rows": iter(reviews(80) if rows is None else rows)},
    )
    if other is not None:
        (folder / "data" / "other").mkdir()
        (folder / "data" / "other" / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in other))
    return run


@pytest.fixture(scope="module", params=plain_run_tries("lora", "head", of=("lora", "full", "head")))
def done(request, parent, tmp_path_factory) -> RunDirectory:
    run = make_run(tmp_path_factory.mktemp("runs") / "whole", parent, adapters=request.param, **LEARN[request.param])
    assert entry.attempt(classify.main, run) == 0, run.failure()
    return run


def examples(*rows: tuple[str, str]) -> list[Example]:
    return [Example(text, "", label) for text, label in rows]


# Rows


def test_the_same_text_stands_on_one_side_however_it_is_written():
    rows = [
        ("Good  FILM", "p"),
        ("good film", "p"),
        *((f"a {i}", "p") for i in range(9)),
        *((f"b {i}", "n") for i in range(9)),
    ]
    parts = split(examples(*rows), [], share=0.3)
    keys = [e.key for e in parts.train], [e.key for e in parts.held_out]
    assert not set(keys[0]) & set(keys[1]) and len(keys[0]) + len(keys[1]) == 19
    assert parts.left_out == {"repeated texts": 1}
    assert {e.label for e in parts.held_out} == {e.label for e in parts.train} == {"n", "p"}


def test_the_split_is_by_text_and_not_by_order():
    rows = [(f"text {i}", "np"[i % 2]) for i in range(30)]
    one, other = (split(examples(*r), [], share=0.2) for r in (rows, rows[::-1]))
    assert {e.key for e in one.held_out} == {e.key for e in other.held_out} and len(one.held_out) == 6


def test_a_text_with_two_labels_is_left_out():
    parts = split(examples(("x", "p"), ("X", "n"), ("a", "p"), ("b", "p"), ("c", "n"), ("d", "n")), [], share=0.5)
    assert parts.left_out == {"texts with several labels": 2} and len(parts.train) == len(parts.held_out) == 2


def test_a_second_dataset_is_the_test_and_its_texts_train_nothing():
    train = examples(("a", "p"), ("b", "p"), ("c", "n"), ("d", "n"))
    parts = split(train, examples(("A", "p"), ("z", "n")), share=0.2)
    assert [e.text for e in parts.held_out] == ["A", "z"] and [e.text for e in parts.train] == ["b", "c", "d"]
    assert parts.left_out == {"texts that the second dataset tests": 1}


@pytest.mark.parametrize(
    ("rows", "code", "told"),
    [
        ([("a", "p")], "too_few_texts", "1 different texts"),
        ([("a", "p"), ("A", "p")], "too_few_texts", "1 different texts"),
        ([("a", "p"), ("b", "p"), ("c", "p")], "one_label", "'p'"),
        ([("a", "p"), ("b", "p"), ("c", "n")], "rare_label", "'n' there are 1"),
    ],
)
def test_too_little_to_learn_from_is_refused_in_words(rows, code, told):
    with pytest.raises(RecipeFailure, match=told) as failure:
        split(examples(*rows), [], share=0.2)
    assert failure.value.code == code and failure.value.remedy


def test_labels_nobody_named_are_refused_by_name():
    rows = examples(("a", "p"), ("b", "p"), ("c", "n"), ("d", "n"), ("e", "4"))
    with pytest.raises(RecipeFailure, match="'4' \\(1\\)"):
        split(rows, [], share=0.2, allowed=["n", "p"])
    with pytest.raises(RecipeFailure, match="second dataset has labels"):
        split(rows[:4], rows[4:], share=0.2)


def test_rows_without_labels_are_refused():
    with pytest.raises(RecipeFailure, match="Row 1 has no text with a label"):
        read_examples([{"question": "a", "choices": ["b", "c"], "answer": "b"}])
    pair = read_examples([{"premise": "a", "hypothesis": "b", "label": "c"}])[0]
    assert (pair.text, pair.text_b, pair.label) == ("a", "b", "c")


# Measures


def test_measures_by_hand():
    truth = np.array([0, 0, 0, 0, 1, 1])
    predicted = np.array([0, 0, 0, 1, 1, 0])
    table = classify_measures.confusion(truth, predicted, 2)
    assert table.tolist() == [[3, 1], [1, 1]]
    precision, recall, f1, n = classify_measures.by_class(table)[1]
    assert (precision, recall, f1, n) == (0.5, 0.5, 0.5, 2)
    # (TP TN - FP FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN)) with the second class as the positive one
    assert classify_measures.mcc(table) == pytest.approx((1 * 3 - 1 * 1) / (2 * 2 * 4 * 4) ** 0.5)
    measures = classify_measures.measures(truth, np.eye(2)[predicted], seed=0)
    assert measures["accuracy"].value == pytest.approx(4 / 6)
    assert measures["macro_f1"].value == pytest.approx((0.75 + 0.5) / 2)
    # Sure of everything and right on four of six.
    assert measures["calibration_error"].value == pytest.approx(1 / 3)
    assert all(e.lower <= e.value <= e.upper for e in measures.values())


def test_wilsons_interval_is_the_published_one():
    """Newcombe 1998, table I: 81 of 263, and 0 of 20."""
    found = classify_measures.wilson(81, 263)
    assert (round(found.lower, 4), round(found.upper, 4)) == (0.2553, 0.3662)
    nothing = classify_measures.wilson(0, 20)
    assert (abs(round(nothing.lower, 4)), round(nothing.upper, 4)) == (0.0, 0.1611)


def test_a_constant_answer_has_no_correlation():
    table = classify_measures.confusion(np.array([0, 0, 1]), np.array([0, 0, 0]), 2)
    assert classify_measures.mcc(table) == 0 and classify_measures.f1_by_class(table)[1] == 0


def test_a_calibrated_model_has_a_small_calibration_error():
    draw = np.random.default_rng(0)
    sure = draw.uniform(0.5, 1, 4000)
    truth = (draw.random(4000) < sure).astype(int)
    measures = classify_measures.measures(truth, np.stack([1 - sure, sure], axis=1), seed=0)
    assert measures["calibration_error"].value < 0.03
    over = np.stack([1 - sure**0.2, sure**0.2], axis=1)
    assert classify_measures.measures(truth, over, seed=0)["calibration_error"].value > 0.1


# The recipe


def test_it_learns_what_the_letters_tell(done):
    result = done.result()
    accuracy, common = result["held_out"]["accuracy"], result["held_out"]["majority_accuracy"]
    assert accuracy["value"] >= 0.9 > common["value"]
    assert result["beats_chance"] and accuracy["n"] == result["held_out_texts"] == 16
    assert np.array(result["confusion"]).sum() == 16 and result["labels"] == ["negative", "positive"]
    assert result["hash"] == loading.weights_hash(done.model)


def test_an_epoch_holds_every_text_once_and_pads_little():
    lengths = torch.randint(5, 200, (500,), generator=torch.Generator().manual_seed(0)).tolist()
    batches = classifier_finetuning.epoch_batches(lengths, 8, 0, seed=1)
    assert sorted(i for batch in batches for i in batch) == list(range(500)) and len(batches) == 63
    padded = sum(max(lengths[i] for i in batch) * len(batch) for batch in batches)
    assert padded < 1.1 * sum(lengths)
    again, other = (classifier_finetuning.epoch_batches(lengths, 8, epoch, seed=1) for epoch in (0, 1))
    assert batches == again != other
    first = [sum(lengths[i] for i in batch) for batch in batches[:10]]
    assert first != sorted(first)  # nor do short texts come first


def test_the_saved_classifier_predicts_and_transformers_loads_its_trunk(done):
    from transformers import AutoModel

    classifier = Classifier.load(done.model)
    good, bad = classifier.predict(["45 good film 3", ("46 dull film 4", "")])
    assert next(iter(good)) == "positive" and next(iter(bad)) == "negative"
    assert sum(good.values()) == pytest.approx(1, abs=1e-5)
    assert AutoModel.from_pretrained(done.model).config.hidden_size == 64
    with pytest.raises(RecipeFailure, match="Text 1 is empty"):
        classifier.predict([" "])


def test_predictions_do_not_depend_on_their_company(done):
    classifier = Classifier.load(done.model)
    texts = [row["text"] for row in reviews(9)] + ["x"]
    together = classifier.predict(texts, batch_size=4)
    for text, told in zip(texts, together, strict=True):
        alone = classifier.predict([text])[0]
        assert {k: round(v, 2) for k, v in alone.items()} == pytest.approx(told, abs=0.02)


def test_a_killed_run_ends_with_the_same_weights(done, parent, tmp_path, monkeypatch):
    """Died after its first checkpoint, in the middle of a step; the next attempt goes on from there."""
    adapters = done.result()["adapters"]
    run = make_run(tmp_path / "cut", parent, adapters=adapters, **LEARN[adapters] | {"checkpoint_every": 1})
    files = ["head.safetensors", "adapter_model.safetensors" if adapters == "lora" else "model.safetensors"]
    whole = [load_file(done.model / file) for file in files]
    original = RunDirectory.log_metrics

    def die(self, step, **values):
        if step == 2:
            raise KeyboardInterrupt
        original(self, step, **values)

    monkeypatch.setattr(RunDirectory, "log_metrics", die)
    with pytest.raises(KeyboardInterrupt):
        entry.attempt(classify.main, run)
    monkeypatch.setattr(RunDirectory, "log_metrics", original)
    assert run.latest_checkpoint().name == "step-000001" and not run.model.exists()
    assert entry.attempt(classify.main, run) == 0, run.failure()
    for file, tensors in zip(files, whole, strict=True):
        again = load_file(run.model / file)
        assert again.keys() == tensors.keys()
        assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items()), file
    steps = [json.loads(line)["step"] for line in (run.path / "metrics.jsonl").open()]
    assert steps == sorted(set(steps)) and len(steps) == run.result()["steps"]


def test_the_trunk_is_saved_as_it_was_trained(done):
    fidelity = done.result()["fidelity"]
    assert fidelity["cosine"] >= 0.999
    assert is_adapter(done.model) == (done.result()["adapters"] == "lora")


@pytest.mark.parametrize("adapters", ["head", "lora"])
@pytest.mark.parametrize("dtype", plain_run_tries("bfloat16", of=("bfloat16", "float32")))
def test_a_child_of_lora_may_be_the_parent(parent, tmp_path, monkeypatch, adapters, dtype):
    monkeypatch.setenv("ASSAY_DTYPE", dtype)
    model, tokenizer = loading.load_policy(parent)
    model.requires_grad_(False)
    add_adapters(model.model.layers, 2, 4.0, seed=0)
    for name, parameter in model.named_parameters():
        if name.endswith("lora_b"):
            parameter.data.normal_(std=0.05)
    child = tmp_path / "child"
    wanted = children.save_child(parent, model, tokenizer, child, []).model.get_decoder()
    ids = torch.tensor([[5, 9, 40, 17, 3]])
    trunk, _ = load_trunk(child)
    torch.testing.assert_close(trunk(ids).last_hidden_state, wanted(ids).last_hidden_state)
    run = make_run(tmp_path / "run", child, adapters=adapters, **LEARN[adapters])
    assert entry.attempt(classify.main, run) == 0, run.failure()
    assert base_folder(run.model) == parent.resolve()
    saved, _ = load_trunk(run.model)
    same = torch.equal(saved(ids).last_hidden_state, trunk(ids).last_hidden_state)
    assert same == (adapters == "head")
    assert run.result()["fidelity"]["cosine"] >= 0.999


def test_an_encoder_may_be_the_parent(tmp_path):
    from transformers import ModernBertConfig, ModernBertForMaskedLM

    tokenizer = loading.load_tokenizer(tiny_model.make(tmp_path / "tiny"))
    folder = tmp_path / "encoder"
    config = ModernBertConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        pad_token_id=tokenizer.pad_token_id, max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    ModernBertForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    run = make_run(tmp_path / "run", folder, adapters="lora", learning_rate=1e-2, epochs=4.0)
    assert entry.attempt(classify.main, run) == 0, run.failure()
    assert run.result()["held_out"]["accuracy"]["value"] > 0.8


def test_pairs_and_last_token_and_balance(parent, tmp_path):
    rows = [
        {"text": f"{i} film", "text_b": "yes" if i % 3 else "no", "label": "a" if i % 3 else "b"} for i in range(60)
    ]
    run = make_run(tmp_path / "run", parent, rows, adapters="head", pooling="last", balanced=True)
    assert entry.attempt(classify.main, run) == 0, run.failure()
    assert run.result()["held_out"]["macro_f1"]["value"] > 0.9


def test_of_two_long_texts_the_longer_is_cut_first(parent):
    tokenizer = loading.load_tokenizer(parent)
    ids = encode(tokenizer, "a" * 50, "bbb", 20)
    assert len(ids) == 20 and tokenizer.decode(ids).endswith("bbb")
    ids = encode(tokenizer, "a" * 50, "b" * 50, 20)
    assert tokenizer.decode(ids) == "a" * 9 + "\n\n" + "b" * 9


def test_a_test_set_of_its_own_and_the_mistakes(parent, tmp_path):
    wrong = [{"text": "70 dull film 1", "label": "positive"}, {"text": "71 good film 1", "label": "positive"}]
    run = make_run(tmp_path / "run", parent, other=wrong, adapters="head")
    assert entry.attempt(classify.main, run) == 0, run.failure()
    mistakes = json.loads((run.path / "mistakes.json").read_text())
    assert [m["text"] for m in mistakes] == ["70 dull film 1"] and mistakes[0]["predicted"] == "negative"
    assert run.result()["held_out_texts"] == 2
    assert run.result()["signature"].startswith("held out by a dataset of its own; n 2;")


def test_it_fails_in_words(parent, tmp_path, monkeypatch):
    run = make_run(tmp_path / "one", parent, reviews(1))
    assert entry.attempt(classify.main, run) == 1 and run.failure()["code"] == "too_few_texts"
    run = make_run(tmp_path / "none", tmp_path / "nowhere")
    assert entry.attempt(classify.main, run) == 1 and run.failure()["code"] == "model_missing"
    monkeypatch.setattr(classifier_finetuning, "train_step", lambda *given: float("nan"))
    run = make_run(tmp_path / "hot", parent)
    assert entry.attempt(classify.main, run) == 1 and run.failure()["code"] == "not_finite"
    assert "learning_rate" in run.failure()["remedy"]


def test_labels_on_the_command_line(done, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO('{"text": "45 good film 3"}\n"46 dull film 4"\n'))
    assert classify_predict.main([str(done.model)]) == 0
    bodies = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["label"] for row in bodies] == ["positive", "negative"]
    monkeypatch.setattr("sys.stdin", io.StringIO("{}\n"))
    assert classify_predict.main([str(done.model)]) == 2
    assert "Line 1 holds no text" in capsys.readouterr().err


def test_a_folder_that_holds_no_classifier_says_so(parent, tmp_path):
    shutil.copytree(parent, tmp_path / "policy")
    with pytest.raises(RecipeFailure, match="has no classifier"):
        Classifier.load(tmp_path / "policy")


# A few texts, tried


def test_a_run_labels_a_few_texts(done, tmp_path):
    run = RunDirectory(tmp_path / "label")
    run.create(RunSpec("label", {"texts": "a good film\n\n a dull film "}, parent=str(done.model)), {})
    assert entry.attempt(label.main, run) == 0, run.failure()
    told = Classifier.load(done.model).predict(["a good film", "a dull film"])
    assert run.result()["labelled"] == [
        {"text": "a good film", "label": next(iter(told[0])), "probabilities": told[0]},
        {"text": "a dull film", "label": next(iter(told[1])), "probabilities": told[1]},
    ]
