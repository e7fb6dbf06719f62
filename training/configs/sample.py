from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import option


@dataclass(frozen=True)
class SampleConfig:
    """Sample completions in bulk from a policy model."""

    kind: ClassVar[str] = "sample"
    completions_per_prompt: int = option(4, "completions for each prompt", low=1, high=64)
    max_new_tokens: int = option(64, "longest completion, in tokens", low=1, high=4096)
    temperature: float = option(1.0, "1 samples from the model as it is, 0 takes the likeliest token", low=0, high=5)
    top_p: float = option(1.0, "nucleus: 1 keeps every token", low=0.01, high=1)
    batch_size: int = option(32, "sequences sampled at once", low=1, high=1024, advanced=True)
