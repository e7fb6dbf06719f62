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
        MAX_NEW_TOKENS, "longest completion, in tokens; by default the project's setting", low=1,
        high=4096,
    )  # fmt: skip
    temperature: float = option(
        TEMPERATURE,
        "by default as in the arena and the playground; 1 samples from the model's distribution, 0 takes the most "
        "likely token",
        low=0,
        high=5,
    )
    top_p: float = option(
        TOP_P, "nucleus: the most likely tokens with this total probability; 1 keeps all tokens", low=0.01, high=1,
    )  # fmt: skip
    system_prompt: str = option("", "sent before each conversation that has no system prompt", multiline=True)
    batch_size: int = option(
        128, "maximum sequences sampled at once; fewer where memory is short. A model with an endpoint uses its own "
        "concurrency", low=1, high=1024, advanced=True,
    )  # fmt: skip
    max_cost: float | None = option(
        None,
        "limit in dollars, by the prices of a model with an endpoint; empty: no limit. At the limit the "
        "run ends with the answers it has",
        low=1e-6,
        high=1e6,
    )
    logprobs: bool = option(False, "keep the log-probability of each token, if the endpoint returns it", advanced=True)
    request_timeout: float = option(
        300.0, "seconds without a response of the endpoint before a question is repeated", low=1, high=3600,
        advanced=True,
    )  # fmt: skip
