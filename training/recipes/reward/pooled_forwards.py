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
from training.recipes.common import sharding
from training.recipes.common.processes import ONE_PROCESS, Processes
from training.recipes.common.steps import Pace, peak_memory_gb
from training.recipes.reward import pooled_parts
from training.recipes.reward.answers.sequences import Sequences
from training.recipes.reward.designs.stored_features import StoredFeatures

CHECKPOINT_EVERY = 8  # batches
MOST_CHECKPOINTS = 256  # of all batches: each links the files of those before


def tokens_at_once(device: torch.device, *, trains: bool) -> int:
    """Return how many tokens fill the device: a processor is full with a thousand, and its caches beyond that."""
    if device.type == "cpu":
        return 1024
    return 16384 if trains else 65536


def feature_sets(layers: int, chosen: str = "cross-validation") -> list[tuple[text_features.Feature, ...]]:
    """Return what is worth pooling, simplest first: layers at a half and two thirds of the depth, and around them.

    Where the config has chosen (`mean`, `last`, `both` or `final`) it is one set, and nothing is left to
    cross-validation but the penalty.

    On SmolLM2-135M (30 layers) nothing above two thirds helped any of ten probes, so the upper third never runs; the
    last token there sees how an answer ends (AUC 0.997 against 0.85 for means alone).
    """
    sixth, third, half, top = (max(round(layers * share), 1) for share in (1 / 6, 1 / 3, 1 / 2, 2 / 3))
    middle = tuple(dict.fromkeys([(half, "mean"), (top, "mean")]))
    wide = tuple(dict.fromkeys([(third, "mean"), *middle]))
    widest = tuple(dict.fromkeys([(sixth, "mean"), *wide]))
    last = ((top, "last"),)
    if chosen != "cross-validation":
        return [{"mean": middle, "last": last, "both": middle + last, "final": ((layers, "last"),)}[chosen]]
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


@torch.no_grad()
def pooled_by_all(
    model: Any, sequences: Sequences, rows: list[int], features: tuple[text_features.Feature, ...], pad: int,
    together: Processes,
) -> Tensor:  # fmt: skip
    """Return (B, F) pooled features of these completions on the CPU of each process, which forwards its share of the
    prompts."""
    if together.count == 1:
        return pooled_batch(model, sequences, rows, features, pad).cpu()
    groups = list(sequences.by_prompt(rows).values())
    own = [row for group in together.share(groups) for row in group]
    place = {row: index for index, row in enumerate(rows)}
    pooled = torch.zeros(len(rows), len(features) * model.config.hidden_size, device=model.device)
    for part, counts in together.in_step([own] if own else [], groups[0]):
        states = sharding.call(pooled_batch, model, sequences, part, features, pad)
        if counts:
            pooled[[place[row] for row in part]] = states
    together.add_gradients([pooled])  # 0 from all processes but one
    return pooled.cpu()


def pooled_features(
    run: RunDirectory,
    trunk: Any,
    sequences: Sequences,
    features: tuple[text_features.Feature, ...],
    size: int,
    pad: int,
    together: Processes = ONE_PROCESS,
) -> tuple[StoredFeatures, int]:
    """Return ((N, F) float32, number of batches). Batches are fixed by the data, so a resume repeats every bit.

    Rows are written to checkpoints as they come, and read from there: few are in memory at a time.
    """
    batches = sequences.batches(size, tokens_at_once(trunk.device, trains=False))
    done, unsaved = 0, list[Tensor]()
    latest = run.latest_checkpoint()
    together.wait()  # nobody writes a checkpoint before everybody has looked for one
    if latest is not None:
        done, rest = pooled_parts.progress_of(latest, batches)
        unsaved = [rest] if rest is not None else []
        run.truncate_logs(step_of(latest))
    else:
        run.truncate_logs(-1)
    run.progress("Reading the answers", done, len(batches))
    work = np.array([sequences.tokens(rows) for rows in batches])
    started, pace = time.monotonic(), Pace()
    for step, rows in enumerate(batches[done:], start=done + 1):
        unsaved.append(finite(pooled_by_all(trunk, sequences, rows, features, pad, together)))
        run.log_metrics(
            step, tokens_per_second=pace.tokens_per_second(int(work[step - 1])),
            peak_memory_gb=peak_memory_gb(trunk.device),
        )  # fmt: skip
        took = (time.monotonic() - started) / work[done:step].sum()
        run.progress("Reading the answers", step, len(batches), eta_seconds=float(took * work[step:].sum()))
        if is_saved(step, len(batches)):
            if together.is_first:
                pooled_parts.save_part(torch.cat(unsaved), step, run.begin_checkpoint(step), run.latest_checkpoint())
                run.commit_checkpoint(step, keep=1)
            unsaved = []
    together.wait()
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
    folder: Path, model: Any, sequences: Sequences, features: tuple[text_features.Feature, ...], size: int, pad: int,
    together: Processes = ONE_PROCESS,
) -> StoredFeatures:  # fmt: skip
    """Forward every completion through `model` and return its features, written into a new `folder`."""
    batches = sequences.batches(size, tokens_at_once(model.device, trains=False))
    if together.is_first:
        folder.mkdir(parents=True)
    unsaved: list[Tensor] = []
    for step, rows in enumerate(batches, start=1):
        unsaved.append(pooled_by_all(model, sequences, rows, features, pad, together))
        if is_saved(step, len(batches)):
            if together.is_first:
                pooled_parts.save_part(torch.cat(unsaved), step, folder, None)
            unsaved = []
    together.wait()
    width = len(features) * model.config.hidden_size
    return pooled_parts.open_features(folder, batches, len(sequences), width)
