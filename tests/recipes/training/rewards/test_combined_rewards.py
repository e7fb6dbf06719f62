"""Rewards of several parts: their sum, an ensemble's spread, and that every kind of run follows them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.support.training import ppo_runs
from training.configs import parse
from training.configs.rewards import part_lines
from training.core.run_directory import RunDirectory, RunSpec, read_lines
from training.recipes import grpo
from training.recipes.best_of import __main__ as best_of
from training.recipes.common import entry
from training.recipes.reward.reward_model import RewardModel
from training.recipes.rewards import part_scores
from training.recipes.rewards.part_scores import Ensemble, Parts, PartScore
from training.recipes.rewards.scoring import Scorer, scorer_for, text_scorer_for

pytestmark = pytest.mark.usefixtures("one_thread")

PROMPTS = [{**row, "answer": str(i % 2)} for i, row in enumerate(ppo_runs.PROMPTS)]
ASKED = [row["messages"] for row in PROMPTS[:3]]
TEXTS = ["it is 0", "no", "0 or 1?"]
SHORT = {"batch_size": 4, "max_new_tokens": 6, "trust_unproven_reward": True}


def spec_of(model: Path, kind: str = "ppo", heads: dict[str, Path] | None = None, own: str = "", **config) -> RunSpec:
    named = {name: {"folder": str(folder), "hash": "f" * 64} for name, folder in (heads or {}).items()}
    config = {**SHORT, **config} if kind != "ppo" else {**ppo_runs.CONFIG, "reward_function": "", **SHORT, **config}
    return RunSpec(kind, config, seed=3, parent=str(model), reward_model=own, reward_models=named)


@pytest.fixture(scope="module")
def heads(model: Path, tmp_path_factory) -> dict[str, Path]:
    """Two reward models on the parent, the second with another head."""
    folder = tmp_path_factory.mktemp("heads")
    made = {name: ppo_runs.reward_head(folder / name, model) for name in ("one", "other")}
    other = RewardModel.load(made["other"])
    other.weight, other.score_mean, other.score_std = -other.weight, 0.5, 2.0
    other.save(made["other"])
    return made


def told(value: list[float], **more) -> part_scores.Scoring:
    return lambda answered: PartScore(torch.tensor(value), **more)


def test_the_sum_is_of_weights_times_values_within_limits():
    parts = part_lines.read_parts("number weight=2 high=0.5\nlength maximum=1 weight=-1\nlength maximum=2 low=0.25")
    done = Parts(parts, [told([1.0, 0.0]), told([1.0, 0.0]), told([0.0, 1.0])], {})(ASKED[:2], TEXTS[:2])
    assert done.scores.tolist() == [2 * 0.5 - 1 + 0.25, 1.0]
    assert {name: values.tolist() for name, values in done.figures.items()} == {
        "reward_number": [0.5, 0.0], "reward_length": [1.0, 0.0], "reward_length_2": [0.25, 1.0],
    }  # fmt: skip
    assert done.gold is None


def test_a_second_head_stands_in_for_the_first_and_the_other_parts_stay():
    parts = part_lines.read_parts("reward_model\nnumber weight=2")
    done = Parts(parts, [told([1.0], gold=torch.tensor([-5.0])), told([1.0])], {})(ASKED[:1], TEXTS[:1])
    assert (done.scores.tolist(), done.gold.tolist()) == ([3.0], [-3.0 + 2.0]), "within the same limits"


def test_an_ensemble_is_the_mean_less_the_penalised_spread(heads):
    models = [RewardModel.load(folder) for folder in heads.values()]
    answered = part_scores.Answered(ASKED, TEXTS, [""] * 3, {}, None)
    done = Ensemble(models, [False, False], 0.5)(answered)
    z = torch.stack([(model.score(ASKED, TEXTS) - model.score_mean) / model.score_std for model in models])
    spread = (z[0] - z[1]).abs() / 2
    assert torch.allclose(done.spread, spread) and float(spread.min()) > 0
    assert torch.allclose(done.value, z.mean(0) - 0.5 * spread)


def test_a_part_that_is_no_number_is_named():
    parts = part_lines.read_parts("number\nlength maximum=3")
    with pytest.raises(part_scores.RecipeFailure, match="part length"):
        Parts(parts, [told([1.0]), told([float("nan")])], {})(ASKED[:1], TEXTS[:1])


def test_one_reward_model_is_scored_as_before_there_were_parts(model, heads):
    config = parse("ppo", {})
    scorer = scorer_for(spec_of(model, own=str(heads["other"])), config)
    assert type(scorer) is Scorer, "nothing of the parts runs by default"
    head = RewardModel.load(heads["other"])
    by_text = text_scorer_for(spec_of(model, "grpo", own=str(heads["other"])), parse("grpo", {}))
    one_part = text_scorer_for(
        spec_of(model, "grpo", own=str(heads["other"])), parse("grpo", {"rewards": "reward_model low=none high=none"})
    )
    standardised = (head.score(ASKED, TEXTS) - head.score_mean) / head.score_std
    assert torch.equal(by_text(ASKED, TEXTS).scores, standardised)
    assert torch.equal(one_part(ASKED, TEXTS).scores, standardised)


def rows(run: RunDirectory, name: str) -> list[dict]:
    return list(read_lines(run.path / f"{name}.jsonl"))


REWARDS = "reward_model models=one,other spread_penalty=0.5\nnumber weight=2\nregex pattern='[aeiou]' weight=0.5"


def test_ppo_follows_the_sum_and_shows_each_part(tmp_path, model, heads):
    run = RunDirectory(tmp_path / "run")
    run.create(spec_of(model, heads=heads, own=str(heads["one"]), rewards=REWARDS), {"prompts": iter(PROMPTS)})
    ppo_runs.carry_out(run)
    for row in ppo_runs.metrics(run):
        total = row["reward_reward_model"] + 2 * row["reward_number"] + 0.5 * row["reward_regex"]
        assert row["raw_score_mean"] == pytest.approx(total, abs=1e-5)
        assert row["spread_reward_model"] > 0 and 0 <= row["score_outside"] <= 1
        assert "gold_behind" in row, "the second heads watch the sum"
    assert all(set(row["parts"]) == {"reward_model", "spread_reward_model", "number", "regex"}
               for row in rows(run, "samples"))  # fmt: skip
    result = run.result()
    assert result["rewards"] == parse("ppo", {"rewards": REWARDS}).rewards.splitlines()
    assert result["reward_models"] == {"one": "f" * 64, "other": "f" * 64}
    twin = RunDirectory(tmp_path / "twin")
    twin.create(spec_of(model, heads=heads, own=str(heads["one"]), rewards=REWARDS), {"prompts": iter(PROMPTS)})
    assert ppo_runs.same_weights(run, ppo_runs.carry_out(twin)), "the same seed gives the same bits"


def test_grpo_follows_the_sum_and_shows_each_part(tmp_path, model):
    run = RunDirectory(tmp_path / "run")
    config = {"steps": 2, "group_size": 2, "rewards": "number\nlength minimum=2 weight=0.5", "sample_every": 1}
    run.create(spec_of(model, "grpo", **config), {"prompts": iter(PROMPTS)})
    assert entry.attempt(grpo.main, run) == 0, run.failure()
    for row in ppo_runs.metrics(run):
        assert row["score_mean"] == pytest.approx(row["reward_number"] + 0.5 * row["reward_length"], abs=1e-5)
    assert all(row["score"] is not None and set(row["parts"]) == {"number", "length"} for row in rows(run, "samples"))


def test_best_of_keeps_by_the_sum(tmp_path, model):
    run = RunDirectory(tmp_path / "run")
    config = {"candidates": 4, "rewards": "regex pattern='[aeiou]'\nlength minimum=2 weight=0.1"}
    run.create(spec_of(model, "best_of", **config), {"prompts": iter(PROMPTS)})
    assert entry.attempt(best_of.main, run) == 0, run.failure()
    means = run.result()["parts"]
    assert means["regex"]["kept"] >= means["regex"]["candidates"]
    assert run.result()["last_score"] == pytest.approx(means["regex"]["kept"] + 0.1 * means["length"]["kept"])


def test_prompts_without_answers_are_told_before_anything_is_loaded(tmp_path, model):
    run = RunDirectory(tmp_path / "run")
    bare = [*PROMPTS[:2], *ppo_runs.PROMPTS[2:]]
    run.create(spec_of(model, rewards="length maximum=3\nnumber"), {"prompts": iter(bare)})
    assert entry.attempt(ppo_runs.ppo.main, run) == 1
    failure = json.loads((run.path / "failure.json").read_text())
    assert failure["code"] == "no_answers" and "4 of 6" in failure["message"] and "rewards[1]" in failure["message"]
