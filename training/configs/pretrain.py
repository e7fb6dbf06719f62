"""From raw text: the tokenizer, a new model, and a model that goes on with the texts of one domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import check_processes, kept_checkpoints_option, nodes_option, option, sharding_option
from training.configs.presets import PRESETS

OBJECTIVES = ("causal", "masked", "span", "mixture")


@dataclass(frozen=True)
class PretrainConfig:
    """Pretrain a model from nothing: causal, masked, span corruption, or a mixture."""

    kind: ClassVar[str] = "pretrain"
    size: str = option("10M", "parameters, including the vocabulary", choices=tuple(PRESETS))
    objective: str = option(
        "causal",
        "causal: the next token (Llama); masked: hidden tokens (ModernBERT); span: missing spans (T5); "
        "mixture: causal and masked in one model (GPT-BERT)",
        choices=OBJECTIVES,
    )
    epochs: float = option(1.0, "passes over the corpus", low=0.001, high=1000)
    max_tokens: int | None = option(
        None, "stop after this many tokens, even before epochs are done", low=1000, high=10**14
    )
    context_length: int = option(512, "tokens in the model's context", low=16, high=131072)
    batch_size: int = option(32, "rows of context_length tokens in one optimiser step", low=1, high=65536)
    learning_rate: float | None = option(None, "peak learning rate; empty: depends on the size", low=1e-8, high=1)
    schedule: str = option("cosine", "how the rate falls", choices=("cosine", "wsd", "linear", "constant"))
    causal_probability: float = option(
        0.5, "mixture: the share of rows that are causal; the others are masked", low=0, high=1
    )
    processes: int = option(1, "processes that share each step: one per GPU, or several on a CPU", low=1, high=64)

    warmup_ratio: float = option(0.02, "share of the steps for warm-up", low=0, high=1, advanced=True)
    decay_ratio: float = option(0.2, "wsd: share of the steps in which the rate falls", low=0, high=1, advanced=True)
    final_rate: float = option(0.1, "share of the peak rate at the end", low=0, high=1, advanced=True)
    weight_decay: float = option(0.1, "for matrices only", low=0, high=10, advanced=True)
    beta2: float = option(0.95, "of AdamW", low=0.5, high=0.9999, advanced=True)
    max_grad_norm: float = option(1.0, "gradients are clipped to this norm", low=1e-6, high=1000, advanced=True)
    mask_rate: float | None = option(
        None, "share of tokens hidden; empty: 0.15 for spans, 0.3 for masks", low=0.05, high=0.5, advanced=True
    )
    mask_style: str = option(
        "80-10-10",
        "what replaces a hidden token: 80 % mask, 10 % another token, 10 % unchanged, as in BERT; or always the mask",
        choices=("80-10-10", "all-mask"),
        advanced=True,
    )
    mean_span: float = option(3.0, "span: mean length of a missing span, in tokens", low=1, high=64, advanced=True)
    dtype: str = option(
        "auto",
        "for matrix products; master weights are float32",
        choices=("auto", "bfloat16", "float32"),
        advanced=True,
    )
    micro_batch_size: int | None = option(
        None, "rows per forward pass; empty: as many as fit in memory", low=1, high=65536, advanced=True
    )
    sharding: str = sharding_option()
    nodes: int = nodes_option()
    activation_checkpointing: str = option(
        "auto", "recompute activations to save memory", choices=("auto", "on", "off"), advanced=True
    )
    validate_every: int = option(50, "optimiser steps between validations", low=1, high=10**6, advanced=True)
    validation_tokens: int = option(100_000, "held-out tokens per validation", low=256, high=10**9, advanced=True)
    checkpoint_every: int = option(100, "optimiser steps between checkpoints", low=1, high=10**6, advanced=True)
    kept_checkpoints: int = kept_checkpoints_option()
    sample_every: int = option(100, "optimiser steps between sample texts", low=1, high=10**6, advanced=True)
    sample_tokens: int = option(48, "longest sample, in tokens", low=1, high=4096, advanced=True)

    def cross_check(self) -> dict[str, str]:
        return check_processes(self, batch_size=self.batch_size, rows="rows")

    @property
    def rate(self) -> float:
        return self.learning_rate or PRESETS[self.size].learning_rate

    @property
    def hidden_share(self) -> float:
        return self.mask_rate or (0.15 if self.objective == "span" else 0.3)


MARKERS = 5  # <|endoftext|>, <|pad|>, <|im_start|>, <|im_end|>, <|mask|>
BYTES = 256


@dataclass(frozen=True)
class TokenizerConfig:
    """Train a byte-level BPE tokenizer on a corpus."""

    kind: ClassVar[str] = "tokenizer"
    vocab_size: int = option(
        8192, "tokens, including special tokens; 4,000 to 8,000 for a small model", low=300, high=10**6
    )
    digits: str = option(
        "single", "single: each digit a token, which helps with sums; grouped", choices=("single", "grouped")
    )
    sentinels: int = option(
        100, "<extra_id_0> and so on, for span corruption; 0: without that objective", low=0, high=1000, advanced=True
    )
    min_frequency: int = option(2, "rarer pairs are not merged", low=1, high=10**6, advanced=True)
    train_mb: int = option(1024, "train on at most this much text, a random sample", low=1, high=10**6, advanced=True)

    def cross_check(self) -> dict[str, str]:
        least = BYTES + MARKERS + self.sentinels
        if self.vocab_size <= least:
            return {
                "vocab_size": f"must be above {least}: {BYTES} bytes, {MARKERS} markers and {self.sentinels} sentinels "
                "come first."
            }
        return {}


@dataclass(frozen=True)
class DomainConfig:
    """Go on with causal training on the texts of one domain."""

    kind: ClassVar[str] = "domain"
    epochs: float = option(1.0, "passes over the corpus", low=0.001, high=1000)
    max_tokens: int | None = option(
        None, "stop after this many tokens, even before epochs are done", low=100, high=10**14
    )
    adapters: str = option(
        "lora",
        "lora: adapters on all layers; top: in the top third, quicker; full: every weight",
        choices=("lora", "top", "full"),
    )
    learning_rate: float | None = option(
        None, "peak learning rate; empty: 4e-4 for adapters, 3e-5 for every weight", low=1e-8, high=1
    )
    context_length: int = option(512, "tokens in the model's context", low=16, high=131072)
    batch_size: int = option(8, "rows of context_length tokens in one optimiser step", low=1, high=65536)
    replay_share: float = option(0.1, "share of the rows from the second dataset, if there is one", low=0, high=0.9)
    processes: int = option(1, "processes that share each step: one per GPU, or several on a CPU", low=1, high=64)

    schedule: str = option(
        "cosine", "how the rate falls", choices=("cosine", "wsd", "linear", "constant"), advanced=True
    )
    lora_rank: int = option(16, "rank of the LoRA adapters", low=1, high=1024, advanced=True)
    warmup_ratio: float = option(0.05, "share of the steps for warm-up", low=0, high=1, advanced=True)
    decay_ratio: float = option(0.2, "wsd: share of the steps in which the rate falls", low=0, high=1, advanced=True)
    final_rate: float = option(0.1, "share of the peak rate at the end", low=0, high=1, advanced=True)
    weight_decay: float = option(0.01, "for matrices only", low=0, high=10, advanced=True)
    beta2: float = option(0.95, "of AdamW", low=0.5, high=0.9999, advanced=True)
    max_grad_norm: float = option(1.0, "gradients are clipped to this norm", low=1e-6, high=1000, advanced=True)
    dtype: str = option(
        "auto",
        "for matrix products; trained weights are float32",
        choices=("auto", "bfloat16", "float32"),
        advanced=True,
    )
    micro_batch_size: int | None = option(
        None, "rows per forward pass; empty: as many as fit in memory", low=1, high=65536, advanced=True
    )
    sharding: str = sharding_option()
    nodes: int = nodes_option()
    activation_checkpointing: str = option(
        "auto", "recompute activations to save memory", choices=("auto", "on", "off"), advanced=True
    )
    validate_every: int = option(20, "optimiser steps between validations", low=1, high=10**6, advanced=True)
    validation_tokens: int = option(20_000, "held-out tokens per validation", low=256, high=10**9, advanced=True)
    checkpoint_every: int = option(20, "optimiser steps between checkpoints", low=1, high=10**6, advanced=True)
    kept_checkpoints: int = kept_checkpoints_option()
    sample_every: int = option(50, "optimiser steps between sample texts", low=1, high=10**6, advanced=True)
    sample_tokens: int = option(48, "longest sample, in tokens", low=1, high=4096, advanced=True)

    def cross_check(self) -> dict[str, str]:
        return check_processes(self, batch_size=self.batch_size, rows="rows")

    @property
    def rate(self) -> float:
        return self.learning_rate or (3e-5 if self.adapters == "full" else 4e-4)
