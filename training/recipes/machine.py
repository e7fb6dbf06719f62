"""Measure how fast this machine trains: `python -m training.recipes.machine FILE` writes it as JSON.

Two things: the rate of plain matrix products in the dtype that recipes compute in, and the share of it that whole
training steps reach, for models of three widths, since narrow ones spend their time between products. Some ten seconds.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common import atomic_files
from training.configs.presets import PRESETS, Preset
from training.core import resource_estimate
from training.recipes.common import loading
from training.recipes.common.fp32_master_weights import Masters, trained_parameters
from training.recipes.common.memory import machine_name
from training.recipes.pretrain import architectures
from training.recipes.pretrain.loss_sums import forward
from training.recipes.pretrain.objectives import Vocabulary, causal

SIDE = 2048
SECONDS = 1.0
SIZES = ("1M", "10M", "30M")  # larger ones reach no less than the last
WORDS, LENGTH = 8192, 512


def measure() -> dict[str, object]:
    device, dtype = loading.device(), loading.compute_dtype()
    flops = matrix_rate(device, dtype)
    return {
        "device": device.type,
        "name": machine_name(),
        "dtype": str(dtype).removeprefix("torch."),
        "flops": flops,
        "reached": [[PRESETS[size].width, step_rate(PRESETS[size], device, dtype) / flops] for size in SIZES],
        "memory": torch.cuda.get_device_properties(0).total_memory if device.type == "cuda" else None,
    }


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return floating-point operations a second: the best product, since whatever disturbs one only makes it slower."""
    left, right = (torch.randn(SIDE, SIDE, device=device).to(dtype) for _ in range(2))
    best, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < SECONDS or best == float("inf"):
        finish(device)
        at = time.perf_counter()
        left @ right
        finish(device)
        best = min(best, time.perf_counter() - at)
    return 2 * SIDE**3 / best


def step_rate(preset: Preset, device: torch.device, dtype: torch.dtype) -> float:
    """Return operations a second of one optimiser step on as many rows as are computed at once, the best of three."""
    vocabulary = Vocabulary(end=0, pad=1, mask=2, sentinels=(), ordinary=np.arange(3, WORDS))
    model = architectures.build(preset, "causal", _Words(), LENGTH).to(device)
    masters = Masters(trained_parameters(model), dtype)
    optimiser = masters.optimiser(rate=1e-4, weight_decay=0.1, beta2=0.95)
    rows = resource_estimate.BEST_TOKENS[device.type] // LENGTH
    batch = causal(np.random.default_rng(0).choice(vocabulary.ordinary, (rows, LENGTH + 1)), vocabulary)
    best = float("inf")
    for _ in range(3):
        finish(device)
        at = time.perf_counter()
        forward(model, batch, 1 / batch.targets)[0].backward()
        masters.collect()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        masters.publish()
        finish(device)
        best = min(best, time.perf_counter() - at)
    shape = resource_estimate.shape_of(preset, WORDS, "causal")
    return batch.targets * resource_estimate.flops_per_token(shape, LENGTH) / best


class _Words:
    """Stand in for a tokenizer before there is one."""

    eos_token_id, pad_token_id = 0, 1

    def __len__(self) -> int:
        return WORDS

    def get_vocab(self) -> dict[str, Any]:
        return {}


def finish(device: torch.device) -> None:
    """Wait for what was asked of a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    elif device.type == "mps":
        torch.mps.synchronize()


if __name__ == "__main__":
    atomic_files.write_text(Path(sys.argv[1]), json.dumps(measure()))
