"""DPO and KTO: what they learn from, that they learn it, and that an interruption changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers.models.llama.modeling_llama import LlamaMLP

from tests.support import tiny_model
from tests.support.sampling_of_cases import plain_run_tries
from tests.support.training import preference_runs
from training import configs
from training.core.run_directory import RunDirectory
from training.recipes import dpo, kto
from training.recipes.common import entry, loading
from training.recipes.preference import preference_data, preference_policy, trl_runs

pytestmark = pytest.mark.usefixtures("one_thread")

MAIN = {"dpo": dpo.main, "kto": kto.main}
CONFIG = {"epochs": 3.0, "batch_size": 8, "learning_rate": 5e-3, "checkpoint_every": 2, "sample_every": 100}
CONFIG |= {"sample_tokens": 8, "held_out": 0.25}


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    return tiny_model.make(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def done(parent, tmp_path_factory) -> dict[str, RunDirectory]:
    runs = {}
    for kind, main in MAIN.items():
        runs[kind] = preference_runs.make(tmp_path_factory.mktemp("runs") / kind, kind, parent, **CONFIG)
        assert entry.attempt(main, runs[kind]) == 0, runs[kind].failure()
        assert not (runs[kind].path / "tokens").exists()  # the examples are gone at the end
    return runs


@pytest.mark.parametrize("kind", MAIN)
def test_on_held_out_prompts_it_favours_what_people_preferred(done, kind):
    held_out = done[kind].result()["held_out"]
    assert held_out["pair_accuracy"]["n"] == 6 and held_out["thumbs_auc"]["n"] == 12
    assert held_out["pair_accuracy"]["value"] == 1.0 and held_out["thumbs_auc"]["value"] == 1.0
    assert done[kind].result()["last_loss"] < done[kind].result()["first_loss"] - 0.05
    assert "6 pairs" in done[kind].result()["verdict"]


@pytest.mark.parametrize("kind", MAIN)
def test_the_saved_model_itself_finds_the_preferred_answer_likelier_than_its_parent_does(done, parent, kind):
    data = _read(done[kind], parent)
    ours, theirs = (loading.load_policy(folder, torch.float32)[0] for folder in (done[kind].model, parent))
    rows = np.arange(len(data.completions))
    gain = preference_data.implicit_rewards(ours, theirs, data, rows, 1.0, 0)
    assert gain[data.pairs[:, 0]].min() > gain[data.pairs[:, 1]].max()


def test_an_interrupted_run_ends_in_the_same_bits(done, parent, tmp_path, monkeypatch):
    """Both kinds, each killed three times: test_every_kind_killed."""
    kind = "dpo"
    cut = preference_runs.make(tmp_path / "cut", kind, parent, **CONFIG)
    honest = trl_runs.Follower.on_step_end

    def dies_after_the_third(self, args, state, control, **given):
        honest(self, args, state, control, **given)
        if state.global_step == 3:
            raise KeyboardInterrupt  # as abrupt as a signal

    with monkeypatch.context() as patch:
        patch.setattr(trl_runs.Follower, "on_step_end", dies_after_the_third)
        with pytest.raises(KeyboardInterrupt):
            entry.attempt(MAIN[kind], cut)
    assert cut.latest_checkpoint().name == "step-000002"
    assert entry.attempt(MAIN[kind], cut) == 0, cut.failure()
    ours, theirs = (load_file(run.model / "adapter_model.safetensors") for run in (cut, done[kind]))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    losses = [[m["values"]["loss"] for m in preference_runs.metrics(run)] for run in (cut, done[kind])]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("kind", plain_run_tries("dpo", of=MAIN))
def test_every_weight_can_be_trained_against_a_frozen_copy(parent, tmp_path, kind):
    config = CONFIG | {"adapters": "full", "learning_rate": 1e-3, "epochs": 1.0}
    run = preference_runs.make(tmp_path / "full", kind, parent, **config)
    assert entry.attempt(MAIN[kind], run) == 0, run.failure()
    first = preference_runs.metrics(run)[0]["values"]
    assert first["chosen_reward"] == first["rejected_reward"] == 0  # nothing has moved: both are one function
    before, after = (loading.load_policy(folder)[0].state_dict() for folder in (parent, run.model))
    assert not torch.equal(before["model.layers.0.mlp.up_proj.weight"], after["model.layers.0.mlp.up_proj.weight"])
    assert run.result()["held_out"]["pair_accuracy"]["value"] > 0.6


def test_activations_that_are_computed_again_change_nothing(parent, tmp_path, monkeypatch):
    learns, original = [], LlamaMLP.forward
    monkeypatch.setattr(LlamaMLP, "forward", lambda mlp, x: learns.append(x.requires_grad) or original(mlp, x))
    losses, passes = [], []
    for checkpointing in ("off", "on"):
        config = CONFIG | {"epochs": 1.0, "activation_checkpointing": checkpointing}
        run = preference_runs.make(tmp_path / checkpointing, "dpo", parent, **config)
        assert entry.attempt(dpo.main, run) == 0, run.failure()
        losses.append([m["values"]["loss"] for m in preference_runs.metrics(run)])
        passes.append((len(learns), learns.count(True)))
        learns.clear()
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and len(set(losses[0])) > 1
    (once, with_gradients), (again, _) = passes
    assert again == once + with_gradients > once, "each layer of a forward with gradients runs once more"


def test_gradients_of_micro_batches_add_up_to_those_of_the_batch(done, parent, tmp_path):
    run = preference_runs.make(tmp_path / "micro", "dpo", parent, **CONFIG, micro_batch_size=4)
    assert entry.attempt(dpo.main, run) == 0, run.failure()
    ours, whole = (preference_runs.metrics(r) for r in (run, done["dpo"]))
    assert [m["step"] for m in ours] == [m["step"] for m in whole]
    assert ours[-1]["values"]["loss"] == pytest.approx(whole[-1]["values"]["loss"], rel=0.2)


def test_kto_refuses_micro_batches_of_one_answer_and_names_the_remedy():
    with pytest.raises(configs.ConfigError) as refused:
        configs.parse("kto", {"micro_batch_size": 1})
    assert "at least 2" in refused.value.errors["micro_batch_size"]
    assert "whole batch" in refused.value.errors["micro_batch_size"]
    assert configs.parse("kto", {"micro_batch_size": 2}).micro_batch_size == 2
    assert configs.parse("dpo", {"micro_batch_size": 1}).micro_batch_size == 1  # pairs stand alone
    assert configs.parse("kto", {"batch_size": 2}).batch_size == 2


def test_a_summed_logprob_is_that_of_a_plain_softmax(parent, done):
    data = _read(done["dpo"], parent)
    model, tokenizer = loading.load_policy(parent, torch.float32)
    got = preference_data.sequence_logprobs(model, data, [0, 1, 5], tokenizer.pad_token_id)
    for row, i in enumerate((0, 1, 5)):
        whole = torch.tensor([data.prompts[i] + data.completions[i]])
        table = model(whole).logits[0].log_softmax(-1)
        start = len(data.prompts[i])
        expected = sum(table[t - 1, whole[0, t]] for t in range(start, whole.shape[1]))
        assert got[row].item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_cut_answer_gets_no_end_token_and_a_whole_one_does(parent, tmp_path):
    tokenizer = loading.load_tokenizer(parent)
    whole = preference_data._encode(tokenizer, {"text": "abc"}, 10)
    assert whole[-1] == tokenizer.eos_token_id and len(whole) == 4
    assert preference_data._encode(tokenizer, {"text": "abc"}, 2) == whole[:2]
    assert preference_data._encode(tokenizer, {"text": "abc", "finish_reason": "length"}, 10) == whole[:3]


def test_the_mismatched_answer_is_one_to_another_prompt():
    prompt_ids = np.array([7, 7, 7, 8, 9, 9])
    answers = np.array([0, 0, 1, 2, 3, 4, 5, 0])
    mismatches = kto.mismatches(answers, prompt_ids)
    assert (prompt_ids[mismatches] != prompt_ids[answers]).all()
    assert kto.mismatches(np.array([0, 1]), prompt_ids).tolist() in ([0, 1], [1, 0])


def test_examples_lie_in_the_run_directory(parent, tmp_path):
    run = preference_runs.make(tmp_path / "run", "dpo", parent, **CONFIG)
    data = _read(run, parent)
    pairs = dpo.training_pairs(data)
    dataset = preference_policy.mapped_dataset(run, dpo.examples(data, pairs))
    assert [Path(file["filename"]) for file in dataset.cache_files] == [run.path / "tokens" / "examples.arrow"]
    assert list(dataset) == list(dpo.examples(data, pairs))


def test_the_rarer_thumb_counts_more():
    assert kto.weights(30, 10) == (1.0, 3.0)
    assert kto.weights(10, 40) == (4.0, 1.0)


@pytest.mark.parametrize(
    ("kind", "lacking", "code"), [("dpo", "comparisons", "too_few_pairs"), ("kto", "ratings", "too_few_thumbs")]
)
def test_too_few_annotations_are_refused_with_what_else_would_do(parent, tmp_path, kind, lacking, code):
    run = preference_runs.make(tmp_path / "few", kind, parent, **CONFIG)
    path = run.path / "data" / f"{lacking}.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))
    assert entry.attempt(MAIN[kind], run) == 1
    assert run.failure()["code"] == code
    assert ("KTO" if kind == "dpo" else "DPO") in run.failure()["remedy"]


def test_a_wrong_winner_is_named(parent, tmp_path):
    run = preference_runs.make(tmp_path / "wrong", "dpo", parent, **CONFIG)
    path = run.path / "data" / "comparisons.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[4]["winner"] = "left"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert entry.attempt(dpo.main, run) == 1
    assert "'left'" in run.failure()["message"] and "comparison 5" in run.failure()["message"]


def _read(run: RunDirectory, parent) -> preference_data.Judgements:
    return preference_data.read(run, loading.load_tokenizer(parent), entry.config_of(run.spec()), run.spec().seed)
