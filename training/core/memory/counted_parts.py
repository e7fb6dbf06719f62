"""Count what every training stage takes: what learning adds to the weights, activations of a token, saving.

Knows no torch: forms show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.core import resource_estimate
from training.core.memory.decoder_sizes import Decoder
from training.core.memory.stage_memory import Bytes, Hardware

ADAM = 8  # two moments, float32
COMPARED = 8, 128  # sequences and their tokens, on which a saved child's distributions are compared (`children`)
COPIES = 28  # bytes of each number of a matrix that is compared: float32 before, float64 both updates and a product
POOLED = 5  # layers and poolings of a reward head's features


def trained_bytes(decoder: Decoder, config: Mapping[str, Any], hardware: Hardware, layers: int) -> Bytes:
    """Return the bytes of weights and of what learning adds to them, by `adapters`."""
    size, total = hardware.dtype_bytes, decoder.parameters
    method = config.get("adapters", "full")
    if method == "full":
        copies = {"master weights": 4.0 * total} if size == 2 else {}
        return {
            "weights": size * total,
            **copies,
            "gradients": (6 if size == 2 else 4) * total,
            "optimiser": ADAM * total,
        }
    learnt = decoder.adapter_parameters(config.get("lora_rank", 8), layers)
    weights = 0.55 * total if method == "qlora" else size * total
    return {"weights": weights + 4 * learnt, "gradients": 4 * learnt, "optimiser": ADAM * learnt}


def with_saving(
    phases: dict[str, Bytes], decoder: Decoder, hardware: Hardware, *, is_full: bool = False
) -> dict[str, Bytes]:
    """Add what saving takes: the child is loaded back and compared, on a GPU after the trained model has left it.

    Where every weight has learnt (`is_full`), each is first compared with the parent's, in float64: the largest matrix
    has five copies then. A processor's allocator keeps most of what earlier phases have freed.
    """
    if hardware.device == "cuda":
        return {**phases, "saving": {"logits": 6 * COMPARED[1] * decoder.vocabulary}}
    sequences, tokens = COMPARED
    answers = 4 * sequences * tokens * decoder.vocabulary
    steps: list[Bytes] = [
        {
            "saved model": hardware.dtype_bytes * decoder.parameters,
            "logits": 2 * answers + 6 * 8 * tokens * decoder.vocabulary,
        }
    ]
    if is_full:
        steps.append({"weights compared": COPIES * decoder.vocabulary * decoder.width, "logits": answers})
    freed = {"freed and not returned": max(sum(parts.values()) for parts in phases.values())}
    largest: Bytes = max(steps, key=lambda step: sum(step.values()))
    return {**phases, "saving": {**largest, **freed}}


def bytes_of_token(decoder: Decoder, layers: int, length: int, hardware: Hardware, *, recompute: bool = False) -> float:
    """Return the bytes that the backward pass needs of one token, in all layers that are run with gradients.

    On a processor the recipes' loops run layers of their own (`training.rl.packed`), which keep less.
    """
    size = hardware.dtype_bytes
    if hardware.device == "cpu":
        shape = decoder.shape(layers, size, packed=decoder.reads_states)
        return shape.bytes_per_token(length, recompute=recompute)
    block = resource_estimate.token_bytes(decoder.width, decoder.feed_forward, size)
    return layers * decoder.width * size + 2 * block if recompute else layers * block
