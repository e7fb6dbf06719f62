"""Keep pooled features in checkpoints as parts that are written once: 160,000 pairs of an 8B have 26 GB of them.

A checkpoint holds the rows since the one before as a file of their own, and links to all earlier files. So each row is
written once however many checkpoints there are, and a checkpoint is whole by itself. Where the file system has no hard
links, earlier parts are copied.

    pooled-000016.safetensors    "pooled" (R, F) float32: the rows of the batches up to 16, in the batches' order
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from training.core.run_directory import step_of
from training.recipes.reward.designs.stored_features import StoredFeatures, open_part

WHOLE = "pooled.safetensors"  # all rows (N, F) in one file, as checkpoints were written before


def save_part(rows: Tensor, step: int, folder: Path, previous: Path | None) -> None:
    """Write the rows (R, F) since `previous` into a checkpoint's folder, and link the parts which that one holds."""
    if previous is not None:
        _link(_parts(previous), folder)
    save_file({"pooled": rows.contiguous()}, folder / f"pooled-{step:06d}.safetensors")


def link_features(previous: Path, folder: Path) -> None:
    """Give a checkpoint's folder all features of an earlier one."""
    _link([*_parts(previous), *previous.glob(WHOLE)], folder)


def open_features(checkpoint: Path, batches: Sequence[list[int]], count: int, width: int) -> StoredFeatures:
    """Return the features that a checkpoint of these batches holds, `count` completions with `width` numbers."""
    if (checkpoint / WHOLE).exists():
        opened = [open_part(checkpoint / WHOLE, range(count))]
    else:
        ends = [0, *map(_end, _parts(checkpoint))]
        opened = [
            open_part(part, (row for batch in batches[begin:end] for row in batch))
            for part, begin, end in zip(_parts(checkpoint), ends[:-1], ends[1:], strict=True)
        ]
    return StoredFeatures(tuple(opened), count, (slice(0, width),))


def progress_of(checkpoint: Path, batches: Sequence[list[int]]) -> tuple[int, Tensor | None]:
    """Return how many batches a checkpoint holds, and their rows, in the batches' order, where they are not in parts
    yet."""
    if not (checkpoint / WHOLE).exists():
        return max(map(_end, _parts(checkpoint)), default=0), None
    done = min(step_of(checkpoint), len(batches))
    rows = [row for batch in batches[:done] for row in batch]
    return done, load_file(checkpoint / WHOLE)["pooled"][rows]


def _parts(checkpoint: Path) -> list[Path]:
    return sorted(checkpoint.glob("pooled-*.safetensors"), key=_end)


def _end(part: Path) -> int:
    """Return the number of batches up to this part's last row."""
    return int(part.stem.removeprefix("pooled-"))


def _link(files: list[Path], folder: Path) -> None:
    for file in files:
        try:
            os.link(file, folder / file.name)
        except OSError:
            shutil.copy(file, folder)
