"""The recipe against a direct sum of log-probabilities, against lm-evaluation-harness, and what it refuses."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.support.evaluation.recipe_runs import ended, items_of, laid

PROMPT = [{"role": "user", "content": "why?"}]
LONG = "Once upon a time, there were words; and words, and words. "


@pytest.fixture(autouse=True)
def _exact(monkeypatch):
    monkeypatch.setenv("ASSAY_DTYPE", "float32")


@pytest.fixture(scope="module")
def loaded(model):
    import torch

    from training.recipes.common import loading

    return loading.load_policy(model, torch.float32)


def run_on(path, model, *, texts=(), other=(), **config):
    run = laid(path, model, {"measure": "perplexity", **config}, texts=texts, other=other)
    return run, ended(run)


def direct_loss(loaded, context: list[int], ids: list[int]) -> float:
    """−Σ log p of each token after all before it, one forward for each token."""
    import torch

    total = 0.0
    for at in range(len(ids)):
        logits = loaded[0](torch.tensor([context + ids[:at]])).logits[0, -1].float()
        total -= torch.log_softmax(logits, -1)[ids[at]].item()
    return total


def harness(loaded, texts: list[str], length: int) -> list[float]:
    """lm-evaluation-harness's own rolling log-likelihoods."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=loaded[0], tokenizer=loaded[1], max_length=length, batch_size=4)
    requests = [Instance("loglikelihood_rolling", {}, (text,), i) for i, text in enumerate(texts)]
    return model.loglikelihood_rolling(requests, disable_tqdm=True)


def losses(run) -> list[float]:
    return [item["counts"]["perplexity"][0] for item in items_of(run)]


def test_an_answer_is_scored_after_its_prompt_and_nothing_else_counts(model, loaded, tmp_path):
    from training.recipes.common import loading

    rows: list[dict[str, Any]] = [
        {"id": 7, "prompt": PROMPT, "text": "because the sky."},
        {"id": 9, "prompt": PROMPT, "text": "no"},
        {"id": 11, "text": "running text"},
    ]
    run, result = run_on(tmp_path / "run", model, texts=rows, batch_size=2)
    context = loading.encode_prompt(loaded[1], PROMPT, 256)
    for row, item in zip(rows, items_of(run), strict=True):
        ids = loading.encode_completion(loaded[1], row["text"], 64)
        before = context if "prompt" in row else [loaded[1].eos_token_id]  # it has no token of beginning
        assert item["id"] == str(row["id"])
        assert item["counts"]["perplexity"] == [pytest.approx(direct_loss(loaded, before, ids), rel=1e-4), len(ids)]
    total = [sum(item["counts"]["perplexity"][k] for item in items_of(run)) for k in (0, 1)]
    assert result["metrics"]["perplexity"]["value"] == pytest.approx(math.exp(total[0] / total[1]))


def test_long_texts_go_in_the_harness_s_windows(model, loaded, tmp_path):
    """Shorter than a window, as long as one, one token more, and several windows with a part of one left."""
    texts = [(LONG * 3)[:n] for n in (5, 16, 17, 32, 33, 100)]
    run, _ = run_on(tmp_path / "run", model, texts=[{"text": t} for t in texts], max_length=16)
    assert losses(run) == [pytest.approx(-value, rel=1e-5) for value in harness(loaded, texts, 16)]
    assert [item["counts"]["perplexity"][1] for item in items_of(run)] == [5, 16, 17, 32, 33, 100]


def test_units_are_the_harness_s(model, loaded, tmp_path):
    """Words between white space, bytes of UTF-8; the corpus has one perplexity and not the mean of its texts'."""
    from lm_eval.api.metrics import bits_per_byte, weighted_perplexity

    texts = ["two  words", "dünn und 日本 und mehr", " x "]
    run, result = run_on(tmp_path / "run", model, texts=[{"text": t} for t in texts])
    words, sizes = [2, 5, 3], [len(t.encode()) for t in texts]
    pairs = [list(zip([-x for x in losses(run)], units, strict=True)) for units in (words, sizes)]
    figures = {name: figure["value"] for name, figure in result["metrics"].items()}
    assert figures["word perplexity"] == pytest.approx(weighted_perplexity(pairs[0]))
    assert figures["byte perplexity"] == pytest.approx(weighted_perplexity(pairs[1]))
    assert figures["bits per byte"] == pytest.approx(bits_per_byte(pairs[1]))


def test_a_prompt_that_does_not_fit_loses_its_beginning_and_is_said(model, loaded, tmp_path):
    from training.recipes.common import loading

    rows: list[dict[str, Any]] = [
        {"id": 1, "prompt": [{"role": "user", "content": "x" * 80}], "text": "ten tokens"},
        {"id": 2, "prompt": PROMPT, "text": "y" * 100},
        {"id": 3, "text": "short"},
    ]
    run, result = run_on(tmp_path / "run", model, texts=rows, max_length=32)
    items = items_of(run)
    assert [item["counts"]["perplexity"][1] for item in items] == [10, 100, 5]  # every answer whole
    context = loading.encode_prompt(loaded[1], rows[0]["prompt"], 10**6)
    ids = loading.encode_completion(loaded[1], "ten tokens", 64)
    kept = context[-(33 - len(ids)) :]
    assert items[0]["counts"]["perplexity"][0] == pytest.approx(direct_loss(loaded, kept, ids), rel=1e-4)
    assert items[0]["shown"]["tokens cut from the prompt"] == len(context) - len(kept)
    assert any("2 of 3 prompts did not fit into 32 tokens" in note for note in result["notes"])


def test_how_many_answers_are_the_lineages_own_is_told(model, tmp_path):
    rows = [{"id": n, "prompt": PROMPT, "text": f"answer {n}", "by_family": n < 2} for n in range(3)]
    _, result = run_on(tmp_path / "run", model, texts=rows)
    assert any(note.startswith("2 of 3 answers are from this model") for note in result["notes"])


def test_a_corpus_gives_its_held_out_texts_and_figures_by_source(model, tmp_path):
    run = laid(tmp_path / "run", model, {"measure": "perplexity"}, other=[{"text": "not these"}])
    rows = [{"text": f"{source} {n}", "source": source} for n in range(3) for source in ("news", "tales")]
    held_out = "".join(json.dumps(row) + "\n" for row in rows)
    (run.path / "data" / "other" / "validation.jsonl").write_text(held_out)
    result = ended(run)
    assert result["n"] == 6 and set(result["groups"]) == {"news", "tales"}
    assert [item["shown"]["text"] for item in items_of(run)] == [row["text"] for row in rows]


def test_the_same_few_texts_are_drawn_whatever_their_order(model, tmp_path):
    rows = [{"text": f"text number {n}"} for n in range(30)]
    _, one = run_on(tmp_path / "one", model, other=rows, limit=5)
    _, other = run_on(tmp_path / "other", model, other=rows[::-1], limit=5)
    assert one["n"] == 5
    assert one["metrics"]["bits per byte"]["value"] == pytest.approx(other["metrics"]["bits per byte"]["value"])


def test_demonstrations_are_scored_as_answers(model, tmp_path):
    rows = [{"id": 0, "prompt": PROMPT, "completion": text} for text in ("because", "so")]  # `id` names the prompt
    run, _ = run_on(tmp_path / "run", model, other=rows)
    assert [item["shown"]["prompt"] for item in items_of(run)] == [PROMPT, PROMPT]
    assert [item["id"] for item in items_of(run)] == ["0", "0 (2)"]


def test_it_repeats_itself_and_says_of_what_it_is(model, tmp_path):
    rows = [{"id": 1, "text": "abc"}, {"id": 2, "text": "def"}]
    _, first = run_on(tmp_path / "one", model, texts=rows)
    _, second = run_on(tmp_path / "two", model, texts=rows)
    _, more = run_on(tmp_path / "three", model, texts=[*rows, {"id": 3, "text": "ghi"}])
    assert json.dumps(first) == json.dumps(second)
    assert first["items_hash"] != more["items_hash"]
    assert "rolling windows of 1024 tokens; torch.float32" in first["signature"]


@pytest.mark.parametrize(
    ("rows", "code", "words"),
    [
        ([{"id": 1, "text": "abc"}, {"id": 2, "text": " "}], "empty_text", "The text 2 is empty"),
        ([], "no_texts", "no texts to score"),
    ],
)
def test_it_refuses_in_words(model, tmp_path, rows, code, words):
    _, failure = run_on(tmp_path / "run", model, texts=rows)
    assert failure["code"] == code and words in failure["message"] and failure["remedy"]


@pytest.mark.parametrize(
    ("file", "code"), [("reward.json", "not_a_language_model"), ("classifier.json", "not_a_language_model")]
)
def test_a_model_that_tells_no_probabilities_is_refused(tmp_path, file, code):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / file).write_text("{}")
    _, failure = run_on(tmp_path / "run", tmp_path / "model", texts=[{"text": "abc"}])
    assert failure["code"] == code and "probabilities" in failure["message"]


def test_an_endpoint_is_refused(tmp_path):
    _, failure = run_on(tmp_path / "run", "", texts=[{"text": "abc"}])
    assert failure["code"] == "no_log_probabilities" and "overlap" in failure["remedy"]


def test_a_masked_model_is_refused(model, tmp_path):
    from transformers import BertConfig, BertForMaskedLM

    from training.recipes.common import loading

    tokenizer = loading.load_tokenizer(model)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    folder = tmp_path / "bert"
    BertForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _, failure = run_on(tmp_path / "run", folder, texts=[{"text": "abc"}])
    assert failure["code"] == "looks_ahead"


MODEL = Path(settings.BASE_DIR) / "data" / "models" / "smollm2-135m-instruct"
WIKITEXT = Path(os.environ.get("SHARED_DATA", "../shared/data")) / "wikitext-2-valid.txt"


@pytest.mark.slow
@pytest.mark.skipif(not MODEL.is_dir(), reason=f"{MODEL} is not here; the README says where the model comes from")
@pytest.mark.skipif(not WIKITEXT.exists(), reason=f"{WIKITEXT} is not here; SHARED_DATA names its folder")
def test_a_real_model_on_wikitext_is_what_the_harness_says_by_itself(tmp_path):
    """The first pages in windows; golden values by golden/from_lm_eval.py."""
    golden = json.loads((Path(__file__).parents[4] / "tests/support/golden" / "perplexity_wikitext.json").read_text())
    pages = re.split(r"(?m)^(?= = [^=\n]+ = $)", WIKITEXT.read_text(encoding="utf-8"))
    rows = [{"text": page} for page in [page for page in pages if page.strip()][: golden["pages"]]]
    run, result = run_on(tmp_path / "run", MODEL, texts=rows, max_length=golden["max_length"])
    assert losses(run) == [pytest.approx(-value, rel=1e-5) for value in golden["log_likelihoods"]]
    for name in ("word perplexity", "byte perplexity", "bits per byte"):
        assert result["metrics"][name]["value"] == pytest.approx(golden[name], rel=1e-5)


def test_texts_without_spaces_have_no_perplexity_by_words_and_all_the_others(model, tmp_path):
    """A text of Chinese is one word to a split at white space, and no number holds that word's perplexity."""
    rows = [{"text": "我爱北京天安门今天天气很好" * n} for n in (30, 40)]
    found = ended(laid(tmp_path / "run", model, {"measure": "perplexity"}, other=rows))
    assert set(found["metrics"]) == {"perplexity", "byte perplexity", "bits per byte"}
    assert "word perplexity of these 2 items is too large for a number to hold." in found["notes"]
