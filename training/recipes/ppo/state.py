"""Carry PPO's state from step to step: measured on the parent at first, saved in each checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from training.configs import PPOConfig
from training.core.run_directory import RecipeFailure, Row
from training.recipes.ppo.behaviour import Answers, figures, group_size, kl_target, parent_behaviour
from training.recipes.ppo.drift import Spread
from training.recipes.ppo.gold_score import GoldScale
from training.recipes.ppo.human_review import parents_answers
from training.recipes.ppo.ptx import has_other_text
from training.recipes.ppo.rollouts import PPO, Episodes
from training.rl import guards
from training.rl.advantages import explained_variance
from training.rl.kl import KLController
from training.rl.policy import Policy
from training.rl.rollout import Rollout


@dataclass(frozen=True)
class Calibration:
    """The parent's completions in figures. `length_slope`: score per token of length, by least squares."""

    score_mean: float
    score_std: float
    length_slope: float
    eos_rate: float
    value_explained: float
    parent: guards.Behaviour
    scripts: dict[str, float] = field(default_factory=dict)  # share of each in the parent's characters

    def scaled(self, scores: Tensor, rollout: Rollout, config: PPOConfig) -> Tensor:
        """Return raw scores (B,) as the policy is rewarded by them."""
        if config.length_neutral:
            scores = scores - self.length_slope * (rollout.lengths - self.parent.length)
        if config.score_scaling != "none":
            scores = scores - self.score_mean
        if config.score_scaling == "standardise":
            scores = scores / self.score_std
        if config.score_clip:
            scores = scores.clamp(-config.score_clip, config.score_clip)
        return scores - config.missing_eos_penalty * (~rollout.finished)

    def figures(self) -> dict[str, float]:
        parent_figures = {name: value for name, value in figures(self.parent).items() if not name.endswith("_se")}
        parent_figures.pop("kl_robust", None)
        return {
            "raw_score_mean": self.score_mean,
            "raw_score_std": self.score_std,
            **parent_figures,
            "eos_rate": self.eos_rate,
        }


@dataclass
class State:
    """Hold what a checkpoint needs besides the weights and the optimiser.

    `drawn_by` are the trained weights of the step before, where they draw this step's answers; {}: the weights as they
    are. `kept_weights` are the trained weights that drew the last rollout within bounds; `parent_rollouts` the
    parent's completions, by batch, where PTX asks for them; `answers` some of them as text, for reviews; `amended` how
    many of the run's amendments have been followed.
    """

    step: int
    controller: KLController
    calibration: Calibration
    spread: Spread
    answers: list[Row] = field(default_factory=list)
    amended: int = 0
    kept_weights: dict[str, Tensor] = field(default_factory=dict)
    kept_step: int = 0
    kept_figures: dict[str, float] = field(default_factory=dict)
    parent_rollouts: list[Rollout] = field(default_factory=list)
    gold: GoldScale | None = None  # where the reward model has a second head
    drawn_by: dict[str, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def keep(self, ppo: PPO, step: int, figures: dict[str, float]) -> None:
        """Keep the weights that drew the answers of a step: these were within bounds."""
        now = {} if self.drawn_by else {name: p.detach().clone() for name, p in ppo.policy.parameters().items()}
        self.kept_weights = self.drawn_by or now
        self.kept_step, self.kept_figures = step - bool(self.drawn_by), figures

    def restore_kept(self, ppo: PPO) -> None:
        _fill(ppo.policy, self.kept_weights)
        self.drawn_by = {}

    @contextmanager
    def as_drawn(self, ppo: PPO) -> Iterator[None]:
        """Give the policy, within the block, the weights that drew this step's answers."""
        if not self.drawn_by:
            yield
            return
        now = {name: parameter.detach().clone() for name, parameter in ppo.policy.parameters().items()}
        _fill(ppo.policy, self.drawn_by)
        try:
            yield
        finally:
            _fill(ppo.policy, now)


def _fill(policy: Policy, weights: dict[str, Tensor]) -> None:
    """Write weights by their names; a graph that is kept for the update notices nothing."""
    for name, parameter in policy.parameters().items():
        parameter.data.copy_(weights[name])
    policy.publish()


def calibrate(ppo: PPO) -> State:
    """Run stage 0: sample and score the parent, and warm the value head up."""
    config, episode_count = ppo.config, ppo.config.calibration_episodes
    batches: list[Episodes] = []
    order = ppo.shuffled_prompts(
        "calibration", 0, episode_count
    )  # a dataset may stand sorted, by category or by length
    seeds = ppo.seeds("calibration", count=episode_count)
    ppo.run.progress("measuring the parent", 0, episode_count)
    for batch in ppo.collect_batches(order, seeds):
        batches.append(batch)
        ppo.run.progress("measuring the parent", min(len(batches) * config.batch_size, episode_count), episode_count)
    calibration = _calibration(ppo, batches)
    state = State(
        0,
        KLController(config.kl_coef, kl_target(config, calibration.parent), config.kl_horizon),
        calibration,
        Spread.of(torch.cat([b.inputs for b in batches])),
        parents_answers(ppo) if config.review_every else [],
        len(ppo.run.amendments()),
    )
    gold = [batch.gold for batch in batches if batch.gold is not None]
    if gold:
        state.gold = GoldScale.of(torch.cat([b.scores for b in batches]), torch.cat(gold))
    if config.ptx_coef and not has_other_text(ppo.run):
        state.parent_rollouts = [batch.rollout for batch in batches]
    return state


def _calibration(ppo: PPO, batches: list[Episodes]) -> Calibration:
    scores = torch.cat([b.scores for b in batches])
    lengths = torch.cat([b.rollout.lengths for b in batches]).float()
    deviation = float(scores.std())
    if deviation < 1e-6:
        raise RecipeFailure(
            "constant_score",
            f"All {len(scores)} completions of the parent have the same score, {float(scores[0]):.3g}: "
            "there is nothing to learn.",
            "Choose a reward that separates answers, or one that some of the parent's answers already meet.",
        )
    parent, scripts = parent_behaviour(Answers.join([_answers(ppo, b) for b in batches]), group_size(ppo.config))
    centred = lengths - lengths.mean()
    slope = float((centred * scores).sum() / (centred**2).sum().clamp(min=1e-6))
    calibration = Calibration(
        score_mean=float(scores.mean()),
        score_std=deviation,
        length_slope=slope,
        eos_rate=parent.ends or 0.0,
        value_explained=0.0,
        parent=parent,
        scripts=scripts,
    )
    explained = _begin_value(ppo, batches, calibration)
    return Calibration(**{**calibration.__dict__, "value_explained": explained})


@torch.no_grad()
def _answers(ppo: PPO, batch: Episodes) -> Answers:
    """Return the parent's own: before any step the policy is the parent, and its forward gives the entropies."""
    logprobs, entropies = (ppo.merged(values, batch) for values in ppo.policy_logprobs(batch))
    return Answers.of(batch.texts, batch.rollout, logprobs, batch.ref_logprobs, entropies)


def _begin_value(ppo: PPO, batches: list[Episodes], calibration: Calibration) -> float:
    """Return the value head as the reward model's, or fitted on the parent's episodes: the variance that it explains
    there."""
    config, reward = ppo.config, ppo.scorer.model
    if config.value_init == "new":
        return _warm_up(ppo, batches, calibration) if config.value_warm_up else 0.0
    assert reward is not None
    ppo.value.begin_from(
        reward.weight, reward.bias, reward.feature_mean, reward.feature_std,
        shift=0.0 if config.score_scaling == "none" else calibration.score_mean,
        scale=calibration.score_std if config.score_scaling == "standardise" else 1.0,
    )  # fmt: skip
    scores = [calibration.scaled(b.scores, b.rollout, config)[:, None] * b.rollout.mask for b in batches]
    with torch.no_grad():
        values = [ppo.merged(ppo.value(b.features), b) for b in batches]
    flat = [torch.cat([t[b.rollout.mask] for t, b in zip(ts, batches, strict=True)]) for ts in (values, scores)]
    return explained_variance(flat[0], flat[1], torch.ones_like(flat[0], dtype=torch.bool))


def _warm_up(ppo: PPO, batches: list[Episodes], calibration: Calibration) -> float:
    longest = max(b.rollout.mask.shape[1] for b in batches)
    pad = torch.nn.functional.pad
    by_batch = [ppo.merged(b.features, b) for b in batches]
    features = torch.cat([pad(f, (0, 0, 0, longest - f.shape[1])) for f in by_batch])
    mask = torch.cat([pad(b.rollout.mask, (0, longest - b.rollout.mask.shape[1])) for b in batches])
    scores = torch.cat([calibration.scaled(b.scores, b.rollout, ppo.config) for b in batches])
    explained = ppo.value.warm_up(features, mask, scores)
    ppo.together.follow_first(ppo.value.state_dict().values())
    return explained


@torch.no_grad()
def follow_amendments(ppo: PPO, optimiser: torch.optim.Optimizer, state: State) -> Row | None:
    """Follow what people chose at the last pauses, each once; return the choice that says to finish.

    To go back is to take the last weights that were within bounds, with a fresh optimiser: its moments point to where
    the policy ran. The value head stays: what it reads never moves.
    """
    chosen = ppo.run.amendments()
    for amendment in chosen[state.amended :]:
        if amendment["action"] == "back":
            state.restore_kept(ppo)
            optimiser.state.clear()
        if "kl_coef" in amendment["changes"]:
            state.controller.reset(amendment["changes"]["kl_coef"])
    news, state.amended = chosen[state.amended :], len(chosen)
    return next((a for a in news if a["action"] == "finish"), None)


def set_base_rates(ppo: PPO, optimiser: torch.optim.Optimizer) -> None:
    """Set the peak rates from the config as it is by now: a schedule goes down from them."""
    rates = (ppo.config.rate, ppo.config.value_learning_rate)
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["base_lr"] = rate
