import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support import tiny_model
from tests.support.processes import until
from tests.support.sampling_of_cases import plain_run_tries
from tests.support.tiny_model import NO_FLUENCY_BOUNDS
from tests.support.training.ppo_runs import killed_after
from training.core.run_directory import RunDirectory, RunSpec, read_lines
from training.recipes.common import entry, loading
from training.recipes.common.adapters import base_folder, merged_state
from training.recipes.ppo import __main__ as ppo
from training.recipes.ppo import update as ppo_update
from training.rl.policy import Policy
from training.rl.rollout import Rollout

PROMPTS = [{"id": i, "messages": [{"role": "user", "content": f"say {word}"}]} for i, word in enumerate("abcdef")]
CONFIG = {
    "reward_function": "tests.recipes.training.ppo.test_recipe_ppo.share_of_vowels", "steps": 3, "batch_size": 4,
    "max_new_tokens": 10, "calibration_episodes": 8, "learning_rate": 1e-3, "sample_prompts": 2, "samples_every": 2,
    "stop_kl": 0.0, "min_distinct_ratio": 0.0, "at_bound": "finish", **NO_FLUENCY_BOUNDS,
}  # fmt: skip


def share_of_vowels(prompts: list[list[dict]], completions: list[str]) -> list[float]:
    assert prompts[0][0]["content"].startswith("say ")
    return [sum(c in "aeiou" for c in text.lower()) / max(1, len(text)) for text in completions]


def shortness(prompts: list[list[dict]], completions: list[str]) -> list[float]:
    return [-float(len(text)) for text in completions]


def sameness(prompts: list[list[dict]], completions: list[str]) -> list[float]:
    return [1.0] * len(completions)


def no_number(prompts: list[list[dict]], completions: list[str]) -> list[float]:
    return [float("nan")] * len(completions)


def slowly(prompts: list[list[dict]], completions: list[str]) -> list[float]:
    time.sleep(60)
    return share_of_vowels(prompts, completions)


@pytest.fixture(scope="module")
def model_that_ends(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with an end token that is drawn now and then."""
    folder = tiny_model.make(tmp_path_factory.mktemp("ppo-ends") / "model")
    weights = load_file(folder / "model.safetensors")
    end = json.loads((folder / "config.json").read_text())["eos_token_id"]
    weights["lm_head.weight"][end] = 1.4 * (weights["lm_head.weight"][5] + weights["lm_head.weight"][6])
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def _run(path: Path, model: Path, prompts=PROMPTS, **config: object) -> RunDirectory:
    run = RunDirectory(path)
    run.create(RunSpec("ppo", {**CONFIG, **config}, seed=3, parent=str(model)), {"prompts": iter(prompts)})
    return run


def _metrics(run: RunDirectory) -> list[dict]:
    return [{"step": row["step"], **row["values"]} for row in read_lines(run.path / "metrics.jsonl")]


def _weights(run: RunDirectory) -> dict[str, torch.Tensor]:
    return dict(merged_state(run.model))


def _function(name: str) -> str:
    return f"tests.recipes.training.ppo.test_recipe_ppo.{name}"


@pytest.mark.parametrize("adapters", plain_run_tries("top", "lora", of=("top", "lora", "full")))
def test_a_run_trains_from_parent_to_model(tmp_path: Path, model: Path, adapters: str):
    run = _run(tmp_path, model, adapters=adapters, max_approx_kl=0.0)
    assert entry.attempt(ppo.main, run) == 0, run.failure()
    metrics = _metrics(run)
    assert [m["step"] for m in metrics] == [0, 1, 2, 3]
    assert metrics[0]["kl"] == pytest.approx(0, abs=1e-3) and metrics[-1]["kl_k3"] > 0
    assert all(m["ratio_first_mean"] == pytest.approx(1, abs=1e-2) for m in metrics[:-1])
    assert all(m["updates"] == 8 for m in metrics[:-1])  # 2 epochs x 4 minibatches
    assert {s["step"] for s in read_lines(run.path / "samples.jsonl")} == {0, 2, 3}
    before, after = dict(merged_state(model)), _weights(run)
    assert before.keys() == after.keys()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert any("layers.2." in name for name in changed)
    assert (adapters == "top") == (not any("layers.0." in name for name in changed))
    assert run.result()["stopped"] is None and run.result()["step"] == 3
    assert run.result()["fast_decoder"] and run.result()["packed_layers"] != torch.cuda.is_available()


@pytest.mark.parametrize("dtype", plain_run_tries("bfloat16", of=("bfloat16", "float32")))
@pytest.mark.parametrize("adapters", ["lora", "full"])
def test_what_is_sampled_and_saved_is_what_was_trained(tmp_path: Path, model: Path, monkeypatch, adapters, dtype):
    """At a rate at which a merge into bfloat16 loses most of the update."""
    monkeypatch.setenv("ASSAY_DTYPE", dtype)
    run = _run(tmp_path, model, adapters=adapters, learning_rate=2e-5, max_approx_kl=0.0)
    assert entry.attempt(ppo.main, run) == 0, run.failure()
    fidelity = run.result()["fidelity"]
    assert fidelity["cosine"] >= 0.999
    assert 0 <= fidelity["kl_per_token"] < 1e-4
    assert all(m["sampler_kl"] < (1e-6 if dtype == "float32" else 1e-3) for m in _metrics(run))


def test_a_child_of_a_child_goes_on_from_it_and_not_from_the_base(tmp_path: Path, model: Path, monkeypatch):
    monkeypatch.setenv("ASSAY_DTYPE", "bfloat16")
    first, second = (_run(tmp_path / name, model, adapters=how) for name, how in (("1", "lora"), ("2", "top")))
    assert entry.attempt(ppo.main, first) == 0, first.failure()
    spec = dataclasses.replace(second.spec(), parent=str(first.model))
    (second.path / "config.json").write_text(json.dumps(vars(spec)))
    assert entry.attempt(ppo.main, second) == 0, second.failure()
    assert _metrics(second)[0]["kl"] == pytest.approx(0, abs=1e-3)
    assert base_folder(second.model) == model.resolve()
    grandparent, parent, child = (dict(merged_state(f)) for f in (model, first.model, second.model))
    below, above = (f"model.layers.{i}.mlp.up_proj.weight" for i in (0, 2))
    assert torch.equal(child[below], parent[below]) and not torch.equal(parent[below], grandparent[below])
    assert not torch.equal(child[above], parent[above])
    assert second.result()["fidelity"]["cosine"] >= 0.999


def test_the_score_rises_on_a_taste_that_can_be_learnt(tmp_path: Path, model: Path):
    run = _run(
        tmp_path, model, steps=8, batch_size=32, calibration_episodes=32, adapters="lora", learning_rate=3e-4,
        kl_coef=0.0, kl_target=0.0,
    )  # fmt: skip
    assert entry.attempt(ppo.main, run) == 0, run.failure()
    scores = [m["raw_score_mean"] for m in _metrics(run)]
    assert sum(scores[-2:]) > 2 * sum(scores[:2])


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"adapters": "top"}, marks=pytest.mark.thorough),
        {"adapters": "full"},
        pytest.param({"ptx_coef": 0.1, "kl_loss_coef": 0.1}, marks=pytest.mark.thorough),
        pytest.param({"minibatches": 1}, marks=pytest.mark.thorough),
    ],
)
def test_killed_and_resumed_it_ends_with_the_same_weights_bit_by_bit(tmp_path: Path, model: Path, config: dict):
    whole, cut = _run(tmp_path / "whole", model, **config), _run(tmp_path / "cut", model, **config)
    assert entry.attempt(ppo.main, whole) == 0
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ppo, "calibrate", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        entry.attempt(ppo.main, cut)
    for last_step in (1, 2):
        with killed_after(last_step):
            entry.attempt(ppo.main, cut)
    assert entry.attempt(ppo.main, cut) == 0
    a, b = _weights(whole), _weights(cut)
    assert all(torch.equal(a[name], b[name]) for name in a)
    timeless = [{k: v for k, v in m.items() if "second" not in k and "memory" not in k} for m in _metrics(whole)]
    assert timeless == [{k: v for k, v in m.items() if "second" not in k and "memory" not in k} for m in _metrics(cut)]
    assert whole.result() == cut.result()
    samples = [[s["completion"] for s in read_lines(r.path / "samples.jsonl")] for r in (whole, cut)]
    assert samples[0] == samples[1]


def test_ptx_keeps_the_parents_own_completions_likely(tmp_path: Path, model: Path):
    free, held = (_run(tmp_path / str(coef), model, kl_coef=0.0, kl_target=0.0, ptx_coef=coef) for coef in (0.0, 1.0))
    for run in (free, held):
        assert entry.attempt(ppo.main, run) == 0, run.failure()
    saved = torch.load(held.latest_checkpoint() / "state.pt", weights_only=True)["own"]
    assert len(saved) == 2  # eight calibration episodes in batches of four

    def likelihood(run: RunDirectory) -> float:
        policy = Policy(loading.load_policy(run.model)[0], "lora")
        rollouts = [Rollout(**rollout) for rollout in saved]
        return sum(float(policy.logprobs(policy.lower(r)[0], r)[0].sum().detach()) for r in rollouts)

    assert likelihood(held) > likelihood(free) + 5


def test_a_policy_that_runs_from_its_parent_is_stopped_and_the_last_good_one_kept(tmp_path: Path, model: Path):
    run = _run(
        tmp_path, model, steps=20, learning_rate=2e-2, stop_kl=1.0, kl_coef=0.0, kl_target=0.0, max_approx_kl=0.0
    )
    assert entry.attempt(ppo.main, run) == 0, run.failure()
    result, metrics = run.result(), _metrics(run)
    assert result["stopped"]["code"] == "kl_limit" and "nats" in result["stopped"]["message"]
    assert metrics[-1]["drift"] > 1 and all(m["drift"] <= 1 for m in metrics[:-1])
    assert result["step"] == metrics[-1]["step"] - 1 < 20
    assert result["final"]["kl"] == metrics[-2]["kl"]


@pytest.mark.thorough
def test_answers_that_grow_short_are_stopped(tmp_path: Path, model_that_ends: Path):
    run = _run(
        tmp_path, model_that_ends, steps=40, batch_size=16, adapters="lora", learning_rate=5e-5, kl_coef=0.0,
        kl_target=0.0, reward_function=_function("shortness"), max_new_tokens=24, calibration_episodes=32,
        min_length_ratio=0.7,
    )  # fmt: skip
    assert entry.attempt(ppo.main, run) == 0, run.failure()
    result, metrics = run.result(), _metrics(run)
    assert result["stopped"]["code"] == "length_collapse"
    assert metrics[-1]["drift"] > 1 and all(m["drift"] <= 1 for m in metrics[:-1])
    assert result["step"] == metrics[-1]["step"] - 1, "the last one within the bound is kept"
    assert result["final"]["length_mean"] < result["parent"]["length_mean"]


@pytest.mark.thorough
def test_a_small_batch_of_the_parents_own_answers_is_not_taken_for_drift(tmp_path: Path, model: Path):
    run = _run(tmp_path, model, max_new_tokens=24, batch_size=2, steps=1, min_distinct_ratio=0.9)
    assert entry.attempt(ppo.main, run) == 0, run.failure()
    first = next(read_lines(run.path / "metrics.jsonl"))
    # Before chance was taken off, these two answers of the parent itself were out of bounds.
    assert first["step"] == 0 and first["values"]["drift"] < 1
    assert run.result()["stopped"] is None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"prompts": []}, "no_prompts"),
        ({"model": Path("nowhere")}, "model_missing"),
        ({"reward_function": ""}, "no_reward"),
        ({"reward_function": "no.such.function"}, "no_reward_function"),
        ({"reward_function": _function("sameness")}, "constant_score"),
        ({"reward_function": _function("no_number")}, "bad_scores"),
        ({"learning_rate": 1.0, "max_approx_kl": 0.0, "max_grad_norm": 1e6, "steps": 30, "min_distinct_ratio": 0.0,
          "min_length_ratio": 0.0}, "not_finite"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_fails_in_words(tmp_path: Path, model: Path, change: dict, code: str, monkeypatch):
    if code == "not_finite":
        original = ppo_update.policy_loss
        monkeypatch.setattr(
            ppo_update,
            "policy_loss",
            lambda *a: dataclasses.replace(found := original(*a), loss=found.loss * float("nan")),
        )
    run = _run(tmp_path, **{"model": model, **change})
    assert entry.attempt(ppo.main, run) == 1
    failure = run.failure()
    assert failure["code"] == code, failure
    assert failure["remedy"] and run.result() is None


def test_a_forward_that_differs_from_itself_is_noticed(tmp_path: Path, model: Path, monkeypatch):
    original, calls = Policy.logprobs, []

    def shifted(self: Policy, lower: torch.Tensor, rollout: object, **options) -> tuple[torch.Tensor, torch.Tensor]:
        logprobs, entropies = original(self, lower, rollout, **options)
        calls.append(1)
        return logprobs + 0.3 * (len(calls) % 2), entropies

    monkeypatch.setattr(Policy, "logprobs", shifted)
    run = _run(tmp_path, model)
    assert entry.attempt(ppo.main, run) == 1
    assert run.failure()["code"] == "ratio_not_one"


@pytest.mark.thorough
@pytest.mark.usefixtures("forked_programs")
def test_a_term_signal_ends_it_at_once(tmp_path: Path, model: Path):
    run = _run(tmp_path, model, reward_function=_function("slowly"))
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    process = subprocess.Popen(
        [sys.executable, "-m", "training.recipes.ppo", str(run.path)], env=environment, stderr=subprocess.DEVNULL
    )
    until(lambda: (run.current_progress() or {}).get("phase") == "measuring the parent", 300)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == -signal.SIGTERM
    assert time.monotonic() - started < 30, "half of what the reward takes, however busy the machine is"


def test_no_minibatch_is_empty_where_there_are_fewer_answers_than_minibatches(tmp_path: Path, model: Path):
    run = _run(tmp_path, model, batch_size=3, steps=1, epochs=2, minibatches=8, max_approx_kl=0.0)
    assert entry.attempt(ppo.main, run) == 0, run.failure()
    assert next(read_lines(run.path / "metrics.jsonl"))["values"]["updates"] == 2 * 3


def test_the_config_in_the_run_directory_is_all_it_needs(tmp_path: Path, model: Path):
    run = _run(tmp_path, model, steps=1)
    assert json.loads((run.path / "config.json").read_text())["kind"] == "ppo"
    assert entry.attempt(ppo.main, run) == 0
    assert entry.attempt(ppo.main, run) == 0  # ended well already: left as it is
    assert len(_metrics(run)) == 2
