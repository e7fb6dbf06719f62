"""Models of steps on a run's way: each is what was trained at that step, and keeping them changes no run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.recipes.training.preference import test_recipe_grpo_rloo as group
from tests.recipes.training.sft import test_recipe_sft as of_sft
from tests.support import tiny_model
from tests.support.sampling_of_cases import plain_run_tries
from tests.support.training import corpora, ppo_runs, preference_runs
from training.core import kept_steps
from training.core.run_directory import RunDirectory, RunSpec
from training.recipes import domain, dpo, grpo
from training.recipes.common import children, entry, loading
from training.recipes.common.children import KeptSteps
from training.recipes.ppo import __main__ as ppo
from training.recipes.pretrain import __main__ as pretrain
from training.recipes.sft import __main__ as sft

pytestmark = pytest.mark.usefixtures("one_thread")

MAIN = {"sft": sft.main, "dpo": dpo.main, "grpo": grpo.main, "ppo": ppo.main, "domain": domain.main}
IDS = [[5, 9, 40, 17, 3, 66, 21, 8], [30, 2, 11, 77, 54]]
CASES = (
    "sft lora",
    "sft full",
    "dpo lora",
    "dpo full",
    "grpo lora",
    "ppo top",
    "ppo full",
    "domain lora",
    "domain full",
)


@pytest.fixture(scope="module")
def parent(tmp_path_factory) -> Path:
    return tiny_model.make(tmp_path_factory.mktemp("models") / "tiny")


def run_of(case: str, folder: Path, parent: Path, **config) -> RunDirectory:
    kind, adapters = case.split()
    config |= {"adapters": adapters}
    if kind == "sft":
        return of_sft.make_run(folder, parent, **config)
    if kind == "dpo":
        brief = {"learning_rate": 1e-3, "batch_size": 8, "sample_every": 100, "sample_tokens": 4}
        return preference_runs.make(folder, kind, parent, **brief, **config)
    if kind == "grpo":
        return group.make(folder, kind, parent, reward_function=group.FUNCTION, steps=3, **config)
    if kind == "domain":
        run = RunDirectory(folder)
        brief = {"context_length": 64, "batch_size": 4, "learning_rate": 5e-3, "sample_every": 1000, "sample_tokens": 4}
        run.create(RunSpec("domain", brief | config, seed=3, parent=str(parent)))
        corpora.write_corpus(folder / "data", corpora.texts(40), corpora.texts(6, seed=9))
        return run
    return ppo_runs.make_run(folder, parent, learning_rate_schedule="constant", **config)


@pytest.mark.parametrize("case", plain_run_tries("sft lora", "sft full", "dpo lora", "grpo lora", "ppo top", of=CASES))
def test_a_kept_model_is_what_was_trained_at_its_step(parent, tmp_path, monkeypatch, case):
    monkeypatch.setenv("ASSAY_DTYPE", "float32")
    live, honest = {}, KeptSteps.note

    def note(self, step, trained):
        if step in kept_steps.steps_to_keep(self.count, self.total):
            live[step] = children.next_token_logits(trained().model, IDS)
        honest(self, step, trained)

    monkeypatch.setattr(KeptSteps, "note", note)
    main = MAIN[case.split()[0]]
    run, plain = run_of(case, tmp_path / "kept", parent, kept_checkpoints=1), run_of(case, tmp_path / "plain", parent)
    assert entry.attempt(main, run) == 0, run.failure()
    assert entry.attempt(main, plain) == 0, plain.failure()
    [row], [folder] = run.result()["kept_checkpoints"], kept_steps.models(run)
    assert list(live) == [row["step"]] and folder == kept_steps.model_of(run, row["step"])
    assert row["hash"] == loading.weights_hash(folder)
    logits = {
        path.name: children.next_token_logits(loading.load_policy(path, torch.float32)[0], IDS)
        for path in (folder, run.model, parent)
    }
    [trained] = live.values()
    near, *far = (children.mean_kl(trained, logits[name]) for name in (folder.name, "model", parent.name))
    assert near < 1e-4, "as near as adapters in bfloat16 are to trained ones"
    assert min(far) > max(20 * near, 1e-5), (near, far)
    assert loading.weights_hash(run.model) == loading.weights_hash(plain.model), "keeping it changed the run"
    assert "kept_checkpoints" not in plain.result() and not kept_steps.models(plain)


def test_a_run_cut_off_after_it_kept_a_model_ends_with_the_same_ones(parent, tmp_path, monkeypatch):
    whole, cut = (run_of("sft lora", tmp_path / name, parent, kept_checkpoints=3) for name in ("whole", "cut"))
    assert entry.attempt(sft.main, whole) == 0, whole.failure()
    honest = kept_steps.commit

    def dies_once(run, step):
        folder = honest(run, step)
        if step == 4:
            raise KeyboardInterrupt  # as abrupt as a signal: this step has no checkpoint
        return folder

    with monkeypatch.context() as patch:
        patch.setattr(kept_steps, "commit", dies_once)
        with pytest.raises(KeyboardInterrupt):
            entry.attempt(sft.main, cut)
    assert cut.latest_checkpoint().name == "step-000002"
    assert entry.attempt(sft.main, cut) == 0, cut.failure()
    assert [row["step"] for row in whole.result()["kept_checkpoints"]] == [2, 4, 6]
    assert cut.result()["kept_checkpoints"] == whole.result()["kept_checkpoints"]
    assert sorted(path.name for path in (cut.path / kept_steps.FOLDER).iterdir()) == [
        "step-000002", "step-000004", "step-000006",
    ]  # fmt: skip


@pytest.mark.parametrize("objective", plain_run_tries("causal", "masked", of=("causal", "masked", "span")))
def test_pretraining_keeps_what_was_trained_at_its_steps_wherever_it_is_cut_off(tmp_path, monkeypatch, objective):
    tokenizer = corpora.make_tokenizer(tmp_path / "tokenizer")
    brief = {"size": "1M", "context_length": 64, "batch_size": 4, "max_tokens": 2304, "dtype": "float32"}
    brief |= {"checkpoint_every": 2, "sample_every": 1000, "sample_tokens": 4, "objective": objective}
    live, deaths, honest = {}, [], KeptSteps.note

    def run_of(name: str, kept: int) -> RunDirectory:
        run = RunDirectory(tmp_path / name)
        run.create(RunSpec("pretrain", brief | {"kept_checkpoints": kept}, seed=3, parent=str(tokenizer)))
        corpora.write_corpus(run.path / "data", corpora.texts(60), corpora.texts(12, seed=9))
        return run

    def note(self, step, trained):
        live[step] = {name: tensor.bfloat16() for name, tensor in trained().model.state_dict().items()}
        honest(self, step, trained)
        if step == 5 and not deaths:
            deaths.append(step)
            raise KeyboardInterrupt  # as abrupt as a signal: this step has no checkpoint

    plain, cut = run_of("plain", 0), run_of("cut", 2)
    assert entry.attempt(pretrain.main, plain) == 0, plain.failure()
    monkeypatch.setattr(KeptSteps, "note", note)
    with pytest.raises(KeyboardInterrupt):
        entry.attempt(pretrain.main, cut)
    assert cut.latest_checkpoint().name == "step-000004" and len(kept_steps.models(cut)) == 1
    assert entry.attempt(pretrain.main, cut) == 0, cut.failure()
    rows = cut.result()["kept_checkpoints"]
    assert [(row["step"], row["steps"]) for row in rows] == [(3, 9), (6, 9)]
    for row in rows:
        folder = kept_steps.model_of(cut, row["step"])
        saved = load_file(folder / "model.safetensors")
        assert saved and all(torch.equal(tensor, live[row["step"]][name]) for name, tensor in saved.items())
        assert row["hash"] == loading.weights_hash(folder) != loading.weights_hash(cut.model)
        assert loading.load_tokenizer(folder).model_max_length == 64
    assert loading.weights_hash(cut.model) == loading.weights_hash(plain.model), "keeping and a cut changed nothing"


def test_the_step_that_is_the_result_is_not_kept_twice(parent, tmp_path, monkeypatch):
    honest, calls = sft.measure, []

    def lowest_at_step_five(work):
        calls.append(work)
        return [loss + 1e3 * (len(calls) != 6) for loss in honest(work)]  # the first is of the parent

    monkeypatch.setattr(sft, "measure", lowest_at_step_five)
    options = {"held_out": 0.4, "evaluate_every": 1, "epochs": 1.0, "kept_checkpoints": 20}
    run = of_sft.make_run(tmp_path / "run", parent, count=60, prompts=60, **options)
    assert entry.attempt(sft.main, run) == 0, run.failure()
    steps = [row["step"] for row in run.result()["kept_checkpoints"]]
    assert run.result()["kept_step"] == 5
    assert steps == [step for step in range(1, run.result()["steps"]) if step != 5]
    assert not kept_steps.model_of(run, 5).exists()
