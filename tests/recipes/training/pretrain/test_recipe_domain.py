"""Finetuning for a domain: held-out perplexity falls, adapters move what they should, replay keeps the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.support.sampling_of_cases import plain_run_tries
from tests.support.training import corpora
from training.core.run_directory import RunDirectory, RunSpec
from training.recipes import domain
from training.recipes.common import entry, loading
from training.recipes.common.adapters import merged_state
from training.recipes.pretrain import __main__ as pretrain
from training.recipes.pretrain import learning

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = {
    "context_length": 64, "batch_size": 4, "epochs": 1.0, "learning_rate": 5e-3, "dtype": "float32",
    "checkpoint_every": 5, "validate_every": 5, "sample_every": 1000, "sample_tokens": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def parent(tmp_path_factory) -> Path:
    """A model that knows who does what where, and nothing of the domain."""
    folder = tmp_path_factory.mktemp("parent")
    run = RunDirectory(folder / "run")
    config = {"size": "1M", "context_length": 64, "batch_size": 8, "epochs": 2.0, "sample_every": 1000}
    tokenizer = corpora.make_tokenizer(folder / "tokenizer")
    run.create(RunSpec("pretrain", config, seed=1, parent=str(tokenizer)))
    corpora.write_corpus(run.path / "data", corpora.texts(160), corpora.texts(12, seed=9))
    assert entry.attempt(pretrain.main, run) == 0, run.failure()
    return run.model


def verses(count: int, seed: int = 0) -> list[str]:
    """Another language over the same letters."""
    return [text.upper().replace(".", ",\n") for text in corpora.texts(count, seed)]


def make_run(folder: Path, parent: Path, *, other: list[str] | None = None, **config) -> RunDirectory:
    run = RunDirectory(folder)
    run.create(RunSpec("domain", CONFIG | config, seed=3, parent=str(parent)))
    corpora.write_corpus(folder / "data", verses(40), verses(6, seed=9))
    if other is not None:
        corpora.write_corpus(folder / "data" / "other", other, [])
    return run


def finished(run: RunDirectory) -> RunDirectory:
    assert entry.attempt(domain.main, run) == 0, run.failure()
    return run


@pytest.fixture(scope="module")
def done(parent, tmp_path_factory) -> dict[str, RunDirectory]:
    base = tmp_path_factory.mktemp("runs")
    return {a: finished(make_run(base / a, parent, adapters=a)) for a in ("lora", "top", "full")}


@pytest.mark.parametrize(("adapters", "factor"), [("lora", 0.5), ("top", 0.7), ("full", 0.2)])
def test_held_out_texts_of_the_domain_become_likelier(done, adapters, factor):
    result = done[adapters].result()
    assert result["perplexity"] < factor * result["perplexity_before"]
    assert result["bits_per_byte"] < result["bits_per_byte_before"]
    assert result["replayed_share"] == 0


def test_the_figures_are_those_of_the_saved_model(done):
    """In bfloat16 as it is saved, one text after another, by transformers' own loss."""
    model, tokenizer = loading.load_policy(done["full"].model, torch.float32)
    nats = size = 0.0
    for text in verses(6, seed=9):
        ids = torch.tensor([[tokenizer.eos_token_id, *tokenizer(text)["input_ids"], tokenizer.eos_token_id]])
        for at in range(0, ids.shape[1] - 1, 64):
            part = ids[:, at : at + 65]
            nats += model(input_ids=part, labels=part).loss.item() * (part.shape[1] - 1)
        size += len(text.encode())
    assert done["full"].result()["bits_per_byte"] == pytest.approx(nats / 0.6931 / size, rel=0.1)


@pytest.mark.parametrize("adapters", ["lora", "top", "full"])
def test_what_is_saved_is_what_was_trained(done, adapters):
    fidelity = done[adapters].result()["fidelity"]
    assert fidelity["cosine"] >= 0.999
    assert fidelity["kl_per_token"] < 1e-3


@pytest.mark.parametrize(("adapters", "changed"), [("lora", {"0", "1", "2"}), ("top", {"2"})])
def test_adapters_move_the_layers_they_stand_on(done, parent, adapters, changed):
    before, after = dict(merged_state(parent)), dict(merged_state(done[adapters].model))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[2] for name in moved} == changed
    assert all("proj" in name for name in moved)


@pytest.mark.parametrize("adapters", plain_run_tries("lora", of=("lora", "full")))
def test_an_interrupted_run_ends_in_the_same_bits(done, parent, tmp_path, monkeypatch, adapters):
    cut = make_run(tmp_path / "cut", parent, adapters=adapters)
    honest = learning.optimise

    def dies(learner, masters, optimiser, at, rate):
        if at == 7:
            raise KeyboardInterrupt  # as abrupt as a signal
        return honest(learner, masters, optimiser, at, rate)

    with monkeypatch.context() as patch:
        patch.setattr(learning, "optimise", dies)
        with pytest.raises(KeyboardInterrupt):
            entry.attempt(domain.main, cut)
    assert cut.latest_checkpoint().name == "step-000005"
    finished(cut)
    ours, theirs = (dict(merged_state(run.model)) for run in (cut, done[adapters]))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_replayed_texts_are_forgotten_less(done, parent, tmp_path):
    replayed = finished(
        make_run(tmp_path / "replay", parent, adapters="full", other=corpora.texts(60, seed=4), replay_share=0.5)
    )
    assert replayed.result()["replayed_share"] == 0.5

    def old_loss(folder: Path) -> float:
        model, tokenizer = loading.load_policy(folder, torch.float32)
        losses = []
        for text in corpora.texts(8, seed=9):
            ids = torch.tensor([[tokenizer.eos_token_id, *tokenizer(text)["input_ids"]]])[:, :64]
            losses.append(model(input_ids=ids, labels=ids).loss.item())
        return sum(losses) / len(losses)

    assert old_loss(replayed.model) < old_loss(done["full"].model) - 0.5


@pytest.mark.thorough
def test_activations_computed_twice_change_rounding_alone(done, parent, tmp_path):
    run = finished(make_run(tmp_path / "twice", parent, activation_checkpointing="on"))
    curves = [
        [row["values"]["loss"] for row in map(json.loads, (r.path / "metrics.jsonl").open()) if "loss" in row["values"]]
        for r in (run, done["lora"])
    ]
    assert curves[0] == pytest.approx(curves[1], abs=1e-3)


def test_a_context_longer_than_the_model_knows_is_refused(parent, tmp_path):
    run = make_run(tmp_path / "long", parent, context_length=128)
    assert entry.attempt(domain.main, run) == 1
    assert run.failure()["code"] == "context_too_long" and "64" in run.failure()["remedy"]


def test_a_missing_parent_is_a_failure_in_words(tmp_path):
    run = make_run(tmp_path / "orphan", tmp_path / "nowhere")
    assert entry.attempt(domain.main, run) == 1
    assert run.failure()["code"] == "model_missing"


@pytest.mark.parametrize(("adapters", "full_weights"), [("lora", False), ("full", True)])
def test_the_disk_must_hold_what_will_be_saved_and_no_more(parent, tmp_path, monkeypatch, adapters, full_weights):
    asked = {}
    monkeypatch.setattr(domain, "check_disk", lambda folder, **sizes: asked.update(sizes))
    monkeypatch.setattr(domain.resource_estimate, "plan", _stop)
    run = make_run(tmp_path / "run", parent, adapters=adapters, lora_rank=2)
    entry.attempt(domain.main, run)
    total = loading.count_parameters(loading.load_policy(parent)[0])
    learnt = total if full_weights else asked["trained"]
    assert asked["model_bytes"] == 4 * learnt
    assert (asked["trained"] == total) if full_weights else (asked["trained"] < total / 5)


def _stop(*given, **named):
    raise KeyError("far enough")
