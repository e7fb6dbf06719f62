"""Measure how answers behave: the parent's own, which are the baseline of everything, and those of each rollout.

The bounds, the charts and the warnings of a run's page compare with this one baseline, the calibration's. Each figure
has its standard error, so that nothing alarms which chance explains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.configs import PPOConfig
from training.recipes.common.fluency import foreign_share, script_shares
from training.rl import guards
from training.rl.advantages import ratio_and_error
from training.rl.factors import in_float64
from training.rl.kl import robust_kl
from training.rl.rollout import Rollout

# Names of the metrics, by field of Behaviour.
METRICS = {
    "length": "length_mean", "distinct": "distinct", "distinct_2": "distinct_2", "kl": "kl_robust", "ends": "eos_rate",
    "surprise": "surprise", "entropy": "entropy", "foreign": "foreign_scripts",
}  # fmt: skip
FLUENCY_STEP = 0.1  # nats a token of surprise above the parent's at which the penalty has its full coefficient
_MOST_STEPS = 3.0


@dataclass(frozen=True)
class Answers:
    """A batch of answers, as far as its behaviour goes. All (B,): lengths in tokens; surprise, entropy and kl (robust)
    in nats, summed over an answer's tokens.
    """

    texts: Sequence[str]
    lengths: Tensor
    finished: Tensor
    surprise: Tensor
    entropy: Tensor
    kl: Tensor

    @classmethod
    def of(
        cls, texts: Sequence[str], rollout: Rollout, logprobs: Tensor, ref_logprobs: Tensor, entropies: Tensor
    ) -> Answers:
        """Return the answers' figures. logprobs and entropies are of the policy, ref_logprobs of the parent: all (B,
        N), of the drawn tokens."""
        mask = rollout.mask
        return cls(
            texts, rollout.lengths, rollout.finished, (-ref_logprobs * mask).sum(1), (entropies * mask).sum(1),
            (robust_kl(logprobs, ref_logprobs) * mask).sum(1),
        )  # fmt: skip

    @classmethod
    def join(cls, batches: Sequence[Answers]) -> Answers:
        names = ("lengths", "finished", "surprise", "entropy", "kl")
        joined = {name: torch.cat([getattr(batch, name) for batch in batches]) for name in names}
        return cls([text for batch in batches for text in batch.texts], **joined)


def group_size(config: PPOConfig) -> int:
    """Return how many answers the shares of different ones are counted among, the parent's and the policy's alike."""
    return min(config.batch_size, config.calibration_episodes)


def behaviour(answers: Answers, group: int, scripts: Mapping[str, float]) -> guards.Behaviour:
    """Return the behaviour of the answers. scripts: `script_shares` of the parent's answers; empty where a checkpoint
    knows none."""
    n = len(answers.texts)
    lengths = answers.lengths.float()
    distinct, pairs = guards.distinct_in_groups(answers.texts, group)
    ends = float(answers.finished.float().mean())
    surprise, surprise_error = ratio_and_error(answers.surprise, answers.lengths)
    entropy, entropy_error = ratio_and_error(answers.entropy, answers.lengths)
    errors = {
        "length": _error(lengths),
        "distinct": guards.share_error(distinct, n),
        "distinct_2": guards.pairs_error(pairs, answers.texts),
        "kl": _error(answers.kl),
        "ends": guards.share_error(ends, n),
        "surprise": surprise_error,
        "entropy": entropy_error,
    }
    foreign = None
    if scripts:
        foreign = foreign_share(answers.texts, scripts)
        errors["foreign"] = _error(torch.tensor([foreign_share([text], scripts) for text in answers.texts]))
    return guards.Behaviour(
        length=float(lengths.mean()), distinct=distinct, distinct_2=pairs, kl=float(answers.kl.mean()), ends=ends,
        surprise=surprise, entropy=entropy, foreign=foreign, errors=errors,
    )  # fmt: skip


def parent_behaviour(answers: Answers, group: int) -> tuple[guards.Behaviour, dict[str, float]]:
    """Return the baseline, and the scripts that the parent writes in."""
    scripts = script_shares(answers.texts)
    return behaviour(answers, group, scripts), scripts


def figures(behaviour: guards.Behaviour) -> dict[str, float]:
    """Return the metrics of a behaviour, each with its standard error as `<name>_se`."""
    values = {metric: getattr(behaviour, name) for name, metric in METRICS.items()}
    errors = {f"{metric}_se": behaviour.errors[name] for name, metric in METRICS.items() if name in behaviour.errors}
    cut = {} if behaviour.ends is None else {"cut_share": 1 - behaviour.ends}
    return {name: value for name, value in values.items() if value is not None} | cut | errors


def baseline_figures(config: PPOConfig, parent: guards.Behaviour) -> dict[str, float]:
    """Return the baseline as metrics of step 0: what a page draws its lines from and warns by."""
    baseline = {f"parent_{name}": value for name, value in figures(parent).items()}
    return baseline | {"kl_target": kl_target(config, parent) or 0.0, "stop_kl": stop_kl(config, parent) or 0.0}


def kl_target(config: PPOConfig, parent: guards.Behaviour) -> float | None:
    """Return the KL that its coefficient steers to, in nats an answer of the parent's mean length; None for none."""
    return config.kl_target_of(parent.length) or None


def stop_kl(config: PPOConfig, parent: guards.Behaviour) -> float | None:
    """Return the bound on KL in nats an answer of the parent's mean length; None for none."""
    return config.stop_kl_of(parent.length) or None


def bounds(config: PPOConfig, parent: guards.Behaviour) -> guards.Bounds:
    return guards.Bounds(
        kl=stop_kl(config, parent),
        shortest=config.min_length_ratio,
        longest=config.max_length_ratio,
        distinct=config.min_distinct_ratio,
        ends=config.min_eos_ratio,
        surprise=config.max_surprise_rise or None,
        entropy=config.max_entropy_rise or None,
        lowest_entropy=config.min_entropy_ratio,
        foreign=config.max_foreign_share or None,
    )


def fluency_coefficient(config: PPOConfig, now: guards.Behaviour, parent: guards.Behaviour) -> float:
    """Return the weight of the penalty on surprise at this step: 0 while it is no higher than the parent's own.

    It grows with the excess: `fluency_coef` at FLUENCY_STEP nats a token, three times that at most. Surprise is read as
    entropy plus KL a token, which is the same in expectation and less noisy. Chance is not taken off, as it is before
    a bound alarms: a penalty that waits for certainty comes too late, and one that chance has called forth is small.
    """
    if not config.fluency_coef or parent.entropy is None or now.entropy is None:
        return 0.0
    rise = now.entropy + now.kl / max(now.length, 1.0) - parent.entropy
    return config.fluency_coef * min(max(0.0, rise) / FLUENCY_STEP, _MOST_STEPS)


def _error(values: Tensor) -> float:
    """Return the standard error of a mean over answers (B,)."""
    return float(in_float64(values).std() / len(values) ** 0.5) if len(values) > 1 else 0.0
