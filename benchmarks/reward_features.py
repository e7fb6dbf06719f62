"""Bytes that a reward run writes while it reads its answers: `python -m benchmarks.reward_features [--pairs 500 1000]`

The recipe's own loop, with generated features of the width of an 8B in place of a trunk: pairs of answers of 256
tokens, in batches as a GPU takes them. Written is what the process has given to the file system, checkpoints and logs
included. Before stands what was written when each checkpoint, every eighth batch, held all rows anew. Printed as
Markdown; the last line is computed for 160,000 pairs and all five layers and poolings.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import psutil
import torch
from torch import Tensor

from training.core.run_directory import RunDirectory
from training.recipes.reward import pooled_forwards
from training.recipes.reward.answers.sequences import Sequences

WIDTH, TOKENS, BATCH = 4096, 256, 32
MANY, FEATURES = 160_000, 5
GPU_TOKENS = 65_536


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[500, 1000, 2000, 4000])
    parser.add_argument("--width", type=int, default=WIDTH)
    arguments = parser.parse_args()
    print("| pairs | features GB | written GB | a pair, kB | before, GB |\n|---|---|---|---|---|")
    for pairs in arguments.pairs:
        written, batches = written_bytes(pairs, arguments.width)
        size = 8 * pairs * arguments.width
        figures = (
            f"{size / 1e9:.3f} | {written / 1e9:.3f} | {written / pairs / 1e3:.1f} | {before(size, batches) / 1e9:.3f}"
        )
        print(f"| {pairs:,} | {figures} |", flush=True)
    size = 8 * MANY * WIDTH * FEATURES
    written = f"{size / 1e9:.1f} | {size / 1e9:.1f} | {size / MANY / 1e3:.1f}"
    print(f"| {MANY:,}, computed | {written} | {before(size, 2 * MANY // BATCH) / 1e9:,.0f} |")


def written_bytes(pairs: int, width: int) -> tuple[float, int]:
    """Return the bytes written for so many pairs with one feature of `width`, and the number of batches."""
    prompts = {n: [1] * TOKENS for n in range(pairs)}
    sequences = Sequences(prompts, [[2] * TOKENS] * (2 * pairs), [n // 2 for n in range(2 * pairs)])
    trunk = SimpleNamespace(device=torch.device("cpu"), config=SimpleNamespace(hidden_size=width))
    generator = torch.Generator().manual_seed(0)

    def generated(_trunk: object, _sequences: Sequences, rows: list[int], *_: object) -> Tensor:
        return torch.randn(len(rows), width, generator=generator)

    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        patch.object(pooled_forwards, "pooled_batch", generated),
        patch.object(pooled_forwards, "tokens_at_once", lambda device, trains: GPU_TOKENS),
    ):
        start = psutil.Process().io_counters().write_chars
        _, batches = pooled_forwards.pooled_features(
            RunDirectory(Path(folder)), trunk, sequences, ((1, "mean"),), BATCH, pad=0
        )
        return float(psutil.Process().io_counters().write_chars - start), batches


def before(size: float, batches: int) -> float:
    """Return the bytes of checkpoints that hold all rows each."""
    return size * -(-batches // pooled_forwards.CHECKPOINT_EVERY)


if __name__ == "__main__":
    main()
