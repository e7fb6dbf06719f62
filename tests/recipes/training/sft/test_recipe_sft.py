"""Supervised finetuning: what an example is, that it learns it, and that an interruption changes nothing."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from tests.support import tiny_model
from tests.support.sampling_of_cases import plain_run_tries
from tests.support.training import sharded_runs
from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.common import adapters as adapters_of
from training.recipes.common import children, entry, loading
from training.recipes.sft import __main__ as sft
from training.recipes.sft.examples import encode, hold_out, store_examples

pytestmark = pytest.mark.usefixtures("one_thread")

PROMPT = [{"role": "user", "content": "Say it"}]
CONFIG = {"epochs": 2.0, "batch_size": 4, "learning_rate": 5e-3, "checkpoint_every": 2, "sample_every": 100}


@pytest.fixture(scope="module")
def parent(tmp_path_factory) -> Path:
    return tiny_model.make(tmp_path_factory.mktemp("models") / "tiny")


def make_run(
    folder: Path, parent: Path, count: int = 16, completion: str = "abab", prompts: int = 1, **config
) -> RunDirectory:
    run = RunDirectory(folder)
    asked = [[{"role": "user", "content": f"Say it {i}"}] if i else PROMPT for i in range(prompts)]
    rows = [{"prompt": asked[i % prompts], "completion": completion + "abab"[: i % 4]} for i in range(count)]
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
    example = encode(tokenizer, {"prompt": PROMPT, "completion": "ab"}, max_length=100)
    prompt = loading.encode_prompt(tokenizer, PROMPT, 100)
    completion = [*loading.encode_completion(tokenizer, "ab", 100), tokenizer.eos_token_id]
    assert example.tokens == prompt + completion
    assert example.learnt == [False] * len(prompt) + [True] * 3


def test_a_long_example_loses_its_prompts_beginning_and_a_longer_one_its_end(parent):
    tokenizer = loading.load_tokenizer(parent)
    short = encode(tokenizer, {"prompt": PROMPT, "completion": "ab"}, max_length=8)
    assert short.learnt == [False] * 5 + [True] * 3
    assert short.tokens[-1] == tokenizer.eos_token_id
    cut = encode(tokenizer, {"prompt": PROMPT, "completion": "ab" * 50}, max_length=8)
    assert cut.learnt == [False] + [True] * 7
    assert cut.tokens[-1] != tokenizer.eos_token_id


def test_it_learns_the_examples(done):
    result = done.result()
    assert result["steps"] == 8
    assert result["last_loss"] < result["first_loss"] - 1
    assert [row["step"] for row in metrics(done)] == list(range(1, 9))
    assert result["hash"] == loading.weights_hash(done.model)


def test_no_example_and_no_sample_is_longer_than_the_models_window(parent, tmp_path, monkeypatch):
    """Whatever `max_length` allows: of later places the model knows nothing."""
    stored, prompts = [], []
    folder = tiny_model.with_window(parent, tmp_path / "narrow", 24)
    run = make_run(tmp_path / "run", folder, completion="ab" * 30, epochs=1.0)
    monkeypatch.setattr(sft, "store_examples", lambda *given: stored.append(store_examples(*given)) or stored[-1])
    encode_prompt = loading.encode_prompt
    monkeypatch.setattr(loading, "encode_prompt", lambda *given: prompts.append(encode_prompt(*given)) or prompts[-1])
    assert entry.attempt(sft.main, run) == 0, run.failure()
    assert set(stored[0].lengths) == {24} and len(prompts[-1]) == 24 - 8


def test_the_model_is_a_whole_folder_that_has_changed(done, parent):
    model, tokenizer = loading.load_policy(done.model)
    before, _ = loading.load_policy(parent)
    ids = torch.tensor([loading.encode_prompt(tokenizer, PROMPT, 100)])
    a = tokenizer.convert_tokens_to_ids("a")
    likely = [m(ids).logits[0, -1].float().softmax(-1)[a].item() for m in (before, model)]
    assert likely[1] > 5 * likely[0]
    generation = json.loads((done.model / "generation_config.json").read_text())
    assert (generation["do_sample"], generation["top_k"]) == (True, 0)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("adapters", ["lora", "top", "full"])
def test_what_is_saved_is_what_was_trained(parent, tmp_path, monkeypatch, adapters, dtype):
    """At a rate at which a merge into bfloat16 keeps the cosine of about one in two."""
    monkeypatch.setenv("ASSAY_DTYPE", dtype)
    run = make_run(tmp_path / "small", parent, adapters=adapters, learning_rate=2e-5)
    assert entry.attempt(sft.main, run) == 0, run.failure()
    fidelity = run.result()["fidelity"]
    assert fidelity["cosine"] >= 0.999
    assert fidelity["kl_per_token"] < 1e-3
    assert fidelity["dtype"] == ("float32" if adapters == "full" else "bfloat16")
    assert adapters_of.is_adapter(run.model) == (adapters != "full")


def test_samples_show_the_same_prompts_before_and_after(done):
    samples = [json.loads(line) for line in (done.path / "samples.jsonl").open()]
    assert [(s["step"], s["prompt"]) for s in samples] == [(0, PROMPT), (8, PROMPT)]


@pytest.mark.parametrize("adapters", plain_run_tries("lora", "top", of=("lora", "top", "full")))
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
    ours, theirs = (dict(adapters_of.merged_state(run.model)) for run in (cut, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert cut.result()["hash"] == whole.result()["hash"]
    assert [(m["step"], m["values"]["loss"]) for m in metrics(cut)] == [
        (m["step"], m["values"]["loss"]) for m in metrics(whole)
    ]
    assert not list(cut.path.glob(".*partial"))


def test_a_run_cut_off_before_it_saved_needs_no_further_step(done, parent, tmp_path, monkeypatch):
    cut = make_run(tmp_path / "cut", parent)

    def dies(*_given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(children, "save_child", dies)
        with pytest.raises(KeyboardInterrupt):
            entry.attempt(sft.main, cut)
    assert entry.attempt(sft.main, cut) == 0, cut.failure()
    assert loading.weights_hash(cut.model) == loading.weights_hash(done.model)
    assert cut.result()["last_loss"] == done.result()["last_loss"]


def test_top_trains_the_top_third_of_the_layers_and_nothing_else(done, parent, tmp_path):
    run = make_run(tmp_path / "top", parent, adapters="top")
    assert entry.attempt(sft.main, run) == 0, run.failure()
    before = dict(adapters_of.merged_state(parent))
    for whole, expected in ((run, {"2"}), (done, {"0", "1", "2"})):
        after = dict(adapters_of.merged_state(whole.model))
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert {name.split(".")[2] for name in changed} == expected
    assert run.result()["last_loss"] < run.result()["first_loss"] - 0.5


@pytest.fixture(scope="module")
def measured(parent, tmp_path_factory) -> RunDirectory:
    """With enough prompts to hold some out."""
    folder = tmp_path_factory.mktemp("runs") / "measured"
    run = make_run(folder, parent, count=80, prompts=80, held_out=0.4, evaluate_every=10, schedule="cosine")
    assert entry.attempt(sft.main, run) == 0, run.failure()
    return run


def test_held_out_answers_get_likelier_by_more_than_noise(measured):
    held_out = measured.result()["held_out"]
    assert measured.result()["packed_layers"] != torch.cuda.is_available()
    assert measured.result()["examples"] + held_out["examples"] == 80
    assert held_out["after"]["upper"] < held_out["before"]["lower"]
    assert held_out["change"]["upper"] < 0
    assert held_out["change"]["loss"] == pytest.approx(held_out["after"]["loss"] - held_out["before"]["loss"])
    curve = [m["values"]["perplexity"] for m in metrics(measured) if "perplexity" in m["values"]]
    assert curve[0] == pytest.approx(held_out["before"]["perplexity"])
    assert min(curve) == pytest.approx(held_out["after"]["perplexity"])
    assert len(curve) > 3


def test_the_loss_before_is_that_of_the_parent_and_after_that_of_the_saved_model(measured, parent):
    rows = measured.rows("examples")
    tokenizer = loading.load_tokenizer(parent)
    _, held = hold_out([encode(tokenizer, row, 512) for row in rows], 0.4, 200)
    for folder, name in ((parent, "before"), (measured.model, "after")):
        model, _ = loading.load_policy(folder)
        nats = 0.0
        for example in held:
            with torch.no_grad():
                logprobs = model(input_ids=torch.tensor([example.tokens])).logits[0].float().log_softmax(-1)
            nats -= sum(float(logprobs[i - 1, token]) for i, token in enumerate(example.tokens) if example.learnt[i])
        expected = nats / sum(e.targets for e in held)
        assert measured.result()["held_out"][name]["loss"] == pytest.approx(expected, rel=2e-2)


@pytest.mark.thorough
def test_an_interrupted_run_remembers_what_the_parent_was(measured, parent, tmp_path, monkeypatch):
    cut = make_run(tmp_path / "cut", parent, count=80, prompts=80, held_out=0.4, evaluate_every=10, schedule="cosine")
    honest = sft.optimise

    def dies(work, optimiser, examples, step, rate):
        if step == 13:
            raise KeyboardInterrupt
        return honest(work, optimiser, examples, step, rate)

    with monkeypatch.context() as patch:
        patch.setattr(sft, "optimise", dies)
        with pytest.raises(KeyboardInterrupt):
            entry.attempt(sft.main, cut)
    # What would be chosen today is not what the run began with.
    monkeypatch.setattr(sft.batch_planner, "CPU_TOKENS", 64)
    assert entry.attempt(sft.main, cut) == 0, cut.failure()
    assert cut.result()["held_out"] == measured.result()["held_out"]
    assert cut.result()["hash"] == measured.result()["hash"]


def test_the_rate_warms_up_and_falls_as_the_schedule_says(done, measured):
    linear, cosine = ([m["values"]["learning_rate"] for m in metrics(run) if "loss" in m["values"]]
                      for run in (done, measured))  # fmt: skip
    assert linear == pytest.approx([5e-3] + [5e-3 * (1 - i / 7) for i in range(7)])
    middle = len(cosine) // 2 + 1
    assert cosine[0] < cosine[2] > cosine[middle] > cosine[-1]
    assert cosine[-1] < linear[-1]


@pytest.mark.thorough
def test_activations_computed_twice_teach_the_same(done, parent, tmp_path):
    run = make_run(tmp_path / "twice", parent, activation_checkpointing="on")
    assert entry.attempt(sft.main, run) == 0, run.failure()
    assert run.result()["activations_computed_twice"]
    assert run.result()["hash"] == done.result()["hash"]


def test_a_model_that_does_not_fit_is_refused_in_words(parent, tmp_path, monkeypatch):
    monkeypatch.setattr(sft, "available_memory", lambda count: 2e7)
    run = make_run(tmp_path / "huge", parent)
    assert entry.attempt(sft.main, run) == 1
    assert run.failure()["code"] == "does_not_fit"
    assert "max_length" in run.failure()["remedy"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without a GPU answers")
def test_four_bits_without_a_gpu_are_refused_with_the_remedy(parent, tmp_path):
    run = make_run(tmp_path / "qlora", parent, adapters="qlora")
    assert entry.attempt(sft.main, run) == 1
    assert run.failure()["code"] == "qlora_unavailable"
    assert "lora" in run.failure()["remedy"]


@pytest.mark.parametrize("rank", [0, 3])
def test_each_process_holds_its_four_bit_model_on_its_own_gpu(parent, monkeypatch, rank):
    """Without a GPU: what is asked of transformers, after the process has chosen its GPU as `processes.join` does."""
    asked = {}

    def from_pretrained(folder, **how):
        asked.update(how)
        return torch.nn.Linear(1, 1)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: rank)
    monkeypatch.setattr(sft.sft_student, "_has_bitsandbytes", lambda: True)
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", from_pretrained)
    sft.sft_student.load(str(parent), "qlora", torch.bfloat16)
    assert asked["device_map"] == {"": rank}


def test_adapters_learnt_over_rounded_weights_are_added_to_the_parents_own(parent, tmp_path, monkeypatch):
    """Sixteenths stand in for 4 bits: what is saved must not carry that rounding."""

    def coarse(folder, adapters, dtype, **options):
        model, tokenizer = loading.load_policy(folder, dtype, **options)
        for layer in model.model.layers:
            for module in layer.modules():
                if isinstance(module, torch.nn.Linear):
                    module.weight.data = (module.weight.data * 16).round() / 16
        return model, tokenizer

    monkeypatch.setattr(sft.sft_student, "load", coarse)
    run = make_run(tmp_path / "coarse", parent, adapters="qlora")
    assert entry.attempt(sft.main, run) == 0, run.failure()
    before, after = (loading.load_policy(f, torch.float32)[0].state_dict() for f in (parent, run.model))
    name = "model.layers.0.mlp.up_proj.weight"
    moved = (after[name] - before[name]).abs()
    rounding = ((before[name] * 16).round() / 16 - before[name]).abs()
    assert 0 < moved.mean() < 0.5 * rounding.mean()
    assert run.result()["last_loss"] < run.result()["first_loss"] - 0.5


@pytest.mark.thorough
@pytest.mark.slow
def test_two_processes_learn_what_one_learns(parent, tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_DTYPE", "float32")
    # 17 examples in batches of 4: in each epoch's last batch one process has nothing to do
    runs = {count: make_run(tmp_path / str(count), parent, count=17, processes=count) for count in (1, 2)}
    assert entry.attempt(sft.main, runs[1]) == 0, runs[1].failure()
    assert sharded_runs.carry_out(runs[2], "training.recipes.sft", 2) == 0, runs[2].failure()
    one, two = ([m["values"]["loss"] for m in metrics(run)] for run in runs.values())
    assert two == pytest.approx(one, rel=1e-4)
    assert runs[2].result()["examples"] == 17


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

    def spoilt(folder, dtype, **options):
        model, tokenizer = honest(folder, dtype, **options)
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


OVERFITS = {
    "adapters": "full", "epochs": 20.0, "batch_size": 8, "learning_rate": 3e-3, "schedule": "constant", "held_out": 0.4,
    "evaluate_every": 10, "checkpoint_every": 7,
}  # fmt: skip


def make_overfitting_run(folder: Path, parent: Path, **config) -> RunDirectory:
    """Answers of random letters: their letters can be learnt, and then nothing but what was said by heart."""
    draw = random.Random(0)
    rows = [
        {
            "prompt": [{"role": "user", "content": f"Say it {i}"}],
            "completion": "".join(draw.choice("abcd") for _ in range(12)),
        }
        for i in range(60)
    ]
    run = RunDirectory(folder)
    settings = CONFIG | OVERFITS | {"sample_tokens": 8} | config
    run.create(RunSpec("sft", settings, seed=1, parent=str(parent)), {"examples": rows})
    return run


@pytest.fixture(scope="module")
def overfitted(parent, tmp_path_factory) -> RunDirectory:
    run = make_overfitting_run(tmp_path_factory.mktemp("runs") / "overfitted", parent)
    assert entry.attempt(sft.main, run) == 0, run.failure()
    return run


def validation_losses(run: RunDirectory) -> dict[int, float]:
    return {m["step"]: m["values"]["validation_loss"] for m in metrics(run) if "validation_loss" in m["values"]}


@pytest.mark.thorough
def test_the_step_with_the_lowest_held_out_loss_is_kept(overfitted, parent):
    result, curve = overfitted.result(), validation_losses(overfitted)
    best = min((step for step in curve if step), key=lambda step: curve[step])
    assert 0 < best < result["steps"]
    assert curve[result["steps"]] > curve[best] + 0.1
    assert (result["keep"], result["kept_step"]) == ("best", best)
    assert result["held_out"]["after"]["loss"] == pytest.approx(curve[best], rel=1e-2)
    model, tokenizer = loading.load_policy(overfitted.model)
    _, held = hold_out([encode(tokenizer, row, 512) for row in overfitted.rows("examples")], 0.4, 200)
    nats = 0.0
    for example in held:
        with torch.no_grad():
            logprobs = model(input_ids=torch.tensor([example.tokens])).logits[0].float().log_softmax(-1)
        nats -= sum(float(logprobs[i - 1, token]) for i, token in enumerate(example.tokens) if example.learnt[i])
    assert nats / sum(e.targets for e in held) == pytest.approx(curve[best], rel=2e-2)


@pytest.mark.thorough
def test_keep_last_saves_the_last_step(overfitted, parent, tmp_path):
    run = make_overfitting_run(tmp_path / "last", parent, keep="last")
    assert entry.attempt(sft.main, run) == 0, run.failure()
    result = run.result()
    assert (result["keep"], result["kept_step"]) == ("last", result["steps"])
    assert result["held_out"]["after"]["loss"] > overfitted.result()["held_out"]["after"]["loss"] + 0.1
    assert result["hash"] != overfitted.result()["hash"]


def test_without_held_out_examples_the_last_step_is_kept(done):
    assert (done.result()["keep"], done.result()["kept_step"]) == ("last", 8)


@pytest.mark.thorough
@pytest.mark.parametrize("dies_at", [11, 113, "saving"])
def test_a_run_that_was_killed_keeps_the_same_step(overfitted, parent, tmp_path, monkeypatch, dies_at):
    cut = make_overfitting_run(tmp_path / "cut", parent)
    honest = sft.after_step

    def dies(work, optimiser, standing, **given):
        honest(work, optimiser, standing, **given)
        if standing.step == dies_at:
            raise KeyboardInterrupt

    def dies_saving(*_given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sft, "after_step", dies)
        if dies_at == "saving":
            patch.setattr(RunDirectory, "commit_model", dies_saving)
        with pytest.raises(KeyboardInterrupt):
            entry.attempt(sft.main, cut)
    assert entry.attempt(sft.main, cut) == 0, cut.failure()
    for name in ("kept_step", "held_out", "hash"):
        assert cut.result()[name] == overfitted.result()[name]
