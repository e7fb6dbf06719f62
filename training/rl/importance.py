"""Correct for answers that another policy drew than the one that learns, and measure how far the two are apart.

What draws is not what learns when it is a step behind, rounds in another way or leaves out tokens (top_p, top_k). PPO's
ratio compares the learner with itself; each token's loss is then weighted by learner / sampler, truncated: an
untruncated weight has no bias and a variance without bound, one truncated at C has a variance of at most C^2 and too
small a weight where the learner has grown likelier than C times (Ionides 2008, "Truncated importance sampling"; Yao
2025, "Your efficient RL framework secretly brings you off-policy RL training"; `rollout_is` of verl, OpenRLHF). Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from training.rl.advantages import masked_mean
from training.rl.kl import kl_per_token

LOG_LIMIT = 20.0  # exp(20) is finite in float32


@dataclass(frozen=True)
class Mismatch:
    """Say how far the sampler and the learner are apart, over the valid tokens of a batch.

    gap: mean |log sampler - log learner|, in nats; kl: KL(sampler || learner) by k3, in nats a token; truncated: the
    share of tokens whose weight the cap holds down; weight: the mean weight, which is 1 where nothing is truncated, but
    for chance.
    """

    gap: float
    kl: float
    truncated: float
    weight: float


def importance_weights(logprobs: Tensor, drawn_logprobs: Tensor, mask: Tensor, cap: float) -> Tensor:
    """Return min(learner / sampler, cap) of each token, without gradient; 1 on padding. All (B, N)."""
    return _ratio(logprobs, drawn_logprobs).clamp(max=cap).masked_fill(~mask, 1.0)


def mismatch(logprobs: Tensor, drawn_logprobs: Tensor, mask: Tensor, cap: float) -> Mismatch:
    """Compare the learner's logprobs of the drawn tokens with those that they were drawn by. All (B, N); cap 0: none is
    truncated."""
    ratio = _ratio(logprobs, drawn_logprobs)
    weights = ratio.clamp(max=cap) if cap else ratio
    return Mismatch(
        gap=float(masked_mean((logprobs - drawn_logprobs).abs().detach(), mask)),
        kl=float(masked_mean(kl_per_token(drawn_logprobs, logprobs.detach(), "k3"), mask)),
        truncated=float(masked_mean((ratio > weights).float(), mask)),
        weight=float(masked_mean(weights, mask)),
    )


def _ratio(logprobs: Tensor, drawn_logprobs: Tensor) -> Tensor:
    return (logprobs.detach() - drawn_logprobs).clamp(-LOG_LIMIT, LOG_LIMIT).exp()
