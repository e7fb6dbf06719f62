"""When does finetuning overtake the frozen head?
`python -m benchmarks.reward_finetuning_curve PAIRS MODEL FOLDER [N ...] [--held-out 312]`

PAIRS is hh-rlhf's harmless-base test file, MODEL the folder of the trunk. For each number N of pairs (250, 500, 1000
and 1600 unless given) the recipe learns from the first N pairs in a shuffled order by both methods, and both are
measured on the pairs of the same 312 prompts. Each run stands in FOLDER/N and goes on where it was; those that have
ended are read. Prints accuracy with its interval, seconds, tokens a second and peak memory.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from benchmarks import hh_rlhf
from benchmarks.refusal import require_file, require_model
from benchmarks.reward_hh_rlhf import HELD_OUT
from training.core.run_directory import RunDirectory, RunSpec, read_lines
from training.recipes.common import entry
from training.recipes.reward import __main__ as reward

SIZES = (250, 500, 1000, 1600)
CONFIG = {"method": "finetune", "max_prompt_tokens": 160, "max_completion_tokens": 96, "curve": False}


def main(pairs: Path, model: Path, folder: Path, sizes: tuple[int, ...], held_out: int) -> None:
    data = hh_rlhf.rows(pairs)
    print(f"{'pairs':>6} {'head':>22} {'finetuned':>22} {'seconds':>22} tokens/s  GB")
    for size in sizes:
        run = RunDirectory(folder / str(size))
        if not (run.path / "config.json").is_file():
            run.create(RunSpec("reward", CONFIG, seed=0, parent=str(model.resolve())), part(data, size, held_out))
        if entry.attempt(reward.main, run) != 0:
            sys.exit(1)
        show(size, run)


def part(data: dict[str, list[hh_rlhf.Row]], size: int, held: int) -> dict[str, list[hh_rlhf.Row]]:
    """`size` pairs to learn from and the held-out ones, nested: each size holds what the smaller ones hold."""
    numbers = sorted({row["prompt_id"] for row in data["comparisons"]})
    random.Random(0).shuffle(numbers)
    held_out, order = set(numbers[:held]), numbers[held : held + size]
    kept = held_out | set(order)
    return {
        "completions": [
            {**row, "held_out": row["prompt_id"] in held_out} for row in data["completions"] if row["prompt_id"] in kept
        ],
        "comparisons": [row for row in data["comparisons"] if row["prompt_id"] in kept],
    }


def show(size: int, run: RunDirectory) -> None:
    result = run.result() or {}
    figures = [result["methods"][method]["pair_accuracy"] for method in ("head", "finetune")]
    texts = [f"{f['value']:.3f} [{f['lower']:.3f}, {f['upper']:.3f}]" for f in figures]
    took = ", ".join(f"{name} {value:.0f}" for name, value in result["seconds"].items())
    steps = [line["values"] for line in read_lines(run.path / "metrics.jsonl") if "finetune_nll" in line["values"]]
    pace = sorted(step["tokens_per_second"] for step in steps)[len(steps) // 2]
    memory = max(step["peak_memory_gb"] for step in steps)
    print(f"{size:6} {texts[0]:>22} {texts[1]:>22} {took:>22} {pace:8.0f} {memory:4.1f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("sizes", type=int, nargs="*", default=SIZES, help="pairs to learn from")
    parser.add_argument("--held-out", type=int, default=HELD_OUT, help="prompts")
    given = parser.parse_args()
    require_file(given.pairs, "hh-rlhf's pairs")
    require_model(given.model)
    main(given.pairs, given.model, given.folder, tuple(given.sizes), given.held_out)
