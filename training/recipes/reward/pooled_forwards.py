"""Forward every annotated completion once through the trunk and pool its hidden states: most of a reward run's time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.core.run_directory import RecipeFailure, RunDirectory, step_of
from training.recipes.common import features as text_features
from training.recipes.common.steps import Pace, peak_memory_gb
from training.recipes.reward import pooled_parts
from training.recipes.reward.designs.stored_features import StoredFeatures
from training.recipes.reward.feedback_rows import Sequences

CHECKPOINT_EVERY = 8  # batches
MOST_CHECKPOINTS = 256  # of all batches: each links the files of those before


def tokens_at_once(device: torch.device, *, trains: bool) -> int:
    """Return how many tokens fill the device: a processor is full with a thousand, and its caches beyond that."""
    if device.type == "cpu":
        return 1024
    return 16384 if trains else 65536


def feature_sets(layers: int, chosen: str = "cross-validation") -> list[tuple[text_features.Feature, ...]]:
    """Return what is worth pooling, simplest first: layers at a half and two thirds of the depth, and around them.

    Where the config has chosen (`mean`, `last` or `both`) it is one set, and nothing is left to cross-validation but
    the penalty.

    On SmolLM2-135M (30 layers) nothing above two thirds helped any of ten probes, so the upper third never runs; the
    last token there sees how an answer ends (AUC 0.997 against 0.85 for means alone).
    """
    sixth, third, half, top = (max(round(layers * share), 1) for share in (1 / 6, 1 / 3, 1 / 2, 2 / 3))
    middle = tuple(dict.fromkeys([(half, "mean"), (top, "mean")]))
    wide = tuple(dict.fromkeys([(third, "mean"), *middle]))
    widest = tuple(dict.fromkeys([(sixth, "mean"), *wide]))
    last = ((top, "last"),)
    if chosen != "cross-validation":
        return [{"mean": middle, "last": last, "both": middle + last}[chosen]]
    return [((half, "mean"),), last, middle, wide, middle + last, widest + last]


def pooled_batch(
    model: Any, sequences: Sequences, rows: list[int], features: tuple[text_features.Feature, ...], pad: int
) -> Tensor:
    """Return (B, F) pooled features of these completions, in this order. Differentiable."""
    groups = sequences.by_prompt(rows)
    texts = [[sequences.completions[row] for row in group_rows] for group_rows in groups.values()]
    layers = sorted({layer for layer, _ in features})
    hidden, mask = text_features.completion_states(model, [sequences.prompts[p] for p in groups], texts, layers, pad)
    pooled = text_features.pool(hidden, mask, features)
    index_of = {row: i for i, row in enumerate(row for group_rows in groups.values() for row in group_rows)}
    return pooled[torch.tensor([index_of[row] for row in rows], device=pooled.device)]


def pooled_features(
    run: RunDirectory,
    trunk: Any,
    sequences: Sequences,
    features: tuple[text_features.Feature, ...],
    size: int,
    pad: int,
) -> tuple[StoredFeatures, int]:
    """Return ((N, F) float32, number of batches). Batches are fixed by the data, so a resume repeats every bit.

    Rows are written to checkpoints as they come, and read from there: few are in memory at a time.
    """
    batches = sequences.batches(size, tokens_at_once(trunk.device, trains=False))
    done, unsaved = 0, list[Tensor]()
    if latest := run.latest_checkpoint():
        done, rest = pooled_parts.progress_of(latest, batches)
        unsaved = [rest] if rest is not None else []
        run.truncate_logs(step_of(latest))
    else:
        run.truncate_logs(-1)
    run.progress("Reading the answers", done, len(batches))
    work = np.array([sequences.tokens(rows) for rows in batches])
    started, pace = time.monotonic(), Pace()
    for step, rows in enumerate(batches[done:], start=done + 1):
        with torch.inference_mode():
            unsaved.append(finite(pooled_batch(trunk, sequences, rows, features, pad).cpu()))
        run.log_metrics(
            step, tokens_per_second=pace.tokens_per_second(int(work[step - 1])),
            peak_memory_gb=peak_memory_gb(trunk.device),
        )  # fmt: skip
        took = (time.monotonic() - started) / work[done:step].sum()
        run.progress("Reading the answers", step, len(batches), eta_seconds=float(took * work[step:].sum()))
        if is_saved(step, len(batches)):
            pooled_parts.save_part(torch.cat(unsaved), step, run.begin_checkpoint(step), run.latest_checkpoint())
            run.commit_checkpoint(step, keep=1)
            unsaved = []
    latest = run.latest_checkpoint()
    assert latest is not None
    width = len(features) * trunk.config.hidden_size
    return pooled_parts.open_features(latest, batches, len(sequences), width), len(batches)


def is_saved(step: int, batches: int) -> bool:
    """Tell whether the rows since the last time are written after this batch: of many batches after some hundredth."""
    return step % max(CHECKPOINT_EVERY, batches // MOST_CHECKPOINTS) == 0 or step == batches


def finite(pooled: Tensor) -> Tensor:
    """Return the pooled features. Raises RecipeFailure where one is no number."""
    if torch.isfinite(pooled).all():
        return pooled
    raise RecipeFailure(
        "parent_not_finite", "The parent model computes values that are not finite.", "Choose another parent."
    )


def store_features(
    folder: Path, model: Any, sequences: Sequences, features: tuple[text_features.Feature, ...], size: int, pad: int
) -> StoredFeatures:
    """Forward every completion through `model` and return its features, written into a new `folder`."""
    batches = sequences.batches(size, tokens_at_once(model.device, trains=False))
    folder.mkdir(parents=True)
    unsaved: list[Tensor] = []
    for step, rows in enumerate(batches, start=1):
        with torch.no_grad():
            unsaved.append(pooled_batch(model, sequences, rows, features, pad).cpu())
        if is_saved(step, len(batches)):
            pooled_parts.save_part(torch.cat(unsaved), step, folder, None)
            unsaved = []
    width = len(features) * model.config.hidden_size
    return pooled_parts.open_features(folder, batches, len(sequences), width)
