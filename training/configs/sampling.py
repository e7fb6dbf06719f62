from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from common.sampling import MAX_NEW_TOKENS, TEMPERATURE, TOP_P
from training.configs.options import option


@dataclass(frozen=True)
class SampleConfig:
    """Sample completions in bulk from a policy model."""

    kind: ClassVar[str] = "sample"
    completions_per_prompt: int = option(4, "completions for each prompt", low=1, high=64)
    max_new_tokens: int = option(
        MAX_NEW_TOKENS, "longest completion, in tokens; as the project says, which is how answers are served", low=1,
        high=4096,
    )  # fmt: skip
    temperature: float = option(
        TEMPERATURE,
        "as answers are served in the arena and the playground: people annotate what they would get; "
        "1 samples from the model as it is, 0 takes the likeliest token",
        low=0,
        high=5,
    )
    top_p: float = option(
        TOP_P, "nucleus: the likeliest tokens with this much probability in all; 1 keeps every token", low=0.01, high=1,
    )  # fmt: skip
    system_prompt: str = option("", "sent before each conversation that brings none of its own", multiline=True)
    batch_size: int = option(
        32, "sequences sampled at once; for a model behind an endpoint its own concurrency counts", low=1, high=1024,
        advanced=True,
    )  # fmt: skip
    max_cost: float | None = option(
        None,
        "dollars, by the prices of a model behind an endpoint, after which nothing more is asked; empty: no limit. The "
        "run then ends with what it has",
        low=1e-6,
        high=1e6,
    )
    logprobs: bool = option(
        False, "keep the log-probability of each token, where the model's endpoint tells it", advanced=True
    )
    request_timeout: float = option(
        300.0, "seconds without a word of a model's endpoint, after which a question is asked again", low=1, high=3600,
        advanced=True,
    )  # fmt: skip
