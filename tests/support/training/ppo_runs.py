"""Builders for tests of the PPO recipe: short runs of the tiny model, and what they left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny_model import NO_FLUENCY_BOUNDS
from training.core.run_directory import RunDirectory, RunSpec, read_lines
from training.recipes.common import adapters, entry, loading
from training.recipes.ppo import __main__ as ppo
from training.recipes.reward.reward_model import RewardModel

PROMPTS = [{"id": i, "messages": [{"role": "user", "content": f"say {word}"}]} for i, word in enumerate("abcdef")]
CONFIG = {
    "reward_function": "tests.recipes.training.ppo.test_recipe_ppo.share_of_vowels", "steps": 3, "batch_size": 4,
    "max_new_tokens": 10, "calibration_episodes": 8, "learning_rate": 1e-3, "sample_prompts": 2, "samples_every": 2,
    "stop_kl": 0.0, "min_distinct_ratio": 0.0, "review_every": 0, **NO_FLUENCY_BOUNDS,
}  # fmt: skip
# Runs past a bound on the KL of 1 nat within a few steps.
RUNAWAY = {
    "steps": 20, "learning_rate": 2e-2, "stop_kl": 1.0, "kl_coef": 0.0, "kl_target": 0.0, "max_approx_kl": 0.0,
    "learning_rate_schedule": "constant",
}  # fmt: skip


def make_run(path: Path, model: Path, *, other: dict[str, Iterable[dict[str, Any]]] | None = None, **config: Any):
    reward_model = config.pop("reward_model", "")
    if reward_model:
        config.setdefault("reward_function", "")
    run = RunDirectory(path)
    spec = RunSpec("ppo", {**CONFIG, **config}, seed=3, parent=str(model), reward_model=str(reward_model))
    data = {"prompts": iter(PROMPTS), **{f"other/{name}": iter(rows) for name, rows in (other or {}).items()}}
    (path / "data" / "other").mkdir(parents=True)
    run.create(spec, data)
    return run


def carry_out(run: RunDirectory) -> RunDirectory:
    assert entry.attempt(ppo.main, run) == 0, run.failure()
    return run


@contextmanager
def killed_after(last_step: int) -> Iterator[None]:
    """Kill the run that is carried out within the block in mid-step: after its update and its log line, before the
    checkpoint."""
    original = ppo._log

    def log(trainer: Any, step: int, *rest: Any) -> None:
        original(trainer, step, *rest)
        if step == last_step:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ppo, "_log", log)
        yield


def choose(run: RunDirectory, name: str, **changes: Any) -> RunDirectory:
    """What the supervisor does when somebody has chosen at a pause."""
    pause = run.paused()
    assert pause is not None
    choice = next(c for c in pause["choices"] if c["name"] == name)
    told = {key: pause[key] for key in ("code", "step", "message")}
    amendment = {**told, "action": choice["action"], "changes": {**choice["changes"], **changes}}
    run.amend([*run.amendments(), amendment])
    (run.path / "paused.json").unlink()
    return carry_out(run)


def metrics(run: RunDirectory) -> list[dict[str, Any]]:
    return [{"step": row["step"], **row["values"]} for row in read_lines(run.path / "metrics.jsonl")]


def weights(run: RunDirectory) -> dict[str, torch.Tensor]:
    return dict(adapters.merged_state(run.model))


def same_weights(one: RunDirectory, other: RunDirectory) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def reward_head(folder: Path, trunk: Path, width: int = 64) -> Path:
    """Save a reward model with two heads drawn at random, on the mean of a trunk's layer 1."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(1)
    weight, gold = (torch.randn(width, generator=generator) for _ in range(2))
    RewardModel(
        "head", ((1, "mean"),), weight, torch.zeros(1), torch.zeros(width), torch.ones(width), str(trunk),
        loading.weights_hash(trunk), 64, 64, gold_weight=gold, gold_bias=torch.zeros(1),
    ).save(folder)  # fmt: skip
    return folder


def share_of_vowels(prompts: list[list[dict]], completions: list[str]) -> list[float]:
    """A reward that knows no Django, for recipes in a process of their own."""
    return [sum(c in "aeiou" for c in text.lower()) / max(1, len(text)) for text in completions]
