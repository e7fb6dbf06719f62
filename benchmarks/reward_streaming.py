"""Memory, disk and time of a reward run by its number of pairs: `python -m benchmarks.reward_streaming [--pairs 10000]`

The whole recipe, each size in a process of its own: it reads annotations and texts, pools features, cross-validates
the penalty, fits the head and a second one, measures both on held-out prompts. In place of a trunk it has generated
features of the width of an 8B, normal ones in which a known direction is the quality; votes are drawn from that by
Bradley-Terry. So the accuracy of the true direction on the same held-out pairs stands beside the fitted head's.
Written is what the process has given to the file system, resident memory the most that it held; below stands the
same by the run's own phases, resident memory as it was seen ten times a second. Printed as Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import psutil
import torch
from torch import Tensor

from benchmarks.memory_estimates import peak_bytes
from training.core.run_directory import Row, RunDirectory, RunSpec
from training.recipes.common import entry, loading
from training.recipes.reward import __main__ as reward
from training.recipes.reward import head_fit, pooled_forwards
from training.recipes.reward.answers.sequences import Sequences
from training.recipes.reward.designs import stored_features

WIDTH, TOKENS, QUALITY, SEED = 4096, 256, 2.0, 1
GPU_TOKENS = 65_536
FIGURES = "streaming.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[10_000, 40_000, 160_000])
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--penalties", type=float, nargs="+", default=list(head_fit.RIDGES))
    parser.add_argument("--in-memory", type=int, default=stored_features.IN_MEMORY, help="numbers read at once")
    parser.add_argument("--folder", type=Path, help="carry out the run that lies there, in this process")
    arguments = parser.parse_args()
    if arguments.folder:
        return carry_out(arguments.folder, arguments.width, arguments.penalties, arguments.in_memory)
    print(
        "| pairs | features GB | written GB | most resident GB | seconds | held-out accuracy | of the true direction |"
    )
    print("|---|---|---|---|---|---|---|")
    phases = []
    for pairs in arguments.pairs:
        with tempfile.TemporaryDirectory() as scratch:
            options = ["--width", arguments.width, "--in-memory", arguments.in_memory, "--penalties"]
            print(row_of(pairs, arguments.width, Path(scratch), [*options, *arguments.penalties]), flush=True)
            phases += phases_of(pairs, Path(scratch))
    print("\n| pairs | phase | seconds | of the processor | written GB | most resident GB |\n|---|---|---|---|---|---|")
    print(*phases, sep="\n")


def row_of(pairs: int, width: int, folder: Path, options: list[object]) -> str:
    prepare(folder, pairs)
    own = ["-m", "benchmarks.reward_streaming", "--folder", str(folder)]
    peak = peak_bytes([sys.executable, *own, *map(str, options)])
    figures = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
    return (
        f"| {pairs:,} | {8 * pairs * width / 1e9:.2f} | {figures['written'] / 1e9:.2f} | {peak / 1e9:.2f} "
        f"| {figures['seconds']:,.0f} | {figures['accuracy']:.4f} | {figures['true']:.4f} |"
    )


def phases_of(pairs: int, folder: Path) -> list[str]:
    phases = json.loads((folder / FIGURES).read_text(encoding="utf-8"))["phases"]
    return [
        f"| {pairs:,} | {name} | {p['seconds']:,.0f} | {p['processor']:,.0f} | {p['written'] / 1e9:.2f} "
        f"| {p['resident'] / 1e9:.3f} |"
        for name, p in phases.items()
    ]


def prepare(folder: Path, pairs: int) -> None:
    """Write a run's directory: two answers to each prompt, and a vote on them; the last fifth is held out."""
    scores = qualities(pairs)
    wins = np.random.default_rng([SEED, 2]).random(pairs) < 1 / (1 + np.exp(scores[1::2] - scores[::2]))
    (folder / "data").mkdir(parents=True)
    RunDirectory(folder).create(
        RunSpec("reward", {"method": "head", "features": "last", "curve": False, "batch_size": 256}, seed=SEED)
    )
    words = "a made-up text " * 40

    def completions() -> Iterator[Row]:
        for row in range(2 * pairs):
            prompt = [{"role": "user", "content": f"{row // 2} {words}"}]
            about = {"prompt_id": row // 2, "prompt": prompt, "held_out": row >= 8 * pairs // 5}
            yield {"id": row, "text": f"{row} {words}", **about}

    def comparisons() -> Iterator[Row]:
        for pair, is_won in enumerate(wins.tolist()):
            ends = {"completion_a": 2 * pair, "completion_b": 2 * pair + 1}
            yield {"prompt_id": pair, **ends, "winner": "model_a" if is_won else "model_b", "author": 1}

    for name, rows in (("completions", completions()), ("comparisons", comparisons())):
        with (folder / "data" / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


def qualities(pairs: int) -> np.ndarray:
    """Return (N,) the true score of each completion."""
    return np.random.default_rng([SEED, 1]).normal(size=2 * pairs) * QUALITY


def carry_out(folder: Path, width: int, penalties: list[float], in_memory: int) -> None:
    """Carry out a run with generated features in place of a trunk, and write what it took."""
    run = RunDirectory(folder)
    pairs = sum(1 for _ in run.each_row("comparisons"))
    scores = torch.from_numpy(qualities(pairs)).float()
    direction = torch.nn.functional.normalize(torch.randn(width, generator=torch.Generator().manual_seed(SEED)), dim=0)
    trunk = SimpleNamespace(
        device=torch.device("cpu"), config=SimpleNamespace(hidden_size=width, num_hidden_layers=32)
    )  # fmt: skip

    def generated(_trunk: object, _sequences: Sequences, rows: list[int], *_: object) -> Tensor:
        noise = torch.randn(len(rows), width, generator=torch.Generator().manual_seed(SEED + rows[0]))
        return noise + (scores[rows] - noise @ direction)[:, None] * direction

    started, watch = time.monotonic(), Watch(run)
    with ExitStack() as stack:
        stack.enter_context(watch)
        for module, name, replacement in (
            (loading, "load_policy", lambda *_, **__: (trunk, Tokenizer())),
            (loading, "weights_hash", lambda _: "generated"),
            (loading, "encode_prompt", lambda _tokenizer, _prompt, _most: [1] * TOKENS),
            (loading, "encode_completion", lambda _tokenizer, _text, _most: [2] * TOKENS),
            (pooled_forwards, "pooled_batch", generated),
            (pooled_forwards, "tokens_at_once", lambda device, trains: GPU_TOKENS),
            (head_fit, "RIDGES", tuple(penalties)),
            (stored_features, "IN_MEMORY", in_memory),
        ):
            stack.enter_context(patch.object(module, name, replacement))
        if entry.attempt(reward.main, run):
            sys.exit(f"The run failed: {run.failure()}")
    result = run.result() or {}
    held_out = [row for row in run.each_row("comparisons") if row["prompt_id"] >= 4 * pairs // 5]
    right = [
        (scores[2 * c["prompt_id"]] > scores[2 * c["prompt_id"] + 1]) == (c["winner"] == "model_a") for c in held_out
    ]
    figures = {
        "written": psutil.Process().io_counters().write_chars,
        "seconds": time.monotonic() - started,
        "accuracy": result["held_out"]["pair_accuracy"]["value"],
        "true": float(np.mean(right)),
        "phases": watch.phases,
    }
    (folder / FIGURES).write_text(json.dumps(figures), encoding="utf-8")


class Watch(Thread):
    """Read a run's phase and what this process takes, ten times a second."""

    def __init__(self, run: RunDirectory) -> None:
        super().__init__(daemon=True)
        self.phases: dict[str, dict[str, float]] = {}
        self._run, self._ended = run, Event()

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        process, moment, worked, written = psutil.Process(), time.monotonic(), 0.0, 0
        while not self._ended.wait(0.1):
            before, moment = moment, time.monotonic()
            worked, worked_before = time.process_time(), worked
            written, written_before = process.io_counters().write_chars, written
            place = self._run.path / "progress.json"
            name = json.loads(place.read_bytes())["phase"] if place.exists() else "Starting"
            phase = self.phases.setdefault(name, {"seconds": 0.0, "processor": 0.0, "written": 0, "resident": 0})
            phase["seconds"] += moment - before
            phase["processor"] += worked - worked_before
            phase["written"] += written - written_before
            phase["resident"] = max(phase["resident"], process.memory_info().rss)


class Tokenizer:
    """Stand in for the tokenizer of an 8B: its size alone matters."""

    pad_token_id, eos_token_id, chat_template, all_special_tokens = 0, 1, "", ()

    def __len__(self) -> int:
        return 128_256

    def get_vocab(self) -> dict[str, int]:
        return {}


if __name__ == "__main__":
    main()
