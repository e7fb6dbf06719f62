"""What PPO's controls do at both ends of their sizes: `python -m benchmarks.ppo_guards [--large] [--only=noise-8-16]`.

A tiny model with random weights is trained against a reward that is noise, and against one that pays for length, with
batches of 8 and 4,096 and answers of 16 and 512 tokens, with Assay's defaults but for what makes a tiny model move.
Prints a table. Leaves out batches of 4,096 answers of 512 tokens unless --large asks for them (two million tokens a
step: some minutes a step on a laptop's processor), and says so.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from tests.support import tiny_model
from training.core.run_directory import RunDirectory, RunSpec, read_lines
from training.recipes.common import entry
from training.recipes.ppo import __main__ as ppo

PROMPTS = [{"id": i, "messages": [{"role": "user", "content": f"say {chr(97 + i % 26) * 3}"}]} for i in range(64)]
HEADS = ("reward", "batch", "tokens", "steps", "what stopped it", "KL (target, bound)", "kl_coef", "formerly",
         "surprise", "cut off", "length", "score", "seconds")  # fmt: skip


@dataclass(frozen=True)
class Case:
    reward: str
    batch: int
    tokens: int
    steps: int


CASES = [
    Case(reward, batch, tokens, 12 if batch == 8 else 4)
    for reward in ("noise", "length")
    for batch in (8, 4096)
    for tokens in (16, 512)
]


def noise(prompts: object, completions: Sequence[str]) -> list[float]:
    """A score that depends on nothing but chance: the same text, the same score."""
    return [random.Random(text).gauss(0, 1) for text in completions]


def length(prompts: object, completions: Sequence[str]) -> list[float]:
    return [float(len(text)) for text in completions]


def model_that_ends(folder: Path, tokens: int) -> Path:
    """The tests' tiny model, with an end token that closes about two answers of three before `tokens`."""
    tiny_model.make(folder)
    weights = load_file(folder / "model.safetensors")
    end = json.loads((folder / "config.json").read_text())["eos_token_id"]
    share = 1.0 if tokens <= 64 else 0.6
    weights["lm_head.weight"][end] = share * (weights["lm_head.weight"][5] + weights["lm_head.weight"][6])
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def carry_out(case: Case, folder: Path) -> dict[str, Any]:
    config = {
        "reward_function": f"benchmarks.ppo_guards.{case.reward}", "steps": case.steps, "batch_size": case.batch,
        "max_new_tokens": case.tokens, "adapters": "lora", "at_bound": "finish",
        "review_every": 0, "sample_prompts": 0, "checkpoint_every": 1000,
        "minibatches": 2 if case.batch == 8 else 4, "epochs": 4 if case.batch == 8 else 1,
    }  # fmt: skip
    run = RunDirectory(folder / "run")
    spec = RunSpec("ppo", config, seed=1, parent=str(model_that_ends(folder / "model", case.tokens)))
    run.create(spec, {"prompts": iter(PROMPTS)})
    started = time.perf_counter()
    if entry.attempt(ppo.main, run) != 0:
        raise SystemExit(f"{case}: {run.failure()}")
    rows = [{"step": row["step"], **row["values"]} for row in read_lines(run.path / "metrics.jsonl")]
    return {"rows": rows, "result": run.result(), "seconds": time.perf_counter() - started}


def line(case: Case, found: dict[str, Any]) -> list[str]:
    rows, result = found["rows"], found["result"]
    first, last, stopped = rows[0], rows[-1], result["stopped"]
    return [
        case.reward, f"{case.batch:,}", str(case.tokens), str(last["step"]),
        f"{stopped['code']} at step {stopped['step']}" if stopped else "nothing",
        f"{last['kl_robust']:.1f} ({first['kl_target']:.1f}, {first['stop_kl']:.1f})",
        f"{first['kl_coef']:.2f} to {last['kl_coef']:.2f}",
        f"{former_coefficient(case, rows):.3g}",
        f"{first['parent_surprise']:.2f} to {last['surprise']:.2f}",
        f"{first['parent_cut_share']:.0%} to {last['cut_share']:.0%}",
        f"{first['parent_length_mean']:.0f} to {last['length_mean']:.0f}",
        f"{first['score_mean']:.2f} to {last['score_mean']:.2f}",
        f"{found['seconds']:.0f}",
    ]  # fmt: skip


def former_coefficient(case: Case, rows: Sequence[dict[str, float]]) -> float:
    """Where the rule of before, 1 + error * batch / horizon with a target of 6 nats, would have brought it."""
    coefficient = rows[0]["kl_coef"]
    for row in rows[:-1]:
        error = min(max(row["kl"] / 6.0 - 1, -0.2), 0.2)
        coefficient *= 1 + error * case.batch / 160
    return coefficient


def main(folder: Path, is_large: bool, only: str) -> None:
    print("| " + " | ".join(HEADS) + " |\n|" + "---|" * len(HEADS), flush=True)
    for case in CASES:
        name = f"{case.reward}-{case.batch}-{case.tokens}"
        if only not in ("", name):
            continue
        if case.batch * case.tokens > 1_000_000 and not is_large:
            print(f"| {case.reward} | {case.batch:,} | {case.tokens} | left out: --large |", flush=True)
            continue
        found = carry_out(case, folder / name)
        print("| " + " | ".join(line(case, found)) + " |", flush=True)


if __name__ == "__main__":
    only = [argument.removeprefix("--only=") for argument in sys.argv[1:] if argument.startswith("--only=")]
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary), "--large" in sys.argv, only[0] if only else "")
