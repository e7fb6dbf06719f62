"""What each option of the table does to a run of the recipe."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from tests.support.training.ppo_runs import carry_out, killed_after, make_run, metrics
from training import configs
from training.recipes.common import entry, loading
from training.recipes.common.adapters import merged_state
from training.recipes.ppo import __main__ as ppo
from training.recipes.ppo import drift as ppo_drift
from training.recipes.ppo import rollouts as ppo_rollouts
from training.recipes.ppo import update as ppo_update
from training.recipes.reward.reward_model import RewardModel
from training.recipes.rewards.scoring import Scorer
from training.rl.value import ValueHead

WORDS = ["the quick brown fox jumps over the lazy dog " * 3, "a stitch in time saves nine " * 4] * 8


@pytest.fixture(scope="module")
def reward_model(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear head on the mean of the model's layer 2, drawn at random."""
    folder = tmp_path_factory.mktemp("ppo-options-reward")
    generator = torch.Generator().manual_seed(1)
    head = RewardModel(
        "head", ((2, "mean"), (1, "last")), torch.randn(128, generator=generator) / 8, torch.tensor([0.3]),
        torch.zeros(128), torch.ones(128), str(model), loading.weights_hash(model), 64, 64, 0.1, 0.5, -3.0,
    )  # fmt: skip
    head.save(folder)
    return folder


def trainer(path: Path, model: Path, **config) -> ppo_rollouts.PPO:
    run = make_run(path, model, **config)
    spec = run.spec()
    return ppo_rollouts.PPO(run, spec, entry.config_of(spec))


# --- the table


def test_the_defaults_are_the_tables_but_for_those_that_the_preset_changes():
    own, table = configs.parse("ppo", {}), configs.parse("ppo", {"preset": "table"})
    changed = {name for name in vars(own) if getattr(own, name) != getattr(table, name)}
    assert changed == {
        "score_scaling", "score_clip", "missing_eos_penalty", "kl_coef", "kl_target", "kl_horizon", "fluency_coef",
        "epochs", "minibatches",
    }  # fmt: skip
    agreed = {
        "temperature": 1.0, "top_p": 1.0, "top_k": 0, "reward_whitening": False, "advantage_whitening": True,
        "gamma": 1.0, "gae_lambda": 0.95, "clip": 0.2, "value_clip": 0.2, "value_coef": 0.1, "value_warm_up": True,
        "kl_loss_estimator": "k2", "loss_mean": "batch", "adam_eps": 1e-5, "max_grad_norm": 1.0,
        "ptx_coef": 0.0,
    }  # fmt: skip
    assert {name: getattr(own, name) for name in agreed} == agreed
    assert (table.kl_coef, table.score_clip, table.score_scaling) == (0.05, 10.0, "shift")


def test_what_is_named_beside_a_preset_wins_and_an_unknown_one_is_refused():
    assert configs.parse("ppo", {"preset": "table", "kl_coef": 0.4}).kl_coef == 0.4
    with pytest.raises(configs.ConfigError, match="assay, table"):
        configs.parse("ppo", {"preset": "tabel"})


def test_the_tables_preset_trains(tmp_path: Path, model: Path):
    run = make_run(tmp_path, model, preset="table", at_bound="finish")
    rows = metrics(carry_out(run))
    assert {m["kl_coef"] for m in rows} == {0.05} and all(m["updates"] <= 4 for m in rows[:-1])


# --- what is sampled


def test_a_stop_token_ends_answers_counts_as_an_end_and_is_no_part_of_the_text(tmp_path: Path, model: Path):
    letter = "e"
    one = trainer(tmp_path, model, stop_token=letter, max_new_tokens=48)
    episodes = one.collect([0, 1, 2, 3] * 8, one.seeds("x", count=32))
    assert bool(episodes.rollout.finished.any())
    assert all(letter not in text for text in episodes.texts)
    calibration = ppo.calibrate(one).calibration
    fined = dataclasses.replace(one.config, missing_eos_penalty=2.0)
    plain, less = (calibration.scaled(episodes.scores, episodes.rollout, config) for config in (one.config, fined))
    assert torch.equal(plain - less > 1, ~episodes.rollout.finished)


@pytest.mark.parametrize("token", ["no such token", "<|pad|>"])
def test_a_stop_token_that_is_none_is_refused(tmp_path: Path, model: Path, token: str):
    run = make_run(tmp_path, model, stop_token=token)
    assert entry.attempt(ppo.main, run) == 1
    assert run.failure()["code"] == "bad_stop_token" and "stop_token" in run.failure()["message"]


def test_top_k_of_one_takes_the_likeliest_token_whatever_the_seed(tmp_path: Path, model: Path):
    one = trainer(tmp_path, model, top_k=1)
    a, b = (one.collect([0, 1], one.seeds(name, count=2)).texts for name in ("a", "b"))
    assert a == b
    free = trainer(tmp_path / "free", model)
    assert free.collect([0, 1], free.seeds("a", count=2)).texts != free.collect([0, 1], free.seeds("b", count=2)).texts


def test_the_eos_rate_is_logged_whether_or_not_it_is_fined(tmp_path: Path, model: Path):
    assert all("eos_rate" in m for m in metrics(carry_out(make_run(tmp_path, model, steps=1))))


# --- PTX


def corpus(count: int = 12) -> dict:
    texts = [{"text": text, "source": "proverbs"} for text in WORDS[:count]]
    return {"train-00000": texts[2:], "validation": texts[:2]}


def examples() -> dict:
    prompts = [[{"role": "user", "content": f"say it {i}"}] for i in range(len(WORDS))]
    rows = [
        {"prompt": p, "completion": w, "is_cut": i % 2 == 0}
        for i, (p, w) in enumerate(zip(prompts, WORDS, strict=True))
    ]
    return {"examples": rows}


@pytest.mark.parametrize("other", [examples, pytest.param(corpus, marks=pytest.mark.thorough)])
def test_ptx_keeps_other_text_likely_and_its_held_out_loss_is_measured_either_way(tmp_path: Path, model: Path, other):
    options = {"steps": 4, "kl_coef": 0.0, "kl_target": 0.0, "samples_every": 1, "learning_rate": 3e-3}
    runs = [make_run(tmp_path / str(c), model, other=other(), ptx_coef=c, **options) for c in (0.0, 1.0)]
    free, held = (metrics(carry_out(run)) for run in runs)
    assert free[0]["ptx_held_out_loss"] == pytest.approx(held[0]["ptx_held_out_loss"], rel=1e-5)
    assert held[-1]["ptx_held_out_loss"] < held[0]["ptx_held_out_loss"] - 0.1
    assert held[-1]["ptx_held_out_loss"] < free[-1]["ptx_held_out_loss"] - 0.1
    assert "ptx_loss" in held[0] and "ptx_loss" not in free[0]


def test_ptx_counts_completions_alone_and_not_their_prompts(tmp_path: Path, model: Path):
    one = trainer(tmp_path, model, other=examples())
    mixture = ppo.ptx.mixture(one)
    batch = ppo.ptx.as_rollout(mixture.train[:2], one)
    tails = [one.tokenizer.decode(row[:n]) for row, n in zip(batch.tokens, batch.lengths, strict=True)]
    assert all("say it" not in tail and tail.startswith(tuple(word[:9] for word in WORDS)) for tail in tails)
    ends = [one.tokenizer.eos_token_id in row.tolist() for row in batch.tokens]
    assert ends.count(True) <= 1  # an answer that was cut off teaches no end


def test_the_loss_on_a_batch_is_the_models_own(tmp_path: Path, model: Path):
    one = trainer(tmp_path, model, other=corpus(), temperature=0.7)
    batch = ppo.ptx.as_rollout(ppo.ptx.mixture(one).train[:1], one)
    with torch.no_grad():
        ours = float(sum(compute() for compute in ppo.ptx.ptx_losses(one, batch)))
        ids = batch.ids[:, : int(batch.prompt_lengths[0] + batch.lengths[0])]
        theirs = float(one.policy.model(input_ids=ids, labels=ids).loss)
    assert ours == pytest.approx(theirs, rel=2e-2)  # bfloat16 where the machine has it
    assert one.policy.temperature == 0.7


def test_what_is_mixed_in_comes_from_all_of_a_long_dataset_and_no_held_out_prompt_is_in_it(tmp_path: Path, model: Path):
    rows = [{"prompt": f"{i // 2:03}", "completion": f"{i:03}", "is_cut": True} for i in range(400)]
    one = trainer(tmp_path, model, other={"a": rows[:300], "b": rows[300:]}, steps=1, epochs=1, minibatches=1)
    mixture = ppo.ptx.mixture(one)
    assert len(mixture.train) + len(mixture.held_out) == one.config.ptx_batch_size + ppo.ptx.HELD_OUT
    said = sorted(int(one.tokenizer.decode(tail)) for _, tail in (*mixture.train, *mixture.held_out))
    assert max(b - a for a, b in zip([0, *said], [*said, 400], strict=True)) <= 11  # 400 rows for 40 places
    asked = [{one.tokenizer.decode(head) for head, _ in part} for part in (mixture.train, mixture.held_out)]
    assert mixture.held_out and not asked[0] & asked[1]


def test_a_second_dataset_with_too_little_is_refused(tmp_path: Path, model: Path):
    run = make_run(tmp_path, model, other={"examples": [{"prompt": "say", "completion": "one"}]}, ptx_coef=0.1)
    assert entry.attempt(ppo.main, run) == 1
    assert run.failure()["code"] == "nothing_to_mix_in" and run.failure()["remedy"]


@pytest.mark.thorough
def test_killed_and_resumed_with_other_text_it_ends_with_the_same_weights(tmp_path: Path, model: Path):
    runs = [make_run(tmp_path / name, model, other=corpus(), ptx_coef=0.2) for name in ("whole", "cut")]
    carry_out(runs[0])
    with killed_after(1):
        entry.attempt(ppo.main, runs[1])
    carry_out(runs[1])
    a, b = (dict(merged_state(run.model)) for run in runs)
    assert all(torch.equal(a[name], b[name]) for name in a)


# --- the value function


def test_the_value_may_begin_as_the_reward_models_score_of_the_answer_so_far(
    tmp_path: Path, model: Path, reward_model: Path
):
    one = trainer(tmp_path, model, reward_model=reward_model, value_init="reward", score_scaling="standardise")
    state = ppo.calibrate(one)
    episodes = one.collect([0, 1, 2], one.seeds("v", count=3))
    rollout, head = episodes.rollout, one.scorer.model
    with torch.no_grad():
        values = one.value(episodes.features)
    # By hand: score the first five tokens of each answer as an answer of their own.
    cut = 5
    texts = torch.zeros_like(rollout.text_mask())
    for row, start in enumerate(rollout.prompt_lengths.tolist()):
        texts[row, start : start + cut] = True
    keep = one.scorer.layers
    lower, below = one.policy.lower(rollout, keep)
    _, above = one.policy.reference_logprobs(lower, rollout, keep)
    scores = head.score_from_hidden(below | above, texts)
    expected = (scores - state.calibration.score_mean) / state.calibration.score_std
    assert torch.allclose(values[:, cut], expected, atol=5e-3)


def test_a_value_head_that_cannot_begin_from_the_reward_model_is_refused_in_words(tmp_path: Path, model: Path):
    with pytest.raises(configs.ConfigError, match="value_init"):
        configs.parse("ppo", {"value_init": "reward", "reward_function": "a.b"})


def test_a_run_with_the_reward_models_value_resumes_and_trains(tmp_path: Path, model: Path, reward_model: Path):
    run = carry_out(make_run(tmp_path, model, reward_model=reward_model, value_init="reward"))
    assert run.result()["step"] == 3 and all(math.isfinite(m["value_loss"]) for m in metrics(run)[:-1])


def test_begin_from_gives_the_heads_own_numbers():
    head = ValueHead(4)
    weight, mean, std = torch.tensor([1.0, -2.0, 0.5, 0.0]), torch.arange(4.0), torch.tensor([1.0, 2.0, 4.0, 1.0])
    head.begin_from(weight, torch.tensor([0.25]), mean, std, shift=1.0, scale=2.0)
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(head(x), ((((x - mean) / std) @ weight + 0.25) - 1.0) / 2.0, atol=1e-5)


# --- the losses


def test_every_token_of_the_batch_weighs_the_same_however_it_is_cut(tmp_path: Path, model: Path, monkeypatch):
    """With a mean over the whole batch the gradients of the minibatches add up to that of one."""

    def gradient(minibatches: int) -> torch.Tensor:
        one = trainer(tmp_path / str(minibatches), model, minibatches=minibatches, stop_token="e", max_new_tokens=24)
        state = ppo.calibrate(one)
        episodes = one.collect(one.prompt_order(0), one.seeds("rollout", 0, count=4))
        measured = ppo.measure(one, state, episodes)
        batch = ppo_update._batch(one, state, episodes, measured, 0, None)
        total = 0.0
        for rows in torch.arange(4).tensor_split(minibatches):
            own = ppo_update._own_part(one, episodes.rollout, rows)
            total = total + sum(part().loss for part in ppo_update._parts(one, batch, own, 0)) / minibatches
        total.backward()
        return torch.cat([p.grad.flatten() for p in one.policy.parameters().values() if p.grad is not None])

    whole, cut = gradient(1), gradient(4)
    assert float((whole - cut).norm()) < 2e-2 * float(whole.norm())


@pytest.mark.parametrize("estimator", ["k3", pytest.param("k2", marks=pytest.mark.thorough)])
def test_a_kl_term_in_the_loss_holds_the_policy_nearer(tmp_path: Path, model: Path, estimator: str):
    options = {"steps": 4, "learning_rate": 3e-3, "kl_coef": 0.0, "kl_target": 0.0, "max_approx_kl": 0.0}
    free = metrics(carry_out(make_run(tmp_path / "free", model, **options)))
    held = metrics(
        carry_out(make_run(tmp_path / "held", model, **options, kl_loss_coef=20.0, kl_loss_estimator=estimator))
    )
    assert held[-1]["kl_k3"] < 0.7 * free[-1]["kl_k3"]


# --- the reward model's drift


def test_the_parents_own_answers_look_to_the_reward_model_like_themselves(
    tmp_path: Path, model: Path, reward_model: Path
):
    rows = metrics(carry_out(make_run(tmp_path, model, reward_model=reward_model, calibration_episodes=64, steps=1)))
    assert rows[0]["input_distance"] == pytest.approx(1.0, abs=0.25)
    assert rows[0]["input_shift"] < 0.9  # four answers: half a deviation by chance
    assert 0 <= rows[0]["score_outside"] <= 1


def test_answers_that_moved_show_in_what_the_reward_model_reads():
    inputs = torch.randn(64, 20, generator=torch.Generator().manual_seed(0))
    spread = ppo_drift.Spread.of(inputs)

    known = Scorer("known", lambda *_given: None)
    known.model = type("Model", (), {"score_mean": 0.0, "score_std": 1.0})()
    at_home = ppo_drift.figures(known, spread, inputs, torch.zeros(64), {})
    moved = ppo_drift.figures(known, spread, inputs + 2, torch.tensor([5.0] * 16 + [0.0] * 48), {})
    assert at_home["input_shift"] == pytest.approx(0, abs=1e-5) and at_home["input_distance"] == pytest.approx(
        1, abs=0.1
    )
    assert moved["input_shift"] == pytest.approx(2, abs=0.3) and moved["input_distance"] > 1.8
    assert (at_home["score_outside"], moved["score_outside"]) == (0.0, 0.25)


def test_the_inputs_are_those_that_the_reward_model_pools(tmp_path: Path, model: Path, reward_model: Path):
    one = trainer(tmp_path, model, reward_model=reward_model)
    episodes = one.collect([0, 1], one.seeds("i", count=2))
    assert torch.allclose(one.scorer.model.score_from_pooled(episodes.inputs), episodes.scores, atol=1e-4)


def test_prompt_and_answer_stay_within_the_models_window(tmp_path: Path, model: Path):
    """Beyond it rotary positions were never learnt, and others do not exist."""
    shutil.copytree(model, tmp_path / "short")
    config = json.loads((model / "config.json").read_text()) | {"max_position_embeddings": 24}
    (tmp_path / "short" / "config.json").write_text(json.dumps(config))
    run = make_run(tmp_path / "run", tmp_path / "short", max_new_tokens=10)
    one = ppo_rollouts.PPO(run, run.spec(), entry.config_of(run.spec()))
    whole = [loading.encode_prompt(one.tokenizer, messages, 1000) for messages in one.messages]
    assert max(map(len, whole)) > 14 and one.prompts == [ids[-14:] for ids in whole]
    refused = make_run(tmp_path / "refused", tmp_path / "short", max_new_tokens=24)
    assert entry.attempt(ppo.main, refused) != 0
    assert refused.failure()["code"] == "context_too_long" and "12" in refused.failure()["remedy"]
