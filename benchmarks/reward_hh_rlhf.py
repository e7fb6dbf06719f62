"""The reward recipe on real preference pairs.
`python -m benchmarks.reward_hh_rlhf PAIRS MODEL [RUN_DIR] [METHOD] [--held-out 312]`

PAIRS is hh-rlhf's harmless-base test file (2,312 pairs), MODEL the folder of the trunk. 2,000 pairs train and 312 are
held out, split by prompt; the last 160 prompt tokens and the first 96 answer tokens are read. METHOD is head (the
default) or finetune. A RUN_DIR that was left half-way goes on where it was. Prints held-out accuracy with its interval
beside the longer answer's, and where the time went.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

import torch

from benchmarks import hh_rlhf
from benchmarks.refusal import require_file, require_model
from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.common import entry
from training.recipes.reward import __main__ as reward
from training.recipes.reward import feedback_rows as reward_data

HELD_OUT = 312


def main(pairs: Path, model: Path, folder: Path, method: str, held_out: int) -> None:
    run = RunDirectory(folder)
    if not (folder / "config.json").is_file():
        data = hh_rlhf.rows(pairs)
        share, seed = split(data, held_out)
        config = {"method": method, "held_out": share, "max_prompt_tokens": 160, "max_completion_tokens": 96}
        run.create(RunSpec("reward", config, seed=seed, parent=str(model.resolve())), data)
    begun = time.monotonic()
    if entry.attempt(reward.main, run) != 0:
        sys.exit(1)
    show(run.result() or {}, time.monotonic() - begun)


def split(data: dict[str, list[hh_rlhf.Row]], held_out: int) -> tuple[float, int]:
    """(share of prompts, the first seed) with which exactly so many pairs are held out; it looks at no text."""
    prompts = torch.tensor([row["prompt_id"] for row in data["completions"]])
    share = held_out / len(data["comparisons"])
    held = (int((~reward_data.training_rows(prompts, share, seed)).sum()) // 2 for seed in count())
    return share, next(seed for seed, n in enumerate(held) if n == held_out)


def show(result: dict, seconds: float) -> None:
    print("judgements", result["judgements"]["pairs"], "held out", result["held_out"]["pair_accuracy"]["n"])
    for method, figures in result["methods"].items():
        print(f"{method:12}", _interval(figures["pair_accuracy"]))
    print("longer      ", _interval(result["longer"]["pair_accuracy"]))
    print("slope       ", _interval(result["held_out"]["slope"]))
    for row in result["candidates"]:
        print("layers      ", json.dumps(row))
    for row in result["curve"]:
        print(f"{row['judgements']:5} pairs ", _interval(row["pair_accuracy"]))
    print("calibration error", round(result["calibration"]["error"], 3))
    print("seconds     ", {k: round(v, 1) for k, v in result["seconds"].items()}, "this attempt", round(seconds, 1))


def _interval(figure: dict) -> str:
    return f"{figure['value']:.3f} [{figure['lower']:.3f}, {figure['upper']:.3f}] on {figure['n']}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("method", nargs="?", choices=("head", "finetune"), default="head")
    parser.add_argument("--held-out", type=int, default=HELD_OUT, help="pairs")
    given = parser.parse_args()
    require_file(given.pairs, "hh-rlhf's pairs")
    require_model(given.model)
    where = given.folder or Path(tempfile.mkdtemp(prefix="reward-hh-rlhf-"))
    main(given.pairs, given.model, where, given.method, given.held_out)
