"""Say how SFT, DPO and KTO run a decoder while it learns, and what they keep beside it."""

from __future__ import annotations

from dataclasses import replace

from training.core import batch_planner
from training.core.memory.decoder_sizes import Decoder
from training.core.memory.stage_memory import Hardware


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
