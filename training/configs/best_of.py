"""Best-of-N: of several answers the one that a reward model scores highest, as a policy or as examples to learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from common.sampling import MAX_NEW_TOKENS, TEMPERATURE, TOP_P
from training.configs.options import option
from training.configs.rewards.part_lines import check_rewards, rewards_option


@dataclass(frozen=True)
class BestOfOptions:
    """Hold what both kinds share: how answers are drawn, and by what they are scored."""

    reward_function: str = option("", "a function that the operator lists, instead of a reward model")
    rewards: str = rewards_option()
    trust_unproven_reward: bool = option(
        False, "allow a reward model whose held-out accuracy is not better than chance"
    )
    candidates: int = option(4, "answers drawn for each one that is kept: the N of best-of-N", low=2, high=256)
    completions_per_prompt: int = option(1, "answers kept for each prompt", low=1, high=64)
    max_new_tokens: int = option(MAX_NEW_TOKENS, "longest completion, in tokens", low=1, high=4096)
    temperature: float = option(
        TEMPERATURE, "1 samples from the model's distribution; near 0 all candidates are alike", low=0.05, high=5
    )
    top_p: float = option(
        TOP_P, "nucleus: the most likely tokens with this total probability; 1 keeps all tokens", low=0.01, high=1
    )
    system_prompt: str = option("", "sent before each conversation that has no system prompt", multiline=True)
    batch_size: int = option(
        128, "maximum sequences sampled at once; fewer where memory is short", low=1, high=1024, advanced=True
    )

    def cross_check(self) -> dict[str, str]:
        return check_rewards(self)

    @property
    def drawn_per_prompt(self) -> int:
        return self.candidates * self.completions_per_prompt


@dataclass(frozen=True)
class BestOfConfig(BestOfOptions):
    """A policy that answers with the best of N of its parent's answers. It has no weights of its own."""

    kind: ClassVar[str] = "best_of"


@dataclass(frozen=True)
class RejectionConfig(BestOfOptions):
    """Rejection sampling: the best of N answers to each prompt become examples for SFT."""

    kind: ClassVar[str] = "rejection"
    max_prompts: int = option(0, "prompts to answer, drawn by the seed; 0: all", low=0, high=10_000_000)
