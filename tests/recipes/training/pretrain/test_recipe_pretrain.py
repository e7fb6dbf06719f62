"""Pretraining from a run directory: it learns by every objective, and an interruption changes no bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoModelForSeq2SeqLM

from tests.support.sampling_of_cases import plain_run_tries
from tests.support.training import corpora
from training.configs import PretrainConfig, parse
from training.configs.options import ConfigError
from training.core import resource_estimate
from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.common import entry, loading
from training.recipes.common.fp32_master_weights import Masters, trained_parameters
from training.recipes.pretrain import __main__ as pretrain
from training.recipes.pretrain import architectures, learning, token_files

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = {
    "size": "1M", "context_length": 64, "batch_size": 8, "epochs": 2.0, "dtype": "float32",
    "validate_every": 10, "checkpoint_every": 10, "sample_every": 1000, "sample_tokens": 8,
}  # fmt: skip
OBJECTIVES = ("causal", "masked", "span", "mixture")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    return corpora.make_tokenizer(tmp_path_factory.mktemp("models") / "tokenizer")


def make_run(folder: Path, tokenizer: Path, train: int = 160, validation: int = 12, **config) -> RunDirectory:
    run = RunDirectory(folder)
    run.create(RunSpec("pretrain", CONFIG | config, seed=1, parent=str(tokenizer)))
    corpora.write_corpus(folder / "data", corpora.texts(train), corpora.texts(validation, seed=9))
    return run


def metrics(run: RunDirectory) -> list[dict]:
    return [json.loads(line) for line in (run.path / "metrics.jsonl").open()]


@pytest.fixture(scope="module")
def done(tokenizer, tmp_path_factory) -> dict[str, RunDirectory]:
    runs = {}
    for objective in OBJECTIVES:
        epochs = 8.0 if objective == "masked" else 2.0  # it has fewer labels to learn from
        run = make_run(tmp_path_factory.mktemp("runs") / objective, tokenizer, objective=objective, epochs=epochs)
        assert entry.attempt(pretrain.main, run) == 0, run.failure()
        runs[objective] = run
    return runs


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_it_learns_what_it_has_not_seen(done, objective):
    result = done[objective].result()
    assert result["validation_loss"] < result["validation_loss_before"] - 2
    if objective != "span":  # whose targets are sentinels too
        assert result["validation_loss"] < frequencies_alone() - 0.2, "it has learnt from what stands around a token"
    assert result["steps"] == (97 if objective == "masked" else 25)
    assert result["tokens"] == result["steps"] * 8 * 64
    assert result["hash"] == loading.weights_hash(done[objective].model)


def frequencies_alone() -> float:
    """Nats per token for who knows how often each token comes, and nothing else."""
    ids = corpora.tokenizer()(corpora.texts(12, seed=9))["input_ids"]
    counts = torch.bincount(torch.tensor([i for row in ids for i in row])).double()
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * shares.log()).sum())


@pytest.mark.parametrize(
    ("objective", "kind", "loads"),
    [
        ("causal", "policy", loading.load_policy),
        ("mixture", "policy", loading.load_policy),
        ("masked", "encoder", AutoModelForMaskedLM.from_pretrained),
        ("span", "seq2seq", AutoModelForSeq2SeqLM.from_pretrained),
    ],
)
def test_each_objective_makes_a_model_of_its_kind_that_loads_by_itself(done, objective, kind, loads):
    run = done[objective]
    assert run.result()["model_kind"] == kind
    model = loads(run.model)
    model = model[0] if isinstance(model, tuple) else model
    assert loading.count_parameters(model) == run.result()["parameters"]
    assert loading.load_tokenizer(run.model).model_max_length == 64


def test_metrics_say_what_pages_show(done):
    rows = [row["values"] for row in metrics(done["causal"])]
    trained = next(row for row in rows if "loss" in row)
    assert {"loss", "grad_norm", "learning_rate", "tokens_per_second", "peak_memory_gb", "seconds"} <= trained.keys()
    validated = [row for row in rows if "validation_loss" in row]
    assert len(validated) == 4, "before the first step, after ten and twenty, and at the end"
    assert {"perplexity", "bits_per_byte"} <= validated[0].keys()
    mixed = next(row["values"] for row in metrics(done["mixture"]) if "masked_loss" in row["values"])
    assert {"causal_loss", "masked_loss"} <= mixed.keys()
    result = done["mixture"].result()
    assert result["validation_loss"] == result["validation_causal_loss"], "what compares with a causal model"
    assert result["validation_masked_loss"] < frequencies_alone()


def test_bits_per_byte_are_the_code_length_of_the_held_out_texts(done):
    """Computed anew with transformers' own loss, one document at a time."""
    model, tokenizer = loading.load_policy(done["causal"].model, torch.float32)
    nats = size = 0.0
    for text in corpora.texts(12, seed=9):
        ids = torch.tensor([[tokenizer.eos_token_id, *tokenizer(text)["input_ids"], tokenizer.eos_token_id]])
        nats += model(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1)
        size += len(text.encode())
    # Rows of 64 tokens cut some documents, whose rest is told without its beginning: a little dearer.
    assert done["causal"].result()["bits_per_byte"] == pytest.approx(nats / 0.6931 / size, rel=0.15)
    assert done["causal"].result()["bits_per_byte"] >= nats / 0.6931 / size - 0.01


def test_samples_show_the_same_beginnings_before_and_after(done):
    samples = [json.loads(line) for line in (done["causal"].path / "samples.jsonl").open()]
    assert sorted({s["step"] for s in samples}) == [0, 25]
    first, last = ([s["prompt"] for s in samples if s["step"] == step] for step in (0, 25))
    assert first == last and len(first) == 3
    assert not (done["masked"].path / "samples.jsonl").exists()


@pytest.mark.parametrize(
    ("objective", "dtype"),
    [
        ("causal", "float32"),
        pytest.param("mixture", "bfloat16", marks=pytest.mark.thorough),
        pytest.param("span", "float32", marks=pytest.mark.thorough),
    ],
)
def test_an_interrupted_run_ends_in_the_same_bits(done, tokenizer, tmp_path, monkeypatch, objective, dtype):
    whole, deaths, epochs = done[objective], (5, 13, 22), 2.0
    if dtype != "float32":
        deaths, epochs = (5, 11), 1.0
        whole = make_run(tmp_path / "whole", tokenizer, objective=objective, dtype=dtype, epochs=epochs)
        assert entry.attempt(pretrain.main, whole) == 0, whole.failure()
    cut = make_run(tmp_path / "cut", tokenizer, objective=objective, dtype=dtype, epochs=epochs)
    honest = learning.optimise

    def dies_at(step: int):
        def optimise(learner, masters, optimiser, at, rate):
            if at == step:
                raise KeyboardInterrupt  # as abrupt as a signal
            return honest(learner, masters, optimiser, at, rate)

        return optimise

    for step in deaths:
        with monkeypatch.context() as patch:
            patch.setattr(learning, "optimise", dies_at(step))
            with pytest.raises(KeyboardInterrupt):
                entry.attempt(pretrain.main, cut)
    assert cut.latest_checkpoint().name == f"step-{deaths[-1] // 10 * 10:06d}"
    assert entry.attempt(pretrain.main, cut) == 0, cut.failure()
    ours, theirs = (load_file(run.model / "model.safetensors") for run in (cut, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert timeless(cut) == timeless(whole)
    assert not (cut.path / "tokens").exists(), "what can be made again is not kept"


@pytest.mark.thorough
def test_a_point_of_the_curve_that_a_kill_cuts_in_two_is_the_same(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(learning, "LOGGED_POINTS", 4)  # a point every third step of 13, a checkpoint every tenth
    whole, cut = (make_run(tmp_path / name, tokenizer, epochs=1.0) for name in ("whole", "cut"))
    assert entry.attempt(pretrain.main, whole) == 0
    honest = learning.optimise

    def dies(learner, masters, optimiser, at, rate):
        if at == 11:
            raise KeyboardInterrupt
        return honest(learner, masters, optimiser, at, rate)

    with monkeypatch.context() as patch:
        patch.setattr(learning, "optimise", dies)
        with pytest.raises(KeyboardInterrupt):
            entry.attempt(pretrain.main, cut)
    assert entry.attempt(pretrain.main, cut) == 0
    assert timeless(cut) == timeless(whole)


@pytest.mark.thorough
def test_a_run_cut_off_before_it_saved_needs_no_further_step(done, tokenizer, tmp_path, monkeypatch):
    cut = make_run(tmp_path / "cut", tokenizer)

    def dies(*_given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loading, "save_policy", dies)
        with pytest.raises(KeyboardInterrupt):
            entry.attempt(pretrain.main, cut)
    with monkeypatch.context() as patch:
        patch.setattr(learning, "optimise", dies)
        assert entry.attempt(pretrain.main, cut) == 0, cut.failure()
    assert cut.result()["hash"] == done["causal"].result()["hash"]
    assert cut.result()["validation_loss_before"] == done["causal"].result()["validation_loss_before"]


@pytest.mark.parametrize(
    "choice", plain_run_tries({"micro_batch_size": 3}, of=({"micro_batch_size": 3}, {"activation_checkpointing": "on"}))
)
def test_smaller_parts_and_activations_computed_twice_change_rounding_alone(done, tokenizer, tmp_path, choice):
    run = make_run(tmp_path / "parts", tokenizer, **choice)
    assert entry.attempt(pretrain.main, run) == 0, run.failure()
    curves = [[row["values"]["loss"] for row in metrics(r) if "loss" in row["values"]] for r in (run, done["causal"])]
    assert curves[0] == pytest.approx(curves[1], abs=2e-3)
    if "micro_batch_size" in choice:
        assert run.result()["micro_batch"] == 3


def test_master_weights_take_steps_that_bfloat16_would_lose(tokenizer, tmp_path):
    """At this rate no weight of the embedding moves by as much as half a bfloat16 step at once."""
    run = make_run(tmp_path / "small-steps", tokenizer, dtype="bfloat16", learning_rate=2e-5, epochs=1.0)
    assert entry.attempt(pretrain.main, run) == 0, run.failure()
    assert run.result()["validation_loss"] < run.result()["validation_loss_before"] - 0.005


@pytest.mark.parametrize("schedule", ["cosine", "wsd", "linear", "constant"])
def test_the_rate_warms_up_and_ends_where_the_schedule_says(schedule):
    config = parse("pretrain", {"schedule": schedule, "warmup_ratio": 0.1, "final_rate": 0.1, "decay_ratio": 0.2})
    factors = [learning.rate_factor(config, step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(0.1) and max(factors) == 1.0
    assert factors[79] == pytest.approx(
        {"cosine": 0.21, "linear": 0.31, "wsd": 1.0, "constant": 1.0}[schedule], abs=0.03
    )
    assert factors[-1] == pytest.approx(1.0 if schedule == "constant" else 0.1, abs=0.05)


def test_decay_is_on_matrices_alone(tokenizer):
    model = architectures.build(pretrain.PRESETS["1M"], "causal", corpora.tokenizer(), 64)
    masters = Masters(trained_parameters(model), torch.float32)
    groups = masters.optimiser(rate=1e-3, weight_decay=0.1, beta2=0.95).param_groups
    assert {p.ndim for p in groups[0]["params"]} == {2} and groups[0]["weight_decay"] == 0.1
    assert {p.ndim for p in groups[1]["params"]} == {1} and groups[1]["weight_decay"] == 0.0


@pytest.mark.parametrize("loaded", [torch.float32, torch.bfloat16])
def test_steps_that_bfloat16_would_lose_add_up_whatever_the_weights_were_loaded_in(loaded):
    weight = torch.nn.Parameter(torch.full((4, 4), 1.0, dtype=loaded))
    masters = Masters({"weight": weight}, torch.bfloat16)
    optimiser = masters.optimiser(rate=1e-4, weight_decay=0.0, beta2=0.95)
    for _ in range(100):
        weight.sum().backward()
        masters.collect()
        optimiser.step()
        optimiser.zero_grad()
        masters.publish()
    assert weight.dtype == torch.bfloat16
    assert float(masters.masters["weight"][0, 0]) == pytest.approx(0.99, abs=1e-4)
    assert float(weight[0, 0]) == pytest.approx(0.99, abs=4e-3)


def timeless(run: RunDirectory) -> list[tuple[int, dict]]:
    clocks = ("seconds", "tokens_per_second", "peak_memory_gb")
    return [(row["step"], {k: v for k, v in row["values"].items() if k not in clocks}) for row in metrics(run)]


def failure_of(run: RunDirectory) -> dict:
    assert entry.attempt(pretrain.main, run) == 1
    failure = run.failure()
    assert failure["remedy"] and not run.model.exists()
    return failure


def test_a_corpus_of_one_row_is_refused(tokenizer, tmp_path):
    failure = failure_of(make_run(tmp_path / "one", tokenizer, train=1))
    assert failure["code"] == "too_little_text" and "1 texts" in failure["message"]


def test_a_corpus_without_held_out_texts_is_refused(tokenizer, tmp_path):
    assert failure_of(make_run(tmp_path / "none", tokenizer, validation=0))["code"] == "no_validation_text"


def test_rows_without_a_text_are_refused(tokenizer, tmp_path):
    run = make_run(tmp_path / "rows", tokenizer)
    (run.path / "data" / "train-00000.jsonl").write_text('{"prompt": "x"}\n')
    assert failure_of(run)["code"] == "not_a_corpus"


def test_a_missing_tokenizer_is_refused(tmp_path):
    assert failure_of(make_run(tmp_path / "orphan", tmp_path / "nowhere"))["code"] == "tokenizer_missing"


def test_more_missing_spans_than_sentinels_are_refused(tmp_path):
    tokenizer = corpora.make_tokenizer(tmp_path / "few", sentinels=2)
    failure = failure_of(make_run(tmp_path / "run", tokenizer, objective="span", context_length=128))
    assert failure["code"] == "context_too_long" and "context_length" in failure["remedy"]


def test_a_size_that_does_not_fit_says_what_it_needs(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "available_memory", lambda processes: 8e9)
    monkeypatch.setattr(pretrain, "check_disk", lambda *given, **sizes: None)
    failure = failure_of(make_run(tmp_path / "large", tokenizer, size="7B"))
    assert failure["code"] == "does_not_fit" and "7B" in failure["message"] and "GB" in failure["message"]
    assert failure["remedy_changes"] == {"size": "350M"}, "the largest that fits, one click away"


def test_a_tokenizer_made_for_other_texts_is_refused(tokenizer, tmp_path):
    run = make_run(tmp_path / "foreign", tokenizer)
    strange = "".join(map(chr, range(0x4E00, 0x5200)))
    corpora.write_corpus(run.path / "data", [strange] * 5, [strange])
    failure = failure_of(run)
    assert failure["code"] == "tokenizer_does_not_fit" and "bytes per token" in failure["message"]


def test_a_disk_too_small_for_the_checkpoints_is_told_before_the_first_step(tokenizer, tmp_path, monkeypatch):
    from training.recipes.common import memory

    monkeypatch.setattr(memory.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1e6})())
    failure = failure_of(make_run(tmp_path / "full", tokenizer))
    assert failure["code"] == "disk_full" and "GB" in failure["message"]


def test_divergence_is_a_failure_in_words(tokenizer, tmp_path, monkeypatch):
    honest = architectures.build

    def spoilt(*given):
        model = honest(*given)
        with torch.no_grad():
            model.model.norm.weight[0] = float("nan")
        return model

    monkeypatch.setattr(architectures, "build", spoilt)
    failure = failure_of(make_run(tmp_path / "nan", tokenizer))
    assert failure["code"] == "not_finite" and "learning_rate" in failure["remedy"]


def test_a_text_that_spells_a_special_token_ends_no_document(tokenizer, tmp_path):
    run = make_run(tmp_path / "spelt", tokenizer)
    corpora.write_corpus(run.path / "data", ["the cat <|endoftext|> runs <|mask|> on"] * 20, ["a bird"] * 9)
    loaded = loading.load_tokenizer(tokenizer)
    token_files.tokenise(run, loaded, end=loaded.eos_token_id, validation_tokens=1000)
    file = token_files.open_file(run, "train", loaded)
    assert (file.ids == loaded.eos_token_id).sum() == 21 and file.counts.documents == 20
    assert not (file.ids == loaded.mask_token_id).any()


def test_too_many_processes_for_the_rows_are_refused():
    with pytest.raises(ConfigError, match="at most batch_size"):
        parse("pretrain", {"batch_size": 2, "processes": 3})


def test_the_form_offers_what_the_presets_hold():
    assert resource_estimate.shape_of(pretrain.PRESETS[PretrainConfig().size], 8192, "causal").parameters > 1e7
