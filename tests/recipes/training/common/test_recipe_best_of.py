"""Best-of-N keeps the highest score of each group of candidates, as answers or as examples, and depends on the seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.training.ppo_runs import share_of_vowels
from training.core.run_directory import RunDirectory, RunSpec, read_lines
from training.recipes import sample
from training.recipes.best_of import __main__ as best_of
from training.recipes.common import entry

CONFIG = {
    "candidates": 3, "completions_per_prompt": 2, "max_new_tokens": 12, "batch_size": 4,
    "reward_function": "tests.support.training.ppo_runs.share_of_vowels",
}  # fmt: skip
PROMPTS = [{"id": 10 + i, "messages": [{"role": "user", "content": "say " * (i + 1)}]} for i in range(3)]


def _run(path: Path, model: Path, kind: str = "best_of", seed: int = 5, **config: object) -> RunDirectory:
    run = RunDirectory(path)
    run.create(RunSpec(kind, {**CONFIG, **config}, seed=seed, parent=str(model)), {"prompts": iter(PROMPTS)})
    assert entry.attempt(best_of.main, run) == 0, run.failure()
    return run


def test_each_kept_answer_is_the_best_of_its_candidates(tmp_path: Path, model: Path):
    run = _run(tmp_path / "a", model)
    candidates = {(row["prompt_id"], row["index"]): row["text"] for row in read_lines(run.path / "candidates.jsonl")}
    rows = list(read_lines(run.path / "completions.jsonl"))
    assert sorted((r["prompt_id"], r["index"]) for r in rows) == [(p, i) for p in range(10, 13) for i in range(2)]
    for row in rows:
        group = [candidates[row["prompt_id"], 3 * row["index"] + i] for i in range(3)]
        assert row["text"] in group
        assert share_of_vowels([], [row["text"]])[0] == max(share_of_vowels([], group))
    assert run.result()["last_score"] > run.result()["first_score"]
    assert run.result()["last_kl"] == pytest.approx(np.log(3) - 2 / 3)
    other = _run(tmp_path / "b", model, seed=6)
    assert {r["text"] for r in read_lines(other.path / "candidates.jsonl")} != set(candidates.values())


def test_no_candidate_is_an_answer_that_the_model_gives_by_the_same_seed(tmp_path: Path, model: Path):
    """Else the best of several is compared with one of the very answers that it was chosen from."""
    sampled = RunDirectory(tmp_path / "sampled")
    config = {"completions_per_prompt": 2, "max_new_tokens": 12}
    sampled.create(RunSpec("sample", config, seed=5, parent=str(model)), {"prompts": iter(PROMPTS)})
    assert entry.attempt(sample.main, sampled) == 0, sampled.failure()
    drawn = [sampled.path / "completions.jsonl"]
    for kind in ("best_of", "rejection"):
        drawn.append(_run(tmp_path / kind, model, kind, completions_per_prompt=1).path / "candidates.jsonl")
    seeds = [row["seed"] for path in drawn for row in read_lines(path)]
    assert len(seeds) == len(set(seeds)) == 6 + 9 + 9


def test_rejection_sampling_leaves_examples_of_the_prompts_that_the_seed_draws(tmp_path: Path, model: Path):
    run = _run(tmp_path / "a", model, "rejection", completions_per_prompt=1, max_prompts=2)
    examples = list(read_lines(run.dataset / "examples.jsonl"))
    assert run.result()["counts"]["examples"] == len(examples) == 2
    assert all(e["prompt"] in [p["messages"] for p in PROMPTS] and e["completion"] for e in examples)
    assert run.result()["candidates"] == 6


def test_of_equal_scores_the_first_candidate_is_kept():
    rows = [{"prompt_id": p, "index": i} for p in (2, 1) for i in range(4)]
    assert best_of.best(rows, np.zeros(8), 2) == [4, 6, 0, 2]
    assert best_of.best(rows, np.array([0, 1, 5, 0, 0, 0, 0, 9.0]), 2) == [4, 7, 1, 2]
