from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import option
from training.configs.presets import PRESETS

OBJECTIVES = ("causal", "masked", "span", "mixture")


@dataclass(frozen=True)
class PretrainConfig:
    """Pretrain a model from nothing: causal, masked, span corruption, or a mixture."""

    kind: ClassVar[str] = "pretrain"
    size: str = option("10M", "parameters, the vocabulary counted", choices=tuple(PRESETS))
    objective: str = option(
        "causal",
        "causal: the next token (Llama); masked: hidden tokens (ModernBERT); span: missing spans (T5); "
        "mixture: causal and masked in one model (GPT-BERT)",
        choices=OBJECTIVES,
    )
    epochs: float = option(1.0, "passes over the corpus", low=0.001, high=1000)
    max_tokens: int | None = option(None, "stop after so many tokens, whatever epochs says", low=1000, high=10**14)
    context_length: int = option(512, "tokens that the model sees at once", low=16, high=131072)
    batch_size: int = option(32, "rows of context_length tokens in one optimiser step", low=1, high=65536)
    learning_rate: float | None = option(None, "peak learning rate; empty: by the size", low=1e-8, high=1)
    schedule: str = option("cosine", "how the rate falls", choices=("cosine", "wsd", "linear", "constant"))
    causal_probability: float = option(
        0.5, "mixture: the share of rows that are causal; the others are masked", low=0, high=1
    )
    processes: int = option(1, "processes that share each step: one per GPU, or several on a processor", low=1, high=64)

    warmup_ratio: float = option(0.02, "share of the steps that warm the rate up", low=0, high=1, advanced=True)
    decay_ratio: float = option(0.2, "wsd: share of the steps in which the rate falls", low=0, high=1, advanced=True)
    final_rate: float = option(0.1, "share of the peak rate at the end", low=0, high=1, advanced=True)
    weight_decay: float = option(0.1, "of matrices; vectors have none", low=0, high=10, advanced=True)
    beta2: float = option(0.95, "of AdamW", low=0.5, high=0.9999, advanced=True)
    max_grad_norm: float = option(1.0, "gradients are clipped to this norm", low=1e-6, high=1000, advanced=True)
    mask_rate: float | None = option(
        None, "share of tokens hidden; empty: 0.15 for spans, 0.3 for masks", low=0.05, high=0.5, advanced=True
    )
    mask_style: str = option(
        "80-10-10",
        "what stands in the place of a hidden token: 80 % mask, 10 % another token, 10 % itself, as BERT has it; "
        "or always the mask",
        choices=("80-10-10", "all-mask"),
        advanced=True,
    )
    mean_span: float = option(3.0, "span: mean length of a missing span, in tokens", low=1, high=64, advanced=True)
    dtype: str = option(
        "auto", "of the products; master weights are float32", choices=("auto", "bfloat16", "float32"), advanced=True
    )
    micro_batch_size: int | None = option(
        None, "rows computed at once; empty: what fits the memory", low=1, high=65536, advanced=True
    )
    activation_checkpointing: str = option(
        "auto", "compute activations twice to keep fewer", choices=("auto", "on", "off"), advanced=True
    )
    validate_every: int = option(50, "optimiser steps between validations", low=1, high=10**6, advanced=True)
    validation_tokens: int = option(100_000, "held-out tokens looked at each time", low=256, high=10**9, advanced=True)
    checkpoint_every: int = option(100, "optimiser steps between checkpoints", low=1, high=10**6, advanced=True)
    sample_every: int = option(100, "optimiser steps between sample texts", low=1, high=10**6, advanced=True)
    sample_tokens: int = option(48, "longest sample, in tokens", low=1, high=4096, advanced=True)

    def cross_check(self) -> dict[str, str]:
        if self.processes > self.batch_size:
            return {"processes": f"must be at most batch_size ({self.batch_size}): each takes its share of the rows."}
        return {}

    @property
    def rate(self) -> float:
        return self.learning_rate or PRESETS[self.size].learning_rate

    @property
    def hidden_share(self) -> float:
        return self.mask_rate or (0.15 if self.objective == "span" else 0.3)
