"""A reward model on disk: aspects beside the score, and a trunk that is found where the data folder has moved."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from tests.support import tiny_model
from training.configs import parse
from training.core.run_directory import RecipeFailure, RunSpec
from training.recipes.common import loading
from training.recipes.reward.reward_model import RewardModel
from training.recipes.rewards.scoring import scorer_for

HELLO = [{"role": "user", "content": "Hello"}]
WIDTH = 64


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A data folder with a trunk and a reward model on it, both where a run would have them."""
    folder = tmp_path_factory.mktemp("data")
    trunk = tiny_model.make(folder / "models" / "tiny")
    place = folder / "runs" / "7" / "model"
    place.mkdir(parents=True)
    model = a_model(trunk)
    model.trunk_folder, model.trunk_was = os.path.relpath(trunk, place), str(trunk)
    model.keep_aspects({"helpful": (torch.ones(WIDTH), 0.5), "true": (-torch.ones(WIDTH), 0.0)})
    model.save(place)
    return folder


def a_model(trunk: Path) -> RewardModel:
    generator = torch.Generator().manual_seed(0)
    return RewardModel(
        method="head", features=((1, "mean"),), weight=torch.randn(WIDTH, generator=generator), bias=torch.zeros(1),
        feature_mean=torch.zeros(WIDTH), feature_std=torch.ones(WIDTH), trunk_folder=str(trunk),
        trunk_hash=loading.weights_hash(trunk), max_prompt_tokens=64, max_completion_tokens=64, empty_score=-9.0,
    )  # fmt: skip


def test_a_moved_data_folder_takes_trunk_and_reward_model_along(data, tmp_path):
    before = RewardModel.load(data / "runs" / "7" / "model").score([HELLO], ["Well met"])
    moved = tmp_path / "elsewhere"
    shutil.copytree(data, moved)
    model = RewardModel.load(moved / "runs" / "7" / "model")
    assert Path(model.trunk_folder) == (moved / "models" / "tiny").resolve()
    torch.testing.assert_close(model.score([HELLO], ["Well met"]), before)


def test_a_reward_model_that_moves_alone_still_finds_its_trunk_where_it_was(data, tmp_path):
    alone = tmp_path / "a" / "b" / "copy"
    shutil.copytree(data / "runs" / "7" / "model", alone)
    assert Path(RewardModel.load(alone).trunk_folder) == (data / "models" / "tiny").resolve()


def test_one_saved_with_an_absolute_folder_is_read_and_may_have_moved_since(data, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(data, moved)
    place = moved / "runs" / "7" / "model"
    facts = json.loads((place / "reward.json").read_text())
    for name in ("trunk_was", "aspects", "aspect_weight", "aspect_bias"):
        facts.pop(name, None)
    for named in (data / "models" / "tiny", Path("/gone") / "data" / "models" / "tiny"):
        (place / "reward.json").write_text(json.dumps(facts | {"trunk_folder": str(named)}))
        path = Path(RewardModel.load(place).trunk_folder)
        assert path == (named if named.exists() else moved / "models" / "tiny").resolve()


def test_a_trunk_that_is_nowhere_is_refused_in_words(data, tmp_path):
    shutil.copytree(data / "runs" / "7" / "model", tmp_path / "model")
    facts = json.loads((tmp_path / "model" / "reward.json").read_text())
    gone = {"trunk_folder": "../gone", "trunk_was": "/gone/away"}
    (tmp_path / "model" / "reward.json").write_text(json.dumps(facts | gone))
    with pytest.raises(RecipeFailure) as caught:
        RewardModel.load(tmp_path / "model").score([HELLO], ["x"])
    assert caught.value.code == "model_missing"


def test_aspects_are_scored_beside_the_quality_and_not_instead(data):
    model = RewardModel.load(data / "runs" / "7" / "model")
    aspects = model.score_aspects([HELLO, HELLO], ["Well met", ""])
    assert list(aspects) == ["helpful", "true"]
    assert aspects["helpful"][0].item() == pytest.approx(0.5 - aspects["true"][0].item(), abs=1e-4)
    assert aspects["helpful"][1].isnan()
    plain = a_model(Path(model.trunk_folder))
    torch.testing.assert_close(plain.score([HELLO], ["Well met"]), model.score([HELLO], ["Well met"]))
    assert plain.score_aspects([HELLO], ["Well met"]) == {}


def test_ppo_may_ask_a_scorer_for_aspects(data):
    place = data / "runs" / "7" / "model"
    other = tiny_model.make(data / "models" / "other", seed=1)
    scorer = scorer_for(RunSpec("ppo", {}, parent=str(other), reward_model=str(place)), parse("ppo", {}))
    aspects = scorer.aspects([HELLO], ["Well met"], {}, None)
    torch.testing.assert_close(aspects["true"], RewardModel.load(place).score_aspects([HELLO], ["Well met"])["true"])
    by_function = parse("ppo", {"reward_function": "math.fsum"})
    assert scorer_for(RunSpec("ppo", {}, parent=str(other)), by_function).aspects([HELLO], ["x"], {}, None) == {}


def test_completions_of_one_prompt_score_as_they_do_alone(data):
    model = RewardModel.load(data / "runs" / "7" / "model")
    texts = ["Well met", "No", "A longer answer than the others", ""]
    together = model.score([HELLO] * 4, texts)
    alone = torch.cat([model.score([HELLO], [text]) for text in texts])
    torch.testing.assert_close(together, alone, atol=0.05, rtol=0.02)
    assert together[3] == model.empty_score
