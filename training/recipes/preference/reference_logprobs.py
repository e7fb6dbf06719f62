"""Compute the log-probabilities of answers, those of the reference once for a whole run.

Before anything is learnt the policy is its parent: what learns is an adapter of zeros, or a copy of every weight. So
the model that will learn gives the reference's figures, no second one is loaded, and each step compares with numbers
from a file in the run directory. It is written as it grows: a run that is killed goes on behind the last portion.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from common import atomic_files
from training.core import batch_planner
from training.core.run_directory import RunDirectory
from training.core.token_table import tables_folder
from training.recipes.common import processes
from training.recipes.common.processes import Processes
from training.recipes.preference.answer_examples import AnswerExamples
from training.recipes.sft.trained_model import Student
from training.rl.factors import in_float64

PORTION = 2**16  # tokens between two writes, about


def reference_logprobs(
    run: RunDirectory,
    policy: Student,
    examples: AnswerExamples,
    wanted: np.ndarray,
    tokens: int,
    together: Processes,
) -> np.ndarray:
    """Return (S,) float64 the summed log-probability of each wanted example's answer under `policy`, which has learnt
    nothing yet; of the others what is known, else nan."""
    path = _path(run, policy, examples)
    known = together.from_first(lambda: _read(path, len(examples)))
    for part in _portions(wanted[np.isnan(known[wanted])], examples):
        run.progress("Computing the reference", len(wanted) - int(np.isnan(known[wanted]).sum()), len(wanted))
        known[part] = summed_logprobs(policy, examples, part, tokens, together)
        if together.is_first:
            _write(path, known)
    return known


@torch.no_grad()
def summed_logprobs(
    policy: Student, examples: AnswerExamples, rows: np.ndarray, tokens: int, together: Processes
) -> np.ndarray:
    """Return (n,) float64 the summed log-probability of each of these examples' answers; the processes share them."""
    sums = in_float64(torch.zeros(len(rows), device=processes.device()))
    if not len(rows):
        return sums.cpu().numpy()
    lengths = examples.token_counts[rows].tolist()
    groups = batch_planner.micro_batches(lengths, tokens, padded=not policy.is_packed)
    for group, counts in together.in_step(together.share(groups), [0]):
        logprobs, _ = policy.logprobs([examples[rows[i]] for i in group])
        if counts:
            sums[group] = logprobs.to(sums)
    together.add_gradients([sums])  # 0 from all processes but one
    return sums.cpu().numpy()


def _portions(rows: np.ndarray, examples: AnswerExamples) -> list[np.ndarray]:
    """Return the examples (n,) in parts of about `PORTION` tokens."""
    numbers = examples.token_counts[rows].cumsum() // PORTION
    return np.split(rows, np.flatnonzero(np.diff(numbers)) + 1) if len(rows) else []


def _path(run: RunDirectory, policy: Student, examples: AnswerExamples) -> Path:
    """Return the file, whose name has a hash of what its numbers depend on: the parent, its dtype, the token ids."""
    spec = run.spec()
    depends_on = spec.parent, spec.parent_hash, str(policy.dtype), examples.data.fingerprint
    digest = hashlib.sha256(str(depends_on).encode())
    for numbers in (examples.places, examples.token_counts, examples.answer_counts):
        digest.update(np.ascontiguousarray(numbers, dtype=np.int64).tobytes())
    return tables_folder(run) / f"reference-{digest.hexdigest()[:16]}.npy"


def _read(path: Path, count: int) -> np.ndarray:
    known: np.ndarray = np.load(path) if path.exists() else np.full(count, np.nan)
    return known


def _write(path: Path, known: np.ndarray) -> None:
    with atomic_files.replacing(path) as partial, partial.open("wb") as file:
        np.save(file, known)
