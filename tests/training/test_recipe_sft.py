"""Supervised finetuning: what an example is, that it learns it, and that an interruption changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests import tiny_model
from training.recipes import entry, loading, sft
from training.run_directory import RunDirectory, RunSpec

PROMPT = [{"role": "user", "content": "Say it"}]
CONFIG = {"epochs": 2.0, "batch_size": 4, "learning_rate": 5e-3, "checkpoint_every": 2, "sample_every": 100}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """A tiny model's products are too small to share between threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def parent(tmp_path_factory) -> Path:
    return tiny_model.make(tmp_path_factory.mktemp("models") / "tiny")


def make_run(folder: Path, parent: Path, count: int = 16, completion: str = "abab", **config) -> RunDirectory:
    run = RunDirectory(folder)
    rows = [{"prompt": PROMPT, "completion": completion + "abab"[: i % 4]} for i in range(count)]
    run.create(RunSpec("sft", CONFIG | {"sample_tokens": 8} | config, seed=1, parent=str(parent)), {"examples": rows})
    return run


def metrics(run: RunDirectory) -> list[dict]:
    return [json.loads(line) for line in (run.path / "metrics.jsonl").open()]


@pytest.fixture(scope="module")
def done(parent, tmp_path_factory) -> RunDirectory:
    run = make_run(tmp_path_factory.mktemp("runs") / "whole", parent)
    assert entry.attempt(sft.main, run) == 0, run.failure()
    return run


def test_an_example_is_what_the_policy_meets_with_the_loss_on_the_completion_and_its_end(parent):
    tokenizer = loading.load_tokenizer(parent)
    example = sft.encode(tokenizer, {"prompt": PROMPT, "completion": "ab"}, max_length=100)
    prompt = loading.encode_prompt(tokenizer, PROMPT, 100)
    completion = [*loading.encode_completion(tokenizer, "ab", 100), tokenizer.eos_token_id]
    assert example.tokens == prompt + completion
    assert example.learnt == [False] * len(prompt) + [True] * 3


def test_a_long_example_loses_its_prompts_beginning_and_a_longer_one_its_end(parent):
    tokenizer = loading.load_tokenizer(parent)
    short = sft.encode(tokenizer, {"prompt": PROMPT, "completion": "ab"}, max_length=8)
    assert short.learnt == [False] * 5 + [True] * 3
    assert short.tokens[-1] == tokenizer.eos_token_id
    cut = sft.encode(tokenizer, {"prompt": PROMPT, "completion": "ab" * 50}, max_length=8)
    assert cut.learnt == [False] + [True] * 7
    assert cut.tokens[-1] != tokenizer.eos_token_id


def test_it_learns_the_examples(done):
    result = done.result()
    assert result["steps"] == 8
    assert result["last_loss"] < result["first_loss"] - 1
    assert [row["step"] for row in metrics(done)] == list(range(1, 9))
    assert result["hash"] == loading.weights_hash(done.model)


def test_the_model_is_a_whole_folder_that_has_changed(done, parent):
    model, tokenizer = loading.load_policy(done.model)
    before, _ = loading.load_policy(parent)
    ids = torch.tensor([loading.encode_prompt(tokenizer, PROMPT, 100)])
    a = tokenizer.convert_tokens_to_ids("a")
    likely = [m(ids).logits[0, -1].float().softmax(-1)[a].item() for m in (before, model)]
    assert likely[1] > 5 * likely[0]
    generation = json.loads((done.model / "generation_config.json").read_text())
    assert (generation["do_sample"], generation["top_k"]) == (True, 0)


def test_samples_show_the_same_prompts_before_and_after(done):
    samples = [json.loads(line) for line in (done.path / "samples.jsonl").open()]
    assert [(s["step"], s["prompt"]) for s in samples] == [(0, PROMPT), (8, PROMPT)]


@pytest.mark.parametrize("adapters", ["lora", "top", "full"])
def test_an_interrupted_run_ends_in_the_same_bits(done, parent, tmp_path, monkeypatch, adapters):
    whole = done
    if adapters != "lora":
        whole = make_run(tmp_path / "whole", parent, adapters=adapters)
        assert entry.attempt(sft.main, whole) == 0, whole.failure()
    cut = make_run(tmp_path / "cut", parent, adapters=adapters)
    honest = sft.after_step

    def dies_after_the_fifth(work, optimiser, standing, **given):
        honest(work, optimiser, standing, **given)
        if standing.step == 5:
            raise KeyboardInterrupt  # as abrupt as a signal

    with monkeypatch.context() as patch:
        patch.setattr(sft, "after_step", dies_after_the_fifth)
        with pytest.raises(KeyboardInterrupt):
            entry.attempt(sft.main, cut)
    assert cut.latest_checkpoint().name == "step-000004"
    assert entry.attempt(sft.main, cut) == 0, cut.failure()
    ours, theirs = (load_file(run.model / "model.safetensors") for run in (cut, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert [(m["step"], m["values"]["loss"]) for m in metrics(cut)] == [
        (m["step"], m["values"]["loss"]) for m in metrics(whole)
    ]
    assert not list(cut.path.glob(".*partial"))


def test_a_run_cut_off_before_it_saved_needs_no_further_step(done, parent, tmp_path, monkeypatch):
    cut = make_run(tmp_path / "cut", parent)

    def dies(*_given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loading, "save_policy", dies)
        with pytest.raises(KeyboardInterrupt):
            entry.attempt(sft.main, cut)
    assert entry.attempt(sft.main, cut) == 0, cut.failure()
    assert loading.weights_hash(cut.model) == loading.weights_hash(done.model)
    assert cut.result()["last_loss"] == done.result()["last_loss"]


def test_top_trains_the_top_third_of_the_layers_and_nothing_else(done, parent, tmp_path):
    run = make_run(tmp_path / "top", parent, adapters="top")
    assert entry.attempt(sft.main, run) == 0, run.failure()
    before = loading.load_policy(parent)[0].state_dict()
    for whole, expected in ((run, {"2"}), (done, {"0", "1", "2"})):
        after = loading.load_policy(whole.model)[0].state_dict()
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert {name.split(".")[2] for name in changed} == expected
    assert run.result()["last_loss"] < run.result()["first_loss"] - 0.5


@pytest.mark.parametrize(("count", "completion"), [(0, "ab"), (1, "ab"), (9, " ")])
def test_too_few_examples_are_refused_with_a_remedy(parent, tmp_path, count, completion):
    run = RunDirectory(tmp_path / "few")
    rows = [{"prompt": PROMPT, "completion": completion}] * count
    run.create(RunSpec("sft", {}, parent=str(parent)), {"examples": rows})
    assert entry.attempt(sft.main, run) == 1
    assert run.failure()["code"] == "too_few_examples"
    assert run.failure()["remedy"]


def test_divergence_is_a_failure_in_words(parent, tmp_path, monkeypatch):
    run = make_run(tmp_path / "diverges", parent)
    honest = loading.load_policy

    def spoilt(folder, dtype):
        model, tokenizer = honest(folder, dtype)
        with torch.no_grad():
            model.lm_head.weight[0, 0] = float("nan")
        return model, tokenizer

    monkeypatch.setattr(loading, "load_policy", spoilt)
    assert entry.attempt(sft.main, run) == 1
    assert run.failure()["code"] == "not_finite"
    assert "learning_rate" in run.failure()["remedy"]
    assert not run.model.exists()


def test_a_missing_parent_is_a_failure_in_words(tmp_path):
    run = make_run(tmp_path / "orphan", tmp_path / "nowhere")
    assert entry.attempt(sft.main, run) == 1
    assert run.failure()["code"] == "model_missing"
