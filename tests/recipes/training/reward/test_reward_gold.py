"""The second head of a reward model: of other annotations, on the same features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.recipes.training.reward.test_recipe_reward import judged_data, make_run
from tests.support import tiny_model
from tests.support.training.reward_of_two_penalties import draw_few, try_few
from training.configs import parse
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec
from training.recipes.common import entry
from training.recipes.reward import __main__ as reward
from training.recipes.reward import feedback_rows as reward_data
from training.recipes.reward import gold_head as reward_gold
from training.recipes.reward import head_fit
from training.recipes.reward.designs.design import Design
from training.recipes.reward.feedback_likelihood import TODAY
from training.recipes.reward.reward_model import RewardModel
from training.recipes.rewards.scoring import scorer_for

pytestmark = pytest.mark.usefixtures("one_thread", "few_trials")
TEXTS = ["AAAAAAAA", "zzzzzzzz", ""]
PROMPTS = [[{"role": "user", "content": "Hello"}]] * 3
CONFIG: dict[str, Any] = {"features": "last", "curve": False}


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.make(tmp_path_factory.mktemp("gold") / "tiny")


@pytest.fixture(scope="module")
def done(parent: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    run = make_run(tmp_path_factory.mktemp("gold-run") / "head", parent, judged_data(60), **CONFIG, method="head")
    with pytest.MonkeyPatch.context() as patch:
        try_few(patch)
        draw_few(patch, resamples=200)
        assert entry.attempt(reward.main, run) == 0, run.failure()
    return run


def test_a_reward_run_keeps_a_second_head_and_says_how_good_it_is(done: RunDirectory):
    gold_proxy = done.result()["gold_proxy"]
    assert (gold_proxy["prompts"], gold_proxy["lack"]) == (15, "") and gold_proxy["judgements"] == 15 * 11
    assert gold_proxy["thumbs_auc"]["lower"] > 0.6 and gold_proxy["slope"]["lower"] > 0
    assert 0.3 < gold_proxy["correlation"] < 1
    model = RewardModel.load(done.model)
    assert model.has_gold
    scores, gold = model.score_both(PROMPTS, TEXTS)
    torch.testing.assert_close(scores, model.score(PROMPTS, TEXTS))
    assert gold[0] > gold[1] and not torch.equal(gold, scores)
    assert float(gold[2]) == pytest.approx(model.gold_empty_score)


@pytest.mark.thorough
@pytest.mark.usefixtures("few_resamples")
def test_no_annotation_teaches_both_heads(done: RunDirectory, parent: Path, tmp_path: Path):
    """Turning every held-out annotation round leaves the first head as it is and turns the second."""
    feedback = reward_data.read_feedback(done)
    training = reward_data.split(feedback, 0.25, 3)
    held_out = set(feedback.prompts[~training].tolist())
    data = judged_data(60)
    prompt_of = {row["id"]: row["prompt_id"] for row in data["completions"]}
    for row in data["comparisons"]:
        if row["prompt_id"] in held_out:
            row["winner"] = {"model_a": "model_b", "model_b": "model_a"}.get(row["winner"], row["winner"])
    for row in data["ratings"]:
        if prompt_of[row["completion"]] in held_out:
            row["thumbs"], row["stars"] = not row["thumbs"], 6 - row["stars"]
    features = RewardModel.load(done.model)
    again = make_run(tmp_path / "turned", parent, data, **CONFIG, method="head")
    assert entry.attempt(reward.main, again) == 0, again.failure()
    turned = RewardModel.load(again.model)
    torch.testing.assert_close(turned.weight, features.weight)
    assert not turned.has_gold and "chance" in again.result()["gold_proxy"]["lack"]
    assert again.result()["beats_chance"] is False


def test_on_the_first_heads_features_it_gives_the_scores_that_it_was_fitted_to(done: RunDirectory):
    generator = torch.Generator().manual_seed(0)
    pooled = torch.randn(40, 6, generator=generator) * 3 + 1
    feedback = reward_data.read_feedback(done)
    rows = torch.arange(40)
    observed = feedback.observed.among(torch.arange(len(feedback.completions)) < 40)
    training = rows < 20
    head = head_fit.fit(Design.of(pooled, rows[~training]), observed.among(training), 1.0, priors=TODAY)
    first = Design.of(pooled, rows[training])
    model = RewardModel(
        "head", ((1, "mean"),), torch.zeros(6), torch.zeros(1), first.mean.float(), first.std.float(), "", "", 8, 8
    )
    reward_gold.keep(model, reward_gold.GoldProxy(1, 1, head=head), pooled, training)
    wanted = head.scores(pooled)
    centred = (wanted - wanted[training].mean()).float()
    torch.testing.assert_close(model.gold_from_pooled(pooled), centred, rtol=1e-4, atol=1e-5)


@pytest.mark.thorough
@pytest.mark.usefixtures("few_resamples")
def test_too_few_annotations_teach_no_second_head(parent: Path, tmp_path: Path):
    run = make_run(tmp_path / "few", parent, **CONFIG, method="head", held_out=0.05)
    assert entry.attempt(reward.main, run) == 0, run.failure()
    assert run.result()["gold_proxy"]["lack"].startswith("22 annotations")
    model = RewardModel.load(run.model)
    assert not model.has_gold
    with pytest.raises(RecipeFailure, match="no second head"):
        model.gold_from_pooled(torch.zeros(1, len(model.weight)))


@pytest.mark.thorough
@pytest.mark.usefixtures("few_resamples")
def test_a_finetuned_trunk_has_one_too(parent: Path, tmp_path: Path):
    run = make_run(tmp_path / "tuned", parent, judged_data(60), **CONFIG, method="finetune", epochs=0.3)
    assert entry.attempt(reward.main, run) == 0, run.failure()
    scorer = scorer_for(RunSpec("ppo", {}, parent=str(parent), reward_model=str(run.model)), parse("ppo", {}))
    rollout = type("Rollout", (), {"ids": torch.zeros(1)})()
    scored = scorer.scored(PROMPTS, TEXTS, {}, rollout)
    scores, gold = scored.scores, scored.gold
    assert gold is not None and gold[0] > gold[1]
    torch.testing.assert_close(scores, RewardModel.load(run.model).score(PROMPTS, TEXTS))


def test_a_function_has_no_second_opinion(parent: Path):
    by_function = parse("ppo", {"reward_function": "tests.support.training.ppo_runs.share_of_vowels"})
    scorer = scorer_for(RunSpec("ppo", {}, parent=str(parent)), by_function)
    rollout = type("Rollout", (), {"ids": torch.zeros(1)})()
    scored = scorer.scored(PROMPTS, TEXTS, {}, rollout)
    scores, gold = scored.scores, scored.gold
    assert gold is None and scores.shape == (3,)
