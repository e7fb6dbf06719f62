"""Tiny runs of several processes that hold shares of a model, carried out, killed and resumed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import torch
from torch import Tensor

from tests.support.fork_servers import forked
from tests.support.processes import free_port, until
from tests.support.training import corpora, killed_at_checkpoint, ppo_runs, preference_runs, rank
from training.core import kept_steps
from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.common.adapters import merged_state
from training.runs.launchers.forked_process import ForkedProcess

KEPT = {"kept_checkpoints": 2}
PRETRAIN = {
    "size": "1M", "context_length": 64, "batch_size": 8, "max_tokens": 2560, "dtype": "float32", "validate_every": 3,
    "checkpoint_every": 2, "sample_every": 4, "sample_tokens": 4,
}  # fmt: skip
SFT = {
    "epochs": 1.0, "batch_size": 4, "learning_rate": 5e-3, "checkpoint_every": 2, "sample_every": 4,
    "sample_tokens": 4, "evaluate_every": 2, "held_out": 0.4, **KEPT,
}  # fmt: skip


# Figures of a PPO step: of what was drawn, of the update, and of what it left.
PPO_FIGURES = (
    *("score_mean", "kl", "surprise", "entropy", "input_distance", "policy_loss", "value_loss", "ptx_loss"),
    *("approx_kl", "clip_frac", "grad_norm", "explained_variance", "ptx_held_out_loss", "gold_score"),
)


def lay_pretrain(folder: Path, tokenizer: Path, **config: object) -> RunDirectory:
    run = RunDirectory(folder)
    run.create(RunSpec("pretrain", PRETRAIN | config, seed=1, parent=str(tokenizer)))
    corpora.write_corpus(folder / "data", corpora.texts(160), corpora.texts(12, seed=9))
    return run


def lay_domain(folder: Path, parent: Path, **config: object) -> RunDirectory:
    run = RunDirectory(folder)
    chosen = {"context_length": 64, "batch_size": 4, "learning_rate": 5e-3, "dtype": "float32", "max_tokens": 1280}
    run.create(RunSpec("domain", chosen | {"sample_tokens": 4} | KEPT | config, seed=3, parent=str(parent)))
    corpora.write_corpus(folder / "data", corpora.texts(40, seed=4), corpora.texts(6, seed=9))
    return run


def lay_sft(folder: Path, parent: Path, **config: object) -> RunDirectory:
    """Of 30 examples 12 are held out; the last batch of 4 has 2, so that of 4 processes two have nothing to do."""
    run = RunDirectory(folder)
    rows = [
        {"prompt": [{"role": "user", "content": f"Say it {i}"}], "completion": "abab" + "abab"[: i % 4]}
        for i in range(30)
    ]
    run.create(RunSpec("sft", SFT | config, seed=1, parent=str(parent)), {"examples": rows})
    return run


def lay_reward(folder: Path, parent: Path, **config: object) -> RunDirectory:
    """Answers of As, which are liked, or of zs; one prompt in ten is judged the other way round."""
    run = RunDirectory(folder)
    completions, comparisons, ratings = [], [], []
    for prompt in range(32):
        messages = [{"role": "user", "content": f"Prompt {prompt}"}]
        texts = ("A" * (6 + prompt % 5), "z" * (6 + prompt % 3))
        ids = (2 * prompt, 2 * prompt + 1)
        for i, text in zip(ids, texts, strict=True):
            completions.append({"id": i, "prompt_id": prompt, "prompt": messages, "text": text})
        is_odd = prompt % 10 == 0
        winner = "model_b" if is_odd else "model_a"
        comparisons.append(
            {"prompt_id": prompt, "completion_a": ids[0], "completion_b": ids[1], "winner": winner, "strength": None}
            | {"author": 1}
        )
        for i in ids:
            good = (i % 2 == 0) != is_odd
            ratings.append({"completion": i, "thumbs": good, "stars": 4 if good else 2, "author": 2})
    chosen = {
        "held_out": 0.25, "batch_size": 8, "method": "finetune", "features": "last", "curve": False,
        "learning_rate": 2e-5, "epochs": 1, "checkpoint_every": 4,
    }  # fmt: skip
    run.create(
        RunSpec("reward", chosen | config, seed=3, parent=str(parent)),
        {"completions": iter(completions), "comparisons": iter(comparisons), "ratings": iter(ratings)},
    )
    return run


def lay_preference(folder: Path, kind: str, parent: Path, **config: object) -> RunDirectory:
    """Of 11 prompts one is held out."""
    chosen = {
        "epochs": 1.0, "batch_size": 4, "learning_rate": 2e-5 if config["adapters"] == "full" else 2e-4,
        "checkpoint_every": 2, "sample_every": 3, "sample_tokens": 4, **KEPT,
    }  # fmt: skip
    return preference_runs.make(folder, kind, parent, prompts=11, **(chosen | config))


def lay_group(folder: Path, kind: str, parent: Path, **config: object) -> RunDirectory:
    """Twelve answers a step in groups of four: of two processes each has half of the second group."""
    run = RunDirectory(folder)
    chosen = {
        "reward_function": "tests.support.training.ppo_runs.share_of_vowels", "steps": 3, "batch_size": 12,
        "group_size": 4, "max_new_tokens": 6, "learning_rate": 1e-3, "checkpoint_every": 1,
        "sample_every": 3, **KEPT,
    }  # fmt: skip
    run.create(RunSpec(kind, chosen | config, seed=3, parent=str(parent)), {"prompts": iter(ppo_runs.PROMPTS)})
    return run


def lay_ppo(folder: Path, parent: Path, **config: object) -> RunDirectory:
    """Six answers a step in two minibatches: of four processes some have none of a minibatch. The parent is measured in
    two batches, the last of two answers; each step asks for a review."""
    chosen: dict[str, object] = {
        "steps": 2, "batch_size": 6, "epochs": 2, "minibatches": 2, "calibration_episodes": 8, "learning_rate": 1e-3,
        "samples_every": 2, "ptx_coef": 0.05, "max_approx_kl": 0.0, "review_every": 1, "review_samples": 2, **KEPT,
    }  # fmt: skip
    if "reward_model" not in config:
        chosen["reward_function"] = "tests.support.training.ppo_runs.share_of_vowels"
    return ppo_runs.make_run(folder, parent, **(chosen | config))


def carry_out(run: RunDirectory, module: str, count: int, *, is_killed: bool = False, dtype: str = "float32") -> int:
    """Return the exit status of a recipe in so many processes, however many its config names.

    They are forked, which saves each the seconds that torch takes to load. That launchers start the same is what
    test_processes holds.
    """
    variables = {
        "ASSAY_DTYPE": dtype, killed_at_checkpoint.RECIPE: module,
        killed_at_checkpoint.FILE: "finetune.pt" if ".reward" in module else "state.pt",
    }  # fmt: skip
    group = {
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    with (run.path / "log.txt").open("ab") as log:
        ranks = [
            forked(
                rank.__name__,
                json.dumps(variables | group | {"RANK": str(i), "LOCAL_RANK": str(i)}),
                killed_at_checkpoint.__name__ if is_killed else module,
                str(run.path),
                log=log,
            )
            for i in range(count)
        ]
    return _end_of(ranks)


def _end_of(ranks: list[ForkedProcess]) -> int:
    """Wait for all. Return the exit status of the first that failed, and kill the others then, as launchers do."""
    codes = until(lambda: _codes_of(ranks), 300, "the recipe has ended")
    for process in ranks:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(60)
    assert isinstance(codes, list)
    return next((code for code in codes if code), 0)


def _codes_of(ranks: list[ForkedProcess]) -> list[int | None]:
    """Return the exit statuses once all have ended or one has failed, else nothing."""
    codes = [process.poll() for process in ranks]
    return codes if all(code is not None for code in codes) or any(codes) else []


def curve(run: RunDirectory, name: str) -> list[float]:
    rows = [json.loads(line)["values"] for line in (run.path / "metrics.jsonl").open()]
    return [row[name] for row in rows if name in row]


def weights_of(run: RunDirectory) -> dict[str, Tensor]:
    """Return the weights of what a run has saved: of a reward model those of its trunk."""
    trunk = run.model / "trunk"
    return dict(merged_state(trunk if trunk.is_dir() else run.model))


def is_same_but_for_rounding(one: RunDirectory, other: RunDirectory) -> bool:
    """Return whether the weights of two saved models, and of those kept on the way, are the same but for rounding.

    A weight may differ by a step of bfloat16, which is relative to its size, and by what float32 and an adapter's
    rounded factors add. Adam divides by a gradient's size, so that a gradient of nearly nothing carries its rounding
    further: of 10,000 weights one may differ by four times as much."""
    kept = zip(kept_steps.models(one), kept_steps.models(other), strict=True)
    pairs = [(weights_of(one), weights_of(other)), *([dict(merged_state(folder)) for folder in pair] for pair in kept)]
    assert all(ours.keys() == theirs.keys() for ours, theirs in pairs)
    for ours, theirs in pairs:
        steps = torch.cat([((ours[n] - theirs[n]).abs() / (ours[n].abs() * 2**-7 + 1e-4)).flatten() for n in ours])
        if not (steps <= 4).all() or (steps > 1).float().mean() > 1e-4:
            return False
    return True


def largest_difference(one: RunDirectory, other: RunDirectory) -> float:
    """Return the largest difference between any two weights of two saved models."""
    ours, theirs = weights_of(one), weights_of(other)
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)
