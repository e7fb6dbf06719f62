"""Score answers by a reward model, some at a time, with progress."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from training.core.run_directory import Row, RunDirectory
from training.recipes.reward.reward_model import RewardModel
from training.recipes.rewards.scoring import checked


def scores_of(
    run: RunDirectory, model: RewardModel, asked: Sequence[tuple[list[Row], str]], batch_size: int
) -> np.ndarray:
    """Return (N,) raw scores of (prompt, answer), in the order given. Raises RecipeFailure when one is no number."""
    scores: list[float] = []
    step = max(batch_size, 1) * 8
    for start in range(0, len(asked), step):
        piece = asked[start : start + step]
        score = model.score([prompt for prompt, _ in piece], [text for _, text in piece], batch_size)
        scores += checked(score, len(piece), "The reward model").tolist()
        run.progress("scoring answers", len(scores), len(asked))
    return np.array(scores)


def identity_of(model: RewardModel) -> str:
    """Return its trunk and its head, by the first digits of their hashes."""
    head = hashlib.sha256(model.weight.detach().cpu().numpy().tobytes()).hexdigest()
    return f"reward model {model.trunk_hash[:12]}-{head[:8]}"
