"""A reward model on a tiny trunk with random weights, small enough to be made in a test."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.support import tiny_model
from training.recipes.common import loading
from training.recipes.reward.reward_model import RewardModel

WIDTH = 64


def make(folder: Path) -> Path:
    trunk = tiny_model.make(folder / "trunk-of-it")
    place = folder / "reward"
    place.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    RewardModel(
        method="head", features=((1, "mean"),), weight=torch.randn(WIDTH, generator=generator), bias=torch.zeros(1),
        feature_mean=torch.zeros(WIDTH), feature_std=torch.ones(WIDTH), trunk_folder=str(trunk),
        trunk_hash=loading.weights_hash(trunk), max_prompt_tokens=64, max_completion_tokens=64, empty_score=-9.0,
        score_std=2.0,
    ).save(place)  # fmt: skip
    return place
