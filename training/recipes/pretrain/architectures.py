"""Build the models of pretraining: Llama, ModernBERT and T5 of any preset, and pass a batch through each.

transformers' classes as they are, so that what is saved loads anywhere. Attention takes a mask that keeps the documents
of a row apart (`packing.attention_mask`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
)

from training.configs.presets import Preset, span_layers
from training.recipes.pretrain.objectives import IGNORED, Batch
from training.recipes.pretrain.packing import attention_mask
from training.rl.packed.packed_attention import attend_masked

PACKED = "assay_packed"
LONGEST = 1024  # from here on the scores no longer stay in a processor's cache

MODEL_KINDS = {"causal": "policy", "mixture": "policy", "masked": "encoder", "span": "seq2seq"}


def build(preset: Preset, objective: str, tokenizer: Any, length: int) -> Any:
    """Return a model with random float32 weights from torch's generator, in training mode, without dropout."""
    make = {"masked": _modernbert, "span": _t5}.get(objective, _llama)
    return pack(make(preset, tokenizer, length).train())


def hidden_states(model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return what the output layer reads at every place that has a label (N, H), and those labels (N,)."""
    dtype = model.get_input_embeddings().weight.dtype
    mask = attention_mask(batch.segments, batch.segments, batch.causal, dtype)
    if batch.decoder_ids is not None:
        states = _through_t5(model, batch, mask, dtype)
    else:
        base = getattr(model, model.base_model_prefix)
        extra = {} if isinstance(model, ModernBertForMaskedLM) else {"use_cache": False}
        states = base(
            input_ids=batch.input_ids, attention_mask=mask, position_ids=batch.positions, **extra
        ).last_hidden_state
    has_label = batch.labels != IGNORED
    states = states[has_label]
    if isinstance(model, ModernBertForMaskedLM):
        states = model.head(states)
    return states, batch.labels[has_label]


def packed_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """Return the attention of query (B, Q, T, D), key and value (B, K, T, D), mask (B, 1, T, T) to be added -> (B, T,
    Q, D).

    On a processor two batched products are twice as fast, forward and backward, as torch's fused kernel with a mask.
    """
    B, Q, T, D = query.shape
    K = key.shape[1]
    if query.device.type != "cpu" or T > LONGEST:
        return attend_masked(query, key, value, attention_mask, scaling).transpose(1, 2), None
    scores = (query.reshape(B, K, Q // K * T, D) @ key.transpose(2, 3)).view(B, K, Q // K, T, T)
    weights = torch.add(attention_mask[:, :, None], scores, alpha=scaling).softmax(-1)
    mixed = weights.view(B, K, Q // K * T, T) @ value
    return mixed.view(B, Q, T, D).transpose(1, 2), None


AttentionInterface.register(PACKED, packed_attention)


def pack(model: Any) -> Any:
    """Let the layers take masks of their own for attention, as `hidden_states` gives them. T5's always do."""
    if not model.config.is_encoder_decoder:
        model.config._attn_implementation = PACKED
    return model


@contextmanager
def unpacked(model: Any) -> Iterator[None]:
    """Let the model generate, within the block, as it would anywhere."""
    packed = model.config._attn_implementation
    model.config._attn_implementation = "sdpa" if packed == PACKED else packed
    try:
        yield
    finally:
        model.config._attn_implementation = packed


def _through_t5(model: Any, batch: Batch, mask: Tensor, dtype: torch.dtype) -> Tensor:
    segments = batch.decoder_segments
    assert segments is not None
    encoded = model.encoder(input_ids=batch.input_ids, attention_mask=mask).last_hidden_state
    causal = torch.ones_like(batch.causal)
    states = model.decoder(
        input_ids=batch.decoder_ids,
        attention_mask=attention_mask(segments, segments, causal, dtype),
        encoder_hidden_states=encoded,
        encoder_attention_mask=attention_mask(segments, batch.segments, ~causal, dtype),
        use_cache=False,
    ).last_hidden_state
    return states * model.config.d_model**-0.5 if model.config.scale_decoder_outputs else states


def _llama(preset: Preset, tokenizer: Any, length: int) -> Any:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=preset.width,
        intermediate_size=preset.feed_forward,
        num_hidden_layers=preset.layers,
        num_attention_heads=preset.heads,
        num_key_value_heads=preset.key_heads,
        max_position_embeddings=length,
        rms_norm_eps=1e-5,
        tie_word_embeddings=preset.tied,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    _scale_residual_outputs(model, ("o_proj.weight", "down_proj.weight"), preset.layers)
    # An answer to a chat prompt ends with the turn, a text with the document.
    ends = {tokenizer.eos_token_id, tokenizer.get_vocab().get("<|im_end|>", tokenizer.eos_token_id)}
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.eos_token_id, eos_token_id=sorted(ends), pad_token_id=tokenizer.pad_token_id
    )
    return model


def _modernbert(preset: Preset, tokenizer: Any, length: int) -> Any:
    end = tokenizer.eos_token_id
    return ModernBertForMaskedLM(
        ModernBertConfig(
            vocab_size=len(tokenizer),
            hidden_size=preset.width,
            intermediate_size=preset.feed_forward,
            num_hidden_layers=preset.layers,
            num_attention_heads=preset.heads,
            max_position_embeddings=length,
            layer_types=["full_attention"] * preset.layers,  # a window of 128 saves nothing on rows this short
            decoder_bias=False,
            bos_token_id=end,
            cls_token_id=end,
            sep_token_id=end,
            eos_token_id=end,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _t5(preset: Preset, tokenizer: Any, length: int) -> Any:
    encoder, decoder = span_layers(preset)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=preset.width,
            d_kv=preset.width // preset.heads,
            d_ff=preset.feed_forward,
            num_layers=encoder,
            num_decoder_layers=decoder,
            num_heads=preset.heads,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    # What the decoder reads before it has written anything.
    model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id = tokenizer.pad_token_id
    return model


@torch.no_grad()
def _scale_residual_outputs(model: Any, names: tuple[str, ...], layers: int) -> None:
    """Scale down the first weights of what is added to the residual stream, the more often something is added (Radford
    2019)."""
    for name, parameter in model.named_parameters():
        if name.endswith(names):
            parameter.mul_((2 * layers) ** -0.5)
