"""What `benchmarks.trl_contestants` measures everyone by: losses on held-out rows, the matrix rate, a profile."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from benchmarks import ppo_roofline

BETA = 0.1  # of DPO
MAX_LENGTH = 512  # of a prompt with its answer
SIDES = ("chosen", "rejected")

KINDS = {  # of operations, by parts of their names
    "products with weights": ("aten::mm", "aten::addmm", "aten::linear", "mkldnn_linear"),
    "products in attention": ("aten::bmm", "aten::baddbmm"),
    "softmax": ("softmax",),
    "optimiser": ("adam", "foreach", "Optimizer"),
    "copies and casts": ("copy_", "_to_copy", "aten::cat", "contiguous", "roll", "index"),
    "elementwise": ("mul", "add", "silu", "sub", "div", "vecdot", "rsqrt", "exp", "gather", "sum", "scatter"),
}


def peer_dtype() -> Any:
    """Return what TRL's models are loaded and computed in."""
    import torch

    return torch.float32 if os.environ.get("ASSAY_DTYPE") == "float32" else torch.bfloat16


def pair_figures(scores: dict[str, list[float]]) -> dict[str, float]:
    """Mean -log sigmoid(chosen - rejected) on the held-out pairs, and the share that is right."""
    gaps = [a - b for a, b in zip(*(scores[side] for side in SIDES), strict=True)]
    losses = [math.log1p(math.exp(-abs(gap))) + max(-gap, 0.0) for gap in gaps]
    return {"held_out_loss": sum(losses) / len(gaps), "held_out_accuracy": sum(gap > 0 for gap in gaps) / len(gaps)}


def held_out_loss(work: dict[str, Any], folder: Path) -> dict[str, float]:
    """Nats an answer token of the saved model."""
    answers = _answer_logprobs(work, work["trained"], work["held_out"])
    return {"held_out_loss": -sum(map(sum, answers)) / sum(map(len, answers))}


def held_out_margins(work: dict[str, Any], folder: Path) -> dict[str, float]:
    """DPO's loss and accuracy on held-out pairs, of the saved model against its parent."""
    pairs = work["held_out"]
    rows = [{"prompt": pair["prompt"], "completion": pair[side]} for side in SIDES for pair in pairs]
    trained, parent = (map(sum, _answer_logprobs(work, work[role], rows)) for role in ("trained", "model"))
    gains = [BETA * (a - b) for a, b in zip(trained, parent, strict=True)]
    return pair_figures(dict(zip(SIDES, (gains[: len(pairs)], gains[len(pairs) :]), strict=True)))


def _answer_logprobs(work: dict[str, Any], folder: str, rows: list[dict[str, Any]]) -> list[list[float]]:
    """Return those of each row's answer tokens by transformers' own forward in float32: the same for everyone."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from training.recipes.sft.examples import encode

    tokenizer = AutoTokenizer.from_pretrained(work["model"])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    found = []
    for row in rows:
        example = encode(tokenizer, row, MAX_LENGTH)
        with torch.no_grad():
            logprobs = model(input_ids=torch.tensor([example.tokens])).logits[0].log_softmax(-1)
        places = [place for place, is_learnt in enumerate(example.learnt) if is_learnt]
        found.append([float(logprobs[place - 1, example.tokens[place]]) for place in places])
    return found


def matrix_rate(work: dict[str, Any], folder: Path) -> dict[str, float]:
    """Floating-point operations a second of the products that these models are made of."""
    return {"flops": ppo_roofline.matrix_rate(str(peer_dtype()).removeprefix("torch."))}


def share_of_kinds(seen: Any) -> dict[str, float]:
    """Return the share of the processor's own time that each kind of operation had in a profile, largest first."""
    totals: dict[str, float] = {}
    for event in seen.key_averages():
        kind = next((name for name, ops in KINDS.items() if any(op in event.key for op in ops)), "other")
        totals[kind] = totals.get(kind, 0.0) + event.self_cpu_time_total
    whole = sum(totals.values())
    return {kind: value / whole for kind, value in sorted(totals.items(), key=lambda pair: -pair[1])}
