"""Perplexity against hand-worked corpora, and the recipe against a direct sum of log-probabilities."""

import json
import math

import numpy as np
import pytest

from evaluation.metrics.perplexity import mean_loss, measures
from tests import tiny_model
from training.run_directory import RunDirectory, RunSpec


def by_metric(found) -> dict:
    return {m.metric: m for m in found}


def test_a_corpus_has_one_perplexity_and_not_the_mean_of_its_texts():
    """Two tokens at 1/2 each, eight at 1/4 each: exp of (2 ln 2 + 8 ln 4) / 10, not (2 + 4) / 2."""
    losses, tokens = np.array([2 * math.log(2), 8 * math.log(4)]), np.array([2.0, 8.0])
    found = by_metric(measures(losses, tokens, ["a b", "c d e f"]))
    assert found["perplexity"].value == pytest.approx(2**1.8)
    assert found["word perplexity"].value == pytest.approx(2 ** (18 / 6))
    assert found["bits per byte"].value == pytest.approx(18 / 10)
    assert found["byte perplexity"].value == pytest.approx(2**1.8)
    assert found["perplexity"].n == 2


def test_bytes_are_counted_and_not_characters():
    found = by_metric(measures(np.array([math.log(2) * 6, 0.0]), np.array([1.0, 1.0]), ["日本", "  "]))
    assert found["bits per byte"].value == pytest.approx(6 / 8)


def test_the_error_covers_the_truth_when_texts_differ():
    """Texts with their own mean loss: 300 corpora of 40 texts, the 95 % interval holds the true mean."""
    random = np.random.default_rng(2)
    held = 0
    for _ in range(300):
        tokens = random.integers(5, 50, 40).astype(float)
        losses = tokens * random.normal(3.0, 0.8, 40)
        mean, error = mean_loss(losses, tokens)
        held += abs(mean - 3.0) <= 1.96 * error
    assert 0.90 <= held / 300 <= 0.98


def test_one_text_has_no_error():
    with pytest.raises(ValueError, match="at least two"):
        measures(np.array([1.0]), np.array([1.0]), ["a"])


def test_a_text_without_tokens_is_refused():
    with pytest.raises(ValueError, match="at least one token"):
        measures(np.array([1.0, 0.0]), np.array([1.0, 0.0]), ["a", ""])


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return tiny_model.make(tmp_path_factory.mktemp("tiny") / "model")


def run_recipe_on(rows, model_folder, path, **config) -> dict:
    from evaluation.recipes import perplexity
    from training.recipes.entry import attempt

    run = RunDirectory(path)
    run.create(RunSpec(kind="evaluate", config=config, parent=str(model_folder)), {"texts": iter(rows)})
    status = attempt(perplexity.main, run)
    return run.result() if status == 0 else run.failure()


def direct_loss(model_folder, context: list[int], ids: list[int]) -> float:
    """−Σ log p of each token after all before it, one forward for each token."""
    import torch

    from training.recipes import loading

    model, _ = loading.load_policy(model_folder)
    total = 0.0
    for at in range(len(ids)):
        logits = model(torch.tensor([context + ids[:at]])).logits[0, -1].float()
        total -= torch.log_softmax(logits, -1)[ids[at]].item()
    return total


def test_an_answer_is_scored_after_its_prompt_and_nothing_else_counts(model_folder, tmp_path, monkeypatch):
    from training.recipes import loading

    monkeypatch.setenv("ASSAY_DTYPE", "float32")
    _, tokenizer = loading.load_policy(model_folder)
    prompt = [{"role": "user", "content": "why?"}]
    rows = [
        {"id": 7, "prompt": prompt, "text": "because the sky."},
        {"id": 9, "prompt": prompt, "text": "no"},
        {"id": 11, "text": "running text"},
    ]
    result = run_recipe_on(rows, model_folder, tmp_path / "run", batch_size=2)
    context = loading.encode_prompt(tokenizer, prompt, 256)
    for row, scored in zip(rows, result["texts"], strict=True):
        ids = loading.encode_completion(tokenizer, row["text"], 64)
        before = context if "prompt" in row else [tokenizer.eos_token_id]  # it has no token of beginning
        assert scored["id"] == row["id"]
        assert scored["tokens"] == len(ids)
        assert scored["loss"] == pytest.approx(direct_loss(model_folder, before, ids), rel=1e-4)
    losses = sum(t["loss"] for t in result["texts"]) / sum(t["tokens"] for t in result["texts"])
    assert result["metrics"]["perplexity"]["value"] == pytest.approx(math.exp(losses))


def test_long_running_text_is_scored_once_in_windows(model_folder, tmp_path):
    rows = [{"id": 1, "text": "abc " * 50}, {"id": 2, "text": "short"}]
    result = run_recipe_on(rows, model_folder, tmp_path / "run", max_length=16)
    assert [t["tokens"] for t in result["texts"]] == [200, 5]


def test_an_empty_text_fails_in_words(model_folder, tmp_path):
    failure = run_recipe_on([{"id": 1, "text": "abc"}, {"id": 2, "text": ""}], model_folder, tmp_path / "run")
    assert failure["code"] == "empty_text"
    assert "2" in failure["message"]


def test_one_text_fails_in_words(model_folder, tmp_path):
    assert run_recipe_on([{"id": 1, "text": "abc"}], model_folder, tmp_path / "run")["code"] == "no_texts"


def test_the_same_texts_have_the_same_signature(model_folder, tmp_path):
    rows = [{"id": 1, "text": "abc"}, {"id": 2, "text": "def"}]
    first = run_recipe_on(rows, model_folder, tmp_path / "one")
    second = run_recipe_on(rows, model_folder, tmp_path / "two")
    other = run_recipe_on([*rows, {"id": 3, "text": "ghi"}], model_folder, tmp_path / "three")
    assert first["texts_hash"] == second["texts_hash"] != other["texts_hash"]
    assert json.dumps(first) == json.dumps(second)
