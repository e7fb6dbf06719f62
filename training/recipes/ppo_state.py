"""What PPO carries from step to step, measured on the parent at first and saved in each checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from training.configs import PPOConfig
from training.recipes.ppo_rollouts import PPO, Episodes
from training.rl import guards
from training.rl.kl import KLController
from training.rl.rollout import Rollout
from training.run_directory import RecipeFailure


@dataclass(frozen=True)
class Calibration:
    """The parent's completions in figures. `length_slope`: score per token of length, by least squares."""

    score_mean: float
    score_std: float
    length_slope: float
    eos_rate: float
    value_explained: float
    parent: guards.Behaviour

    def scaled(self, scores: Tensor, rollout: Rollout, config: PPOConfig) -> Tensor:
        """Raw scores (B,) as the policy is rewarded by them."""
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
        return {
            "raw_score_mean": self.score_mean, "raw_score_std": self.score_std, "length_mean": self.parent.length,
            "distinct": self.parent.distinct, "distinct_2": self.parent.distinct_2, "eos_rate": self.eos_rate,
        }  # fmt: skip


@dataclass
class State:
    """`kept` are the trained weights that sampled the last rollout within bounds; `own` the parent's completions, by
    batch, where PTX asks for them.
    """

    step: int
    controller: KLController
    calibration: Calibration
    kept: dict[str, Tensor] = field(default_factory=dict)
    kept_step: int = 0
    kept_figures: dict[str, float] = field(default_factory=dict)
    own: list[Rollout] = field(default_factory=list)

    @torch.no_grad()
    def keep(self, ppo: PPO, step: int, figures: dict[str, float]) -> None:
        self.kept = {name: p.detach().clone() for name, p in ppo.policy.parameters().items()}
        self.kept_step, self.kept_figures = step, figures

    @torch.no_grad()
    def restore_kept(self, ppo: PPO) -> None:
        for name, parameter in ppo.policy.parameters().items():
            parameter.copy_(self.kept[name])


def calibrate(ppo: PPO, optimiser: torch.optim.Optimizer) -> State:
    """Stage 0: sample and score the parent, warm the value head up, and make checkpoint 0."""
    config, wanted = ppo.config, ppo.config.calibration_episodes
    batches: list[Episodes] = []
    order = [i % len(ppo.prompts) for i in range(wanted)]
    seeds = ppo.seeds("calibration", count=wanted)
    for start in range(0, wanted, config.batch_size):
        ppo.run.progress("measuring the parent", start, wanted)
        part = slice(start, start + config.batch_size)
        batches.append(ppo.collect(order[part], seeds[part]))
    state = State(
        0, KLController(config.kl_coef, config.kl_target or None, config.kl_horizon), _calibration(ppo, batches)
    )
    if config.ptx_coef:
        state.own = [batch.rollout for batch in batches]
    save_checkpoint(ppo, optimiser, state)
    return state


def _calibration(ppo: PPO, batches: list[Episodes]) -> Calibration:
    scores = torch.cat([b.scores for b in batches])
    lengths = torch.cat([b.rollout.lengths for b in batches]).float()
    deviation = float(scores.std())
    if deviation < 1e-6:
        raise RecipeFailure(
            "constant_score",
            f"The score gives all {len(scores)} of the parent's completions the same, {float(scores[0]):.3g}: "
            "nothing can be learnt.",
            "Choose a reward that tells answers apart, or a taste that some of the parent's answers already fit.",
        )
    centred = lengths - lengths.mean()
    slope = float((centred * scores).sum() / (centred**2).sum().clamp(min=1e-6))
    found = Calibration(
        score_mean=float(scores.mean()),
        score_std=deviation,
        length_slope=slope,
        eos_rate=float(torch.cat([b.rollout.finished for b in batches]).float().mean()),
        value_explained=0.0,
        # By batch, because the share of different word pairs falls with the number of texts.
        parent=guards.Behaviour(
            length=float(lengths.mean()),
            distinct=sum(guards.distinct_share(b.texts) for b in batches) / len(batches),
            distinct_2=sum(guards.distinct_pairs(b.texts) for b in batches) / len(batches),
        ),
    )
    explained = _warm_up(ppo, batches, found) if ppo.config.value_warm_up else 0.0
    return Calibration(**{**found.__dict__, "value_explained": explained})


def _warm_up(ppo: PPO, batches: list[Episodes], calibration: Calibration) -> float:
    longest = max(b.rollout.mask.shape[1] for b in batches)
    pad = torch.nn.functional.pad
    features = torch.cat([pad(b.features, (0, 0, 0, longest - b.features.shape[1])) for b in batches])
    mask = torch.cat([pad(b.rollout.mask, (0, longest - b.rollout.mask.shape[1])) for b in batches])
    scores = torch.cat([calibration.scaled(b.scores, b.rollout, ppo.config) for b in batches])
    return ppo.value.warm_up(features, mask, scores)


def save_checkpoint(ppo: PPO, optimiser: torch.optim.Optimizer, state: State) -> None:
    folder = ppo.run.begin_checkpoint(state.step)
    torch.save(
        {
            "step": state.step,
            "trained": {name: p.detach() for name, p in ppo.policy.parameters().items()},
            "value": ppo.value.state_dict(),
            "optimiser": optimiser.state_dict(),
            "kl_coef": state.controller.coefficient,
            "calibration": asdict(state.calibration),
            "kept": state.kept,
            "kept_step": state.kept_step,
            "kept_figures": state.kept_figures,
            "own": [vars(rollout) for rollout in state.own],
            "rng": torch.get_rng_state(),
        },
        folder / "state.pt",
    )
    ppo.run.commit_checkpoint(state.step)


@torch.no_grad()
def load_checkpoint(ppo: PPO, optimiser: torch.optim.Optimizer) -> State | None:
    """The newest complete checkpoint, loaded into the models; None when there is none yet."""
    folder = ppo.run.latest_checkpoint()
    if folder is None:
        return None
    saved: dict[str, Any] = torch.load(folder / "state.pt", map_location=ppo.device, weights_only=True)
    for name, parameter in ppo.policy.parameters().items():
        parameter.copy_(saved["trained"][name])
    ppo.value.load_state_dict(saved["value"])
    optimiser.load_state_dict(saved["optimiser"])
    torch.set_rng_state(saved["rng"].cpu())
    ppo.run.truncate_logs(saved["step"] - 1)
    figures = saved["calibration"]
    calibration = Calibration(**{**figures, "parent": guards.Behaviour(**figures["parent"])})
    controller = KLController(saved["kl_coef"], ppo.config.kl_target or None, ppo.config.kl_horizon)
    own = [Rollout(**rollout) for rollout in saved["own"]]
    return State(saved["step"], controller, calibration, saved["kept"], saved["kept_step"], saved["kept_figures"], own)
