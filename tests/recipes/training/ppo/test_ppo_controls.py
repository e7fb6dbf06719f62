"""PPO's controls on short runs of the tiny model: the KL coefficient, the bounds, and their baseline."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from statistics import mean

import pytest
import torch

from tests.support.sampling_of_cases import plain_run_tries
from tests.support.training.ppo_runs import carry_out, make_run, metrics
from training import configs
from training.recipes.common import entry
from training.recipes.ppo import __main__ as ppo
from training.recipes.ppo import behaviour as ppo_behaviour
from training.recipes.ppo import rollouts as ppo_rollouts
from training.recipes.ppo import update as ppo_update
from training.rl import guards
from training.rl.policy import Policy
from training.runs.figures import curves

# --- the KL coefficient


def test_the_coefficient_is_held_while_the_policy_has_not_moved_yet(tmp_path: Path, model: Path):
    run = carry_out(make_run(tmp_path, model, learning_rate=1e-6, kl_target=6.0, kl_coef=0.15, steps=6))
    assert {row["kl_coef"] for row in metrics(run)[:3]} == {0.15}  # 0.52 of the rates are spent at step 2


@pytest.mark.thorough
def test_a_batch_beyond_the_horizon_leaves_the_coefficient_positive(tmp_path: Path, model: Path):
    options = {"kl_target": 0.01, "kl_coef": 0.15, "kl_horizon": 1.0, "learning_rate": 1e-2, "max_approx_kl": 0.0}
    rows = metrics(carry_out(make_run(tmp_path, model, **options)))
    coefficients = [row["kl_coef"] for row in rows]
    assert coefficients[-1] > coefficients[0]  # KL went beyond its target
    assert all(0 < after / before <= 1.5 + 1e-9 for before, after in pairwise(coefficients))


def _stop_after(step: int, patch: pytest.MonkeyPatch) -> None:
    original = ppo.save_checkpoint

    def save(trainer, optimiser, state) -> None:
        original(trainer, optimiser, state)
        if state.step == step:
            raise KeyboardInterrupt

    patch.setattr(ppo, "save_checkpoint", save)


@pytest.mark.parametrize("is_old", plain_run_tries(True, of=(False, True)))
def test_a_resumed_run_knows_whether_kl_has_reached_its_target(tmp_path: Path, model: Path, is_old: bool):
    run = make_run(tmp_path, model, kl_target=6.0, kl_coef=0.15, learning_rate=1e-6, kl_horizon=8.0, steps=6)
    with pytest.MonkeyPatch.context() as patch:
        _stop_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            entry.attempt(ppo.main, run)
    if is_old:
        path = run.latest_checkpoint() / "state.pt"
        saved = torch.load(path, weights_only=True)
        del saved["kl_has_reached_target"]
        torch.save(saved, path)
    rows = metrics(carry_out(run))
    # A checkpoint of before goes on as it was: its coefficient had followed KL from the first step on.
    assert (rows[2]["kl_coef"] < 0.15) == is_old


@pytest.mark.parametrize("schedule", plain_run_tries("linear", of=("linear", "constant")))
def test_a_run_that_lags_lowers_its_kl_coef_once_half_of_its_rates_are_spent(
    tmp_path: Path, model: Path, schedule: str
):
    options = {"kl_target": 6.0, "kl_coef": 0.15, "learning_rate": 1e-6, "kl_horizon": 4.0, "steps": 4}
    rows = metrics(carry_out(make_run(tmp_path, model, learning_rate_schedule=schedule, **options)))
    # linear: 1 + 0.75 of 2.5 rates are spent at step 2; constant: 2 of 4. The update of that step is still at 0.15.
    assert [row["kl_coef"] for row in rows[:3]] == [0.15] * 3
    assert rows[3]["kl_coef"] == pytest.approx(0.15 * math.exp(-0.2))
    assert rows[4]["kl_coef"] == pytest.approx(0.15 * math.exp(-0.4))


@pytest.mark.thorough
def test_a_lagging_run_that_is_killed_and_resumed_has_the_kl_coef_of_one_that_was_not(tmp_path: Path, model: Path):
    options = {"kl_target": 6.0, "kl_coef": 0.15, "learning_rate": 1e-6, "kl_horizon": 1.0, "steps": 6}
    whole, cut = (make_run(tmp_path / name, model, **options) for name in ("whole", "cut"))
    with pytest.MonkeyPatch.context() as patch:
        _stop_after(5, patch)
        with pytest.raises(KeyboardInterrupt):
            entry.attempt(ppo.main, cut)
    found, wanted = ([row["kl_coef"] for row in metrics(carry_out(run))] for run in (cut, whole))
    assert found == wanted
    assert found[-1] == pytest.approx(0.15 / 4)  # of what the run began with, not of what it resumed with


@pytest.mark.thorough
def test_a_checkpoint_from_before_the_kl_coef_could_fall_keeps_it_held(tmp_path: Path, model: Path):
    run = make_run(tmp_path, model, kl_target=6.0, kl_coef=0.15, learning_rate=1e-6, kl_horizon=4.0, steps=4)
    with pytest.MonkeyPatch.context() as patch:
        _stop_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            entry.attempt(ppo.main, run)
    path = run.latest_checkpoint() / "state.pt"
    saved = torch.load(path, weights_only=True)
    del saved["kl_coef_floor"]
    torch.save(saved, path)
    assert {row["kl_coef"] for row in metrics(carry_out(run))} == {0.15}


@pytest.mark.parametrize("schedule", ["linear", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 12, 24, 1000])
def test_the_share_of_the_rates_that_is_spent_is_that_of_the_rates_taken(steps: int, schedule: str):
    config = configs.parse("ppo", {"steps": steps, "learning_rate_schedule": schedule})
    rates = [ppo_update.rate_factor(config, step) for step in range(steps)]
    shares = [ppo_update.share_spent(config, step) for step in range(steps + 1)]
    assert shares == pytest.approx([sum(rates[:step]) / sum(rates) for step in range(steps + 1)])
    assert shares[0] == 0.0 and shares[-1] == pytest.approx(1.0)
    assert shares == sorted(shares)


def test_a_run_whose_number_of_steps_is_doubled_has_spent_less_of_its_rates():
    shorter, longer = (configs.parse("ppo", {"steps": steps}) for steps in (12, 24))
    for step in range(1, 13):
        assert 0 < ppo_update.share_spent(longer, step) < ppo_update.share_spent(shorter, step)


# --- odd tokens


def test_one_odd_token_stops_no_run(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch):
    original = Policy.reference_logprobs

    def odd(self, lower, rollout, keep):
        logprobs, kept = original(self, lower, rollout, keep)
        logprobs = logprobs.clone()
        logprobs[0, 0] += 25.0
        return logprobs, kept

    monkeypatch.setattr(Policy, "reference_logprobs", odd)
    options = {"batch_size": 32, "learning_rate": 1e-6, "stop_kl": 3.0, "kl_coef": 0.0, "steps": 2}
    run = carry_out(make_run(tmp_path, model, at_bound="finish", **options))
    assert run.result()["stopped"] is None
    assert max(row["kl_k3"] for row in metrics(run)) > 1e6 > 3 > max(row["kl_robust"] for row in metrics(run))


# --- one baseline


def test_the_parents_baseline_is_of_prompts_from_all_of_a_sorted_list(tmp_path: Path, model: Path):
    seen = []
    original = ppo_rollouts.PPO.collect_batches

    def collect_batches(self, indices, seeds):
        seen.append(indices)
        return original(self, indices, seeds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ppo_rollouts.PPO, "collect_batches", collect_batches)
        run = make_run(tmp_path, model, steps=1, sample_prompts=0, calibration_episodes=8, batch_size=8)
        words = [f"{category}{i}" for category in "abcdefgh" for i in range(8)]
        prompts = [{"id": i, "messages": [{"role": "user", "content": f"say {w}"}]} for i, w in enumerate(words)]
        (run.path / "data" / "prompts.jsonl").write_text("".join(f"{json.dumps(prompt)}\n" for prompt in prompts))
        carry_out(run)
    calibrated = seen[0]
    assert len(set(calibrated)) == 8 and max(calibrated) > 32  # eight categories of eight prompts: not the first alone
    assert len({index // 8 for index in calibrated}) >= 4


@pytest.mark.thorough
def test_a_list_shorter_than_the_calibration_is_gone_through_again(tmp_path: Path, model: Path):
    answers = torch.load(
        carry_out(make_run(tmp_path, model, review_every=9, calibration_episodes=12)).latest_checkpoint() / "state.pt",
        weights_only=True,
    )["answers"]
    assert sorted(row["index"] for row in answers) == [0, 1, 2, 3, 4, 5]


def test_the_page_and_the_result_tell_of_one_parent(tmp_path: Path, model: Path):
    run = carry_out(make_run(tmp_path, model))
    first, *later = metrics(run)
    parent = run.result()["parent"]
    for name in ("length_mean", "eos_rate", "cut_share", "distinct", "distinct_2", "surprise", "entropy"):
        assert first[f"parent_{name}"] == parent[name]
    assert not any(name.startswith("parent_") for row in later for name in row)
    drawn = {curve.name: curve for curve in curves.curves([(row.pop("step"), row) for row in metrics(run)], {})}
    assert not any(name.startswith("parent_") or name.endswith("_se") for name in drawn)
    for name in ("length_mean", "eos_rate", "surprise", "entropy"):
        assert [line.value for line in drawn[name].lines if line.label == "the parent"] == [parent[name]]


@pytest.mark.parametrize(
    ("batch_size", "episodes"), [(4, 30), (24, 16), pytest.param(16, 24, marks=pytest.mark.thorough)]
)
def test_shares_of_different_answers_are_counted_among_as_many_texts(
    tmp_path: Path, model: Path, batch_size: int, episodes: int
):
    config = {"batch_size": batch_size, "calibration_episodes": episodes, "steps": 1, "learning_rate": 1e-8}
    groups = []
    original = guards.distinct_in_groups

    def counted(texts, size):
        groups.append((len(texts), size))
        return original(texts, size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guards, "distinct_in_groups", counted)
        carry_out(make_run(tmp_path, model, sample_prompts=0, **config))
    smaller = min(batch_size, episodes)
    assert groups == [(episodes, smaller), (batch_size, smaller), (batch_size, smaller)]


# --- what KL is measured against


@pytest.mark.thorough
def test_left_empty_the_target_and_the_bound_on_kl_follow_the_length_of_answers(tmp_path: Path, model: Path):
    for tokens in (8, 32):
        run = carry_out(
            make_run(tmp_path / str(tokens), model, stop_kl=None, kl_target=None, max_new_tokens=tokens, steps=1)
        )
        first = metrics(run)[0]
        assert first["parent_length_mean"] == pytest.approx(tokens, abs=1)
        assert first["kl_target"] == pytest.approx(0.1 * first["parent_length_mean"])
        assert first["stop_kl"] == pytest.approx(0.15 * first["parent_length_mean"])


def test_values_of_older_runs_are_nats_an_answer_as_before(tmp_path: Path, model: Path):
    old = {"stop_kl": 9.0, "kl_target": 6.0, "max_approx_kl": 0.1, "max_new_tokens": 16}
    config = configs.parse("ppo", {**old, "reward_function": "a.b"})
    parent = guards.Behaviour(15.0, 1.0, 0.9)
    assert ppo_behaviour.bounds(config, parent).kl == 9.0 and ppo_behaviour.kl_target(config, parent) == 6.0
    assert config.max_approx_kl == 0.1
    off = configs.parse("ppo", {"stop_kl": 0.0, "kl_target": 0.0})
    assert ppo_behaviour.bounds(off, parent).kl is None and ppo_behaviour.kl_target(off, parent) is None


# --- fluency


def test_every_step_says_how_its_answers_read(tmp_path: Path, model: Path):
    for row in metrics(carry_out(make_run(tmp_path, model))):
        assert row["surprise"] > 0 and row["entropy"] > 0 and row["foreign_scripts"] >= 0
        assert row["cut_share"] == pytest.approx(1 - row["eos_rate"])
        assert row["surprise_se"] > 0 and row["length_mean_se"] >= 0


def test_the_surprise_of_the_parents_answers_is_their_entropy(tmp_path: Path, model: Path):
    run = carry_out(make_run(tmp_path, model, calibration_episodes=256, batch_size=64, steps=1, learning_rate=1e-8))
    first = metrics(run)[0]
    error = math.hypot(first["parent_surprise_se"], first["parent_entropy_se"])
    assert first["parent_surprise"] == pytest.approx(first["parent_entropy"], abs=4 * error)


FREE = {
    "steps": 12, "batch_size": 32, "calibration_episodes": 32, "adapters": "lora", "learning_rate": 1e-3,
    "kl_coef": 0.0, "kl_target": 0.0, "learning_rate_schedule": "constant",
}  # fmt: skip


def test_answers_that_surprise_the_parent_stop_the_run(tmp_path: Path, model: Path):
    options = {**FREE, "learning_rate": 2e-2, "max_approx_kl": 0.0, "fluency_coef": 0.0, "max_surprise_rise": 0.2}
    paused = carry_out(make_run(tmp_path, model, **options)).paused()
    assert paused is not None and paused["code"] == "surprise_limit"
    assert "surprise the parent by" in paused["message"]
    choices = {choice["name"]: choice["changes"] for choice in paused["choices"]}
    assert choices["on"].keys() == {"max_surprise_rise"} and choices["on"]["max_surprise_rise"] > 0.2
    assert choices["back"]["fluency_coef"] == 0.1
    for changes in choices.values():
        assert set(changes) <= set(configs.PPOConfig.amendable)


@pytest.mark.thorough
def test_the_penalty_holds_surprise_down_and_costs_nothing_before_it_rises(tmp_path: Path, model: Path):
    free, held = (
        metrics(carry_out(make_run(tmp_path / str(coef), model, **FREE, fluency_coef=coef))) for coef in (0.0, 0.3)
    )
    assert free[0] == held[0] or free[0]["surprise"] == held[0]["surprise"]  # the parent's own answers
    assert {row["fluency_coef"] for row in free} == {0.0} and max(row["fluency_coef"] for row in held) > 0
    rise = [mean(row["surprise"] for row in rows[-4:]) - rows[0]["parent_surprise"] for rows in (free, held)]
    assert rise[1] < rise[0] - 0.1


@pytest.mark.thorough
def test_a_checkpoint_of_before_knows_no_fluency_and_goes_on(tmp_path: Path, model: Path):
    run = make_run(tmp_path, model, max_surprise_rise=0.01, max_foreign_share=0.001, min_eos_ratio=0.5)
    with pytest.MonkeyPatch.context() as patch:
        _stop_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            entry.attempt(ppo.main, run)
    path = run.latest_checkpoint() / "state.pt"
    saved = torch.load(path, weights_only=True)
    del saved["calibration"]["scripts"]
    kept = ("length", "distinct", "distinct_2", "kl")
    saved["calibration"]["parent"] = {name: saved["calibration"]["parent"][name] for name in kept}
    torch.save(saved, path)
    assert carry_out(run).result()["step"] == 3
