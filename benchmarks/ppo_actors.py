"""PPO with rollouts by the learner itself, and by processes beside it: `python -m benchmarks.ppo_actors [MODEL]`.

The same prompts, seeds and taste, each way in turn: drawn by the learner; by actors that wait for each update; by
actors a step behind, with truncated importance weights and without any. Prints score and KL of the last step (which is
drawn by the policy as it is), the score at one and the same KL, how far sampler and learner are apart, wall and
processor seconds of all processes. Without a MODEL it takes the tests' tiny one.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.ppo_work import NOUNS
from tests.support import tiny_model
from training.core.run_directory import RunDirectory, RunSpec, read_lines
from training.recipes.common import entry
from training.recipes.ppo import __main__ as ppo

TINY = {
    "reward_function": "tests.support.training.ppo_runs.share_of_vowels", "batch_size": 32, "max_new_tokens": 16,
    "calibration_episodes": 64, "learning_rate": 5e-4, "adapters": "lora", **tiny_model.NO_FLUENCY_BOUNDS,
}  # fmt: skip
REAL = {
    "reward_function": "benchmarks.ppo_taste.short_words", "batch_size": 16, "max_new_tokens": 32,
    "calibration_episodes": 32,
}  # fmt: skip
COMMON = {"at_bound": "finish", "stop_kl": 0.0, "review_every": 0, "sample_prompts": 0, "held_out_prompts": 0,
          "kl_target": 0.0, "min_distinct_ratio": 0.0}  # fmt: skip
HEADS = ("way", "score", "KL", "score at that KL", "gap", "sampler KL", "truncated", "wall s", "processor s")


@dataclass(frozen=True)
class Way:
    name: str
    config: dict[str, Any]


WAYS = (
    Way("the learner itself", {}),
    Way("the learner itself, weighted", {"importance_cap": 2.0}),
    Way("1 actor, staleness 0", {"actors": 1, "staleness": 0}),
    Way("1 actor, staleness 1", {"actors": 1, "staleness": 1}),
    Way("1 actor, staleness 1, no weights", {"actors": 1, "staleness": 1, "importance_cap": 0.0}),
    Way("3 actors, staleness 1", {"actors": 3, "staleness": 1}),
)


@dataclass
class Outcome:
    """What one way gave, a list of its steps for each seed."""

    rows: list[list[dict[str, float]]] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def last(self, name: str) -> float:
        return statistics.mean(rows[-1][name] for rows in self.rows)

    def mean(self, name: str) -> float:
        """Return the mean over the steps that another step's weights may have drawn: all but the first and the last."""
        return statistics.mean(row.get(name, 0.0) for rows in self.rows for row in rows[1:-1])

    def score_at(self, kl: float) -> float:
        return statistics.mean(score_at(rows, kl) for rows in self.rows)


def score_at(rows: Sequence[dict[str, float]], kl: float) -> float:
    """Return the score where the run first had this KL, between its steps by a straight line; else its last."""
    for before, after in itertools.pairwise(rows):
        if before["kl_robust"] <= kl <= after["kl_robust"] and after["kl_robust"] > before["kl_robust"]:
            share = (kl - before["kl_robust"]) / (after["kl_robust"] - before["kl_robust"])
            return before["score_mean"] + share * (after["score_mean"] - before["score_mean"])
    return rows[-1]["score_mean"]


def run_once(folder: Path, model: Path, config: dict[str, Any], seed: int, outcome: Outcome) -> None:
    prompts = [
        {"id": i, "messages": [{"role": "user", "content": f"Tell me about the {n}."}]} for i, n in enumerate(NOUNS)
    ]
    run = RunDirectory(folder)
    run.create(RunSpec("ppo", config, seed=seed, parent=str(model)), {"prompts": iter(prompts)})
    started, spent = time.perf_counter(), processor_seconds()
    if entry.attempt(ppo.main, run):
        raise SystemExit(f"{folder}: {run.failure()}")
    outcome.wall.append(time.perf_counter() - started)
    outcome.processor.append(processor_seconds() - spent)
    outcome.rows.append([row["values"] for row in read_lines(run.path / "metrics.jsonl")])


def processor_seconds() -> float:
    """Return what this process and its children that have ended have spent."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def table(outcomes: dict[str, Outcome]) -> str:
    kl = min(outcome.last("kl_robust") for outcome in outcomes.values())
    lines = [f"| {' | '.join(HEADS)} |".replace("that KL", f"KL {kl:.2f}"), "|" + "---|" * len(HEADS)]
    for name, one in outcomes.items():
        figures = (
            f"{one.last('score_mean'):.2f}", f"{one.last('kl_robust'):.2f}", f"{one.score_at(kl):.2f}",
            f"{one.mean('sampler_gap'):.3f}", f"{one.mean('sampler_kl'):.4f}", f"{one.mean('truncated_share'):.2%}",
            f"{statistics.median(one.wall):.0f}", f"{statistics.median(one.processor):.0f}",
        )  # fmt: skip
        lines.append(f"| {' | '.join((name, *figures))} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?", help="a model folder; without one, the tests' tiny model")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="OPTION=VALUE", help="other options of every way")
    parser.add_argument("--only", nargs="*", type=int, help="numbers of the ways, from 0")
    options = parser.parse_args(arguments)
    ways = [WAYS[i] for i in options.only] if options.only else WAYS
    outcomes = {way.name: Outcome() for way in ways}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = options.model or tiny_model.make(folder / "model")
        base = (REAL if options.model else TINY) | COMMON | {"steps": options.steps}
        base |= {name: json.loads(value) for name, _, value in (text.partition("=") for text in options.set)}
        for seed in range(options.seeds):
            for number, way in enumerate(ways):
                run_once(folder / f"{seed}-{number}", model, base | way.config, seed, outcomes[way.name])
                print(table({name: one for name, one in outcomes.items() if one.rows}), flush=True)


if __name__ == "__main__":
    main()
