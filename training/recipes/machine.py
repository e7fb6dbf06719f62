"""How fast this machine multiplies: `python -m training.recipes.machine FILE` writes it as JSON.

Square matrices of 2,048 in the dtype that recipes compute in, the best of several, a second or so. Estimates of time
are this rate and the share of it that whole training steps reach (`estimate`).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

from training.recipes import loading

SIDE = 2048
SECONDS = 1.0


def measure() -> dict[str, object]:
    device, dtype = loading.device(), loading.compute_dtype()
    on_gpu = device.type == "cuda"
    return {
        "device": device.type,
        "name": name(),
        "dtype": str(dtype).removeprefix("torch."),
        "flops": matrix_rate(device, dtype),
        "memory": torch.cuda.get_device_properties(0).total_memory if on_gpu else None,
    }


def name(processes: int = 1) -> str:
    """What figures of speed are tied to: the GPU, or the cores that the processes of a run have together."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads() * processes} cores"


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second: the best product, since whatever disturbs one only makes it slower."""
    left, right = (torch.randn(SIDE, SIDE, device=device).to(dtype) for _ in range(2))
    best, begun = float("inf"), time.perf_counter()
    while time.perf_counter() - begun < SECONDS or best == float("inf"):
        _finish(device)
        at = time.perf_counter()
        left @ right
        _finish(device)
        best = min(best, time.perf_counter() - at)
    return 2 * SIDE**3 / best


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    target = Path(sys.argv[1])
    partial = target.with_name(f".{target.name}.partial")
    partial.write_text(json.dumps(measure()), encoding="utf-8")
    partial.rename(target)
