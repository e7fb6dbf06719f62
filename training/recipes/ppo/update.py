"""Update the policy (stages 3 and 4 of `training.recipes.ppo`): rewards, advantages, epochs x minibatches of the
losses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from training.configs import PPOConfig
from training.core.run_directory import RecipeFailure
from training.recipes.common import steps
from training.recipes.engine.policy_engine import shuffled
from training.recipes.ppo.gold_score import Compared
from training.recipes.ppo.ptx import Mixture, ptx_losses
from training.recipes.ppo.rollouts import PPO, Episodes
from training.recipes.ppo.state import State, set_base_rates
from training.rl import advantages as adv
from training.rl import guards
from training.rl.kl import kl_per_token
from training.rl.losses import policy_loss, value_loss
from training.rl.rollout import Rollout

MEASURES = ("ratio_mean", "approx_kl", "clip_frac", "policy_loss", "value_loss", "ptx_loss")


@dataclass(frozen=True)
class Measured:
    """Hold the figures of one rollout: scaled scores (B,), old logprobs, KL per token, values and fluency (B, N), and
    figures to log.

    `fluency` is what the penalty on surprise adds to the advantages.
    `fresh` are the old logprobs with their graph, where the first minibatch is the whole batch; `gold` the score beside
    the reward model's second head, where it has one; `weights` (B, N) what each token's loss is multiplied by, where
    another policy drew it.
    """

    scores: Tensor
    logprobs: Tensor
    kl: Tensor
    values: Tensor
    fluency: Tensor
    behaviour: guards.Behaviour
    figures: dict[str, float]
    fresh: Tensor | None = None
    gold: Compared | None = None
    weights: Tensor | None = None


@dataclass(frozen=True)
class OwnPart:
    """Hold what a process computes of a minibatch: `rows` of the batch, their places in what it has of the episodes,
    and the share of the minibatch's tokens that they have; 0 where none is its own.

    `all_rows` are the minibatch's, `all_tokens` how many tokens these have.
    """

    rows: Tensor
    places: Tensor
    share: float
    all_rows: Tensor
    all_tokens: float


@dataclass(frozen=True)
class Part:
    """Hold the part of a minibatch's loss that is computed at once: the parts of all processes add up to it.

    `measures` are summed over the parts, too; `ratio_max` is the largest of its tokens, 0 where none counts.
    """

    loss: Tensor
    measures: dict[str, float]
    ratio_max: float = 0.0


@dataclass(frozen=True)
class Batch:
    """Hold what the minibatches are cut from. advantages, returns (B, N); `parent_rollout`: for PTX;
    `tokens`: valid ones in a minibatch of mean size, which a loss over the whole batch is divided by.
    """

    episodes: Episodes
    measured: Measured
    advantages: Tensor
    returns: Tensor
    parent_rollout: Rollout | None
    mixture: Mixture | None
    step: int
    tokens: float


def rate_factor(config: PPOConfig, step: int) -> float:
    """Return the learning rate of a step, as a share of the one at first."""
    return 1.0 if config.learning_rate_schedule == "constant" else 1 - step / config.steps


def share_spent(config: PPOConfig, step: int) -> float:
    """Return what the steps before this one took of the sum of all steps' learning rates: 0 at first, 1 after the last.

    It is read from the config as it is by now: a rate that a person changed at a pause counts as if it had always been.
    """
    if config.learning_rate_schedule == "constant":
        return step / config.steps
    return step * (2 * config.steps - step + 1) / (config.steps * (config.steps + 1))


def update(
    ppo: PPO, optimiser: torch.optim.Optimizer, state: State, episodes: Episodes, measured: Measured, step: int,
    mixture: Mixture | None = None,
) -> dict[str, float]:  # fmt: skip
    """Train on one rollout batch. Return the figures of the update."""
    batch = _batch(ppo, state, episodes, measured, step, mixture)
    rate = rate_factor(ppo.config, step)
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * rate
    figures: list[dict[str, float]] = []
    for number, rows in enumerate(_minibatches(ppo, step)):
        figures.append(_minibatch(ppo, optimiser, batch, _own_part(ppo, episodes.rollout, rows), number))
        if not figures[-1]["moved"]:
            break
    first = figures[0]
    if abs(first["ratio_mean"] - 1) > 0.05:
        raise RecipeFailure(
            "ratio_not_one",
            f"Before any update the policy's ratio to itself is {first['ratio_mean']:.3f}; it must be 1.",
            "The model does not compute the same twice: set ASSAY_DTYPE=float32, or adapters to lora, and report it.",
        )
    mean = {name: sum(t[name] for t in figures) / len(figures) for name in first}
    moved = sum(t["moved"] for t in figures)
    return {
        "explained_variance": adv.explained_variance(measured.values, batch.returns, episodes.rollout.mask),
        "ratio_first_mean": first["ratio_mean"],
        "ratio_first_max": first["ratio_max"],
        "approx_kl": figures[-1]["approx_kl"],
        **{name: mean[name] for name in ("clip_frac", "policy_loss", "value_loss")},
        "grad_norm": sum(t["grad_norm"] for t in figures) / max(moved, 1),  # the last may have taken no step
        **({"ptx_loss": mean["ptx_loss"]} if ppo.config.ptx_coef else {}),
        "updates": moved,
        "lr": ppo.config.rate * rate,
    }


def _batch(ppo: PPO, state: State, episodes: Episodes, measured: Measured, step: int, mixture: Mixture | None) -> Batch:
    config, mask = ppo.config, episodes.rollout.mask
    rewards = adv.token_rewards(measured.scores, measured.kl, mask, state.controller.coefficient)
    if config.reward_whitening:
        rewards = adv.whiten(rewards, mask, shift_mean=False)
    advantages, returns = adv.gae(rewards, measured.values, mask, config.gamma, config.gae_lambda)
    if config.advantage_whitening:
        advantages = adv.whiten(advantages, mask)
    # A token answers for its own surprise alone. Inside the reward it would be spread over all tokens before it, and
    # the noise of some dozen surprises would drown the score.
    advantages = advantages + measured.fluency
    # The last batch is held back, where there are several.
    mixed = state.parent_rollouts[: max(1, len(state.parent_rollouts) - 1)]
    own_rollout = mixed[step % len(mixed)] if config.ptx_coef and mixed else None
    tokens = float(mask.sum()) / config.steps_a_pass
    return Batch(
        episodes, measured, advantages, returns, own_rollout, mixture if config.ptx_coef else None, step, tokens
    )


def _minibatches(ppo: PPO, step: int) -> Iterator[Tensor]:
    for epoch in range(ppo.config.epochs):
        order = torch.tensor(shuffled(ppo.config.batch_size, ppo.spec.seed, "minibatches", step, epoch))
        yield from order.to(ppo.device).tensor_split(ppo.config.steps_a_pass)


def _own_part(ppo: PPO, rollout: Rollout, rows: Tensor) -> OwnPart:
    """Return this process's part of a minibatch: the rows whose states it has."""
    together, tokens = ppo.together, float(rollout.mask[rows].sum())
    if together.count == 1:
        return OwnPart(rows, rows, 1.0, rows, tokens)
    own = rows[rows % together.count == together.rank]
    share = float(rollout.mask[own].sum()) / tokens
    if not len(own):
        own = torch.tensor([together.rank], device=rows.device)  # counts for nothing, as in every forward of all
    return OwnPart(own, own // together.count, share, rows, tokens)


def _minibatch(ppo: PPO, optimiser: torch.optim.Optimizer, batch: Batch, own: OwnPart, number: int) -> dict[str, float]:
    """Take one optimiser step, or none (`moved` is 0) when the policy has already moved far enough on this batch."""
    optimiser.zero_grad(set_to_none=True)
    sums, total_loss, ratio_max, last = dict.fromkeys(MEASURES, 0.0), 0.0, 0.0, None
    for compute in _parts(ppo, batch, own, number):
        if last is not None:  # the graph of one part alone is held
            last.backward()
            ppo.policy.collect()
        part = compute()
        for name, value in part.measures.items():
            sums[name] += value
        total_loss, ratio_max = total_loss + float(part.loss.detach()), max(ratio_max, part.ratio_max)
        last = part.loss
    *all_sums, total_loss = ppo.together.total(*sums.values(), total_loss)
    measures = dict(zip(sums, all_sums, strict=True))
    if not math.isfinite(total_loss):
        raise RecipeFailure(
            "not_finite", "Training diverged: the loss is not a number.", "Start again with a lower learning_rate."
        )
    moved = not (ppo.config.max_approx_kl and measures["approx_kl"] > ppo.config.max_approx_kl)
    norm = 0.0
    if moved:
        assert last is not None
        last.backward()
        ppo.policy.collect()
        norm = _clip(ppo, optimiser, total_loss, batch.step)
        optimiser.step()
        ppo.policy.publish()
    return measures | {
        "ratio_max": ppo.together.largest(ratio_max),
        "grad_norm": norm,
        "moved": float(moved),
    }


def _clip(ppo: PPO, optimiser: torch.optim.Optimizer, loss: float, step: int) -> float:
    """Add the processes' gradients up, clip them, and return the norm of the policy's.

    The value head's are clipped apart, because its gradient shares nothing with the policy's.
    """
    limit, groups = ppo.config.max_grad_norm, [group["params"] for group in optimiser.param_groups]
    ppo.together.add_gradients(p.grad for group in groups for p in group if p.grad is not None)
    of_policy, _ = (steps.clip_gradients(group, limit, loss=loss, step=step) for group in groups)
    return of_policy


def _parts(ppo: PPO, batch: Batch, own: OwnPart, number: int) -> list[Callable[[], Part]]:
    """Return what computes this process's parts of a minibatch's loss."""
    rollout = batch.episodes.rollout[own.rows]
    starts_fresh = number == 0 and batch.measured.fresh is not None  # then there is one part, the whole batch
    tokens = float(rollout.mask.sum())
    parts: list[Callable[[], Part]] = [
        partial(
            _part,
            ppo,
            batch,
            own,
            chosen,
            share=own.share * float(rollout.mask[chosen].sum()) / tokens if counts else 0.0,
            starts_fresh=starts_fresh,
        )
        for chosen, counts in ppo.groups(rollout)
    ]
    other = _other_text(ppo, batch, own.all_rows, number)
    return parts if other is None else [*parts, *(partial(_ptx_part, ppo, one) for one in ptx_losses(ppo, other))]


def _ptx_part(ppo: PPO, compute: Callable[[], Tensor]) -> Part:
    ptx = compute()
    return Part(ppo.config.ptx_coef * ptx, {"ptx_loss": float(ptx.detach())})


def _part(ppo: PPO, batch: Batch, own: OwnPart, chosen: Tensor, *, share: float, starts_fresh: bool) -> Part:
    """Return the loss of the policy and the value on the `chosen` of a process's rows, which have this `share` of the
    minibatch's tokens."""
    config, measured, rows, places = ppo.config, batch.measured, own.rows[chosen], own.places[chosen]
    part = batch.episodes.rollout[rows]
    width, N = part.ids.shape[1], part.mask.shape[1]
    if starts_fresh:
        assert measured.fresh is not None
        logprobs = measured.fresh[rows]
    else:
        logprobs, _ = ppo.policy.logprobs(batch.episodes.lower[places, :width], part)
    weights = None if measured.weights is None else measured.weights[rows, :N]
    policy = policy_loss(
        logprobs, measured.logprobs[rows, :N], batch.advantages[rows, :N], part.mask, config.clip, weights
    )
    values = ppo.value(batch.episodes.features[places, :N])
    clip = config.value_clip or None
    value = value_loss(values, measured.values[rows, :N], batch.returns[rows, :N], part.mask, clip)
    loss = policy.loss + config.value_coef * value
    if config.kl_loss_coef:
        kl = kl_per_token(logprobs, batch.episodes.ref_logprobs[rows, :N], config.kl_loss_estimator)
        loss = loss + config.kl_loss_coef * adv.masked_mean(kl, part.mask)
    loss = loss * share
    if config.loss_mean == "batch":  # each is a mean over this minibatch's tokens, of which there may be more or fewer
        loss = loss * (own.all_tokens / batch.tokens)
    measures = {
        "ratio_mean": policy.ratio_mean,
        "approx_kl": policy.approx_kl,
        "clip_frac": policy.clip_frac,
        "policy_loss": float(policy.loss.detach()),
        "value_loss": float(value.detach()),
    }
    measures = {name: measure * share for name, measure in measures.items()}
    return Part(loss, measures, policy.ratio_max if share else 0.0)


def _other_text(ppo: PPO, batch: Batch, rows: Tensor, number: int) -> Rollout | None:
    """Return what PTX mixes into this minibatch: of the second dataset, else of the parent's own completions."""
    if batch.mixture is not None:
        return batch.mixture.batch(ppo, batch.step, number)
    if batch.parent_rollout is None:
        return None
    rows_inside = rows[rows < len(batch.parent_rollout)]
    return batch.parent_rollout[rows_inside] if len(rows_inside) else batch.parent_rollout


def optimiser_for(ppo: PPO) -> torch.optim.Adam:
    groups = [
        {"params": list(ppo.policy.parameters().values()), "lr": ppo.config.rate},
        {"params": list(ppo.value.parameters()), "lr": ppo.config.value_learning_rate},
    ]
    # One pass over weights and moments, where plain Adam takes some ten; split weights know plain ones alone.
    is_fused = not ppo.together.is_sharded and ppo.device.type in ("cpu", "cuda")
    optimiser = torch.optim.Adam(groups, eps=ppo.config.adam_eps, fused=is_fused or None)
    set_base_rates(ppo, optimiser)
    return optimiser
