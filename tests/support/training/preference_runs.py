"""Run directories with annotations of a tiny model's answers: people like what is made of "a" and "b"."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.core.run_directory import RunDirectory, RunSpec

LIKED, DISLIKED = "abababab", "xyzzyxyz"


def prompt(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"Say {number}"}]


def make(folder: Path, kind: str, parent: Path, prompts: int = 24, seed: int = 1, **config: Any) -> RunDirectory:
    """Each prompt has one liked and one disliked answer, a comparison between them, and a thumb on each."""
    completions, comparisons, ratings = [], [], []
    for number in range(prompts):
        good, bad = 2 * number + 1, 2 * number + 2
        for pk, text in ((good, LIKED), (bad, DISLIKED)):
            completions.append({"id": pk, "prompt_id": number, "prompt": prompt(number), "text": text})
        a, b, winner = (good, bad, "model_a") if number % 2 else (bad, good, "model_b")
        comparisons.append(
            {"prompt_id": number, "completion_a": a, "completion_b": b, "winner": winner, "strength": 2, "author": 1}
        )
        ratings += [{"completion": good, "thumbs": True, "stars": None, "author": 1}]
        ratings += [{"completion": bad, "thumbs": False, "stars": None, "author": 1}]
    run = RunDirectory(folder)
    run.create(
        RunSpec(kind, config, seed=seed, parent=str(parent)),
        {"completions": iter(completions), "comparisons": iter(comparisons), "ratings": iter(ratings)},
    )
    return run


def metrics(run: RunDirectory) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.path / "metrics.jsonl").open(encoding="utf-8")]
