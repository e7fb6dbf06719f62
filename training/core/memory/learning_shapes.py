"""Say how SFT, DPO and KTO run a decoder while it learns, and what they keep beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from training.core import batch_planner
from training.core.memory.decoder_sizes import Decoder
from training.core.memory.stage_memory import Hardware

IN_BACKWARD = 2  # layers' worth that the backward pass of a packed one makes beside what is kept


def adapted_layers(decoder: Decoder, config: Mapping[str, Any]) -> int:
    return max(decoder.layers // 3, 1) if config.get("adapters") == "top" else decoder.layers


def bytes_of_answers(decoder: Decoder, layers: int, hardware: Hardware, prompt: int, answer: int, count: int) -> int:
    """Return what a pass over `count` answers to one prompt takes in packed layers, forward and backward."""
    shape = decoder.shape(layers + IN_BACKWARD, hardware.dtype_bytes, packed=True)
    return shape.bytes_of_answers(prompt, answer, count)


def learning_shape(decoder: Decoder, layers: int, hardware: Hardware) -> batch_planner.Shape:
    """Return the shape that DPO and KTO plan by. A model whose logits have a bias or a cap runs its own forward, with
    the logits of all tokens."""
    packed = hardware.device == "cpu" and decoder.reads_states
    shape = decoder.shape(layers if packed else decoder.layers, hardware.dtype_bytes, packed=packed)
    if decoder.reads_states:
        return shape
    return replace(shape, logits=batch_planner.logit_bytes(decoder.vocabulary, hardware.dtype_bytes))


def kept_trunk(decoder: Decoder, layers: int, hardware: Hardware) -> float:
    """Return the most that the outputs of frozen lower layers take, which a processor keeps for all examples."""
    is_kept = hardware.device == "cpu" and decoder.reads_states and layers < decoder.layers
    return float(batch_planner.KEPT_TRUNK_BYTES * is_kept)
