"""Save and load PPO's state with what is trained: by the first process, or in shares by all.

    state.pt               State as plain numbers and tensors; where one process has all, its weights and moments too
    shard-*.safetensors    of processes that hold shares: weights that learn, those kept, those that draw, and moments
                           (`training.recipes.common.sharded_checkpoints`)

Any number of processes reads either.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.recipes.common import sharded_checkpoints
from training.recipes.ppo.behaviour import kl_target
from training.recipes.ppo.drift import Spread
from training.recipes.ppo.gold_score import GoldScale
from training.recipes.ppo.rollouts import PPO
from training.recipes.ppo.state import Calibration, State, set_base_rates
from training.rl import guards
from training.rl.kl import KLController
from training.rl.rollout import Rollout

_STATE = "state.pt"
Weights = dict[str, Tensor]


def save_checkpoint(ppo: PPO, optimiser: torch.optim.Optimizer, state: State) -> None:
    """Write the checkpoint of a step. All processes take part."""
    together, run = ppo.together, ppo.run
    beside = {"kept": state.kept_weights, "drawn_by": state.drawn_by}
    saved = _plain(ppo, state)
    if together.is_sharded:
        folder = together.from_first(lambda: run.begin_checkpoint(state.step))
        parameters = {"trained": ppo.policy.parameters(), **beside}
        sharded_checkpoints.save(folder, _named(parameters) | _of_value(ppo), optimiser)
        together.wait()
        saved["in_shares"] = [name for name, part in beside.items() if part]
    elif together.is_first:
        folder = run.begin_checkpoint(state.step)
        saved |= {"trained": _trained(ppo), **beside, "optimiser": optimiser.state_dict()}
    if together.is_first:
        torch.save(saved, folder / _STATE)
        run.commit_checkpoint(state.step)


@torch.no_grad()
def load_checkpoint(ppo: PPO, optimiser: torch.optim.Optimizer) -> State | None:
    """Return the newest complete checkpoint, loaded into the models; None when there is none yet."""
    folder = ppo.run.latest_checkpoint()
    ppo.together.wait()  # nobody writes a checkpoint before everybody has looked for one
    if folder is None:
        ppo.run.truncate_logs(-1)
        return None
    saved: dict[str, Any] = torch.load(folder / _STATE, map_location=ppo.device, weights_only=True)
    ppo.value.load_state_dict(saved["value"])
    kept, drawn_by = _load_weights(ppo, optimiser, folder, saved)
    set_base_rates(ppo, optimiser)
    ppo.hold_out(saved.get("held_out", []))  # a run that an earlier version began has trained on all of them
    torch.set_rng_state(saved["rng"].cpu())
    ppo.run.truncate_logs(saved["step"] - 1)
    measured = saved["calibration"]
    calibration = Calibration(**{**measured, "parent": guards.Behaviour(**measured["parent"])})
    # A checkpoint from before the coefficient was held has moved it from the first step on, and goes on so.
    has_reached = saved.get("kl_has_reached_target", True)
    target = kl_target(ppo.config, calibration.parent)
    # One from before a lag lowered it goes on with it held.
    floor = saved.get("kl_coef_floor", saved["kl_coef"])
    controller = KLController(saved["kl_coef"], target, ppo.config.kl_horizon, has_reached, floor)
    own_rollouts = [Rollout(**rollout) for rollout in saved["own"]]
    gold = saved.get("gold")  # a checkpoint of an earlier version has none
    return State(
        saved["step"], controller, calibration, Spread(**saved["spread"]), saved["answers"], saved["amended"],
        kept, saved["kept_step"], saved["kept_figures"], own_rollouts, GoldScale(**gold) if gold else None, drawn_by,
    )  # fmt: skip


def _plain(ppo: PPO, state: State) -> dict[str, Any]:
    """Return the state without what may be in shares."""
    return {
        "step": state.step,
        "value": ppo.value.state_dict(),
        "kl_coef": state.controller.coefficient,
        "kl_has_reached_target": state.controller.has_reached_target,
        "kl_coef_floor": state.controller.floor,
        "calibration": asdict(state.calibration),
        "spread": {"mean": state.spread.mean, "std": state.spread.std},
        "answers": state.answers,
        "amended": state.amended,
        "kept_step": state.kept_step,
        "kept_figures": state.kept_figures,
        "own": [vars(rollout) for rollout in state.parent_rollouts],
        "gold": asdict(state.gold) if state.gold is not None else None,
        "held_out": ppo.held_out_rows,
        "rng": torch.get_rng_state(),
    }


def _load_weights(
    ppo: PPO, optimiser: torch.optim.Optimizer, folder: Path, saved: dict[str, Any]
) -> tuple[Weights, Weights]:
    """Fill what is trained and its moments; return the weights that are kept and those that draw."""
    trained = _trained(ppo)
    if sharded_checkpoints.holds_shares(folder):
        others = {part: {name: torch.empty_like(p) for name, p in trained.items()} for part in saved["in_shares"]}
        parameters = {"trained": ppo.policy.parameters(), **others}
        sharded_checkpoints.load(folder, _named(parameters) | _of_value(ppo), optimiser)
        ppo.policy.publish()
        return others.get("kept", {}), others.get("drawn_by", {})
    of_model = {
        part: {name: sharded_checkpoints.spread(tensor, trained[name]) for name, tensor in saved.get(part, {}).items()}
        for part in ("trained", "kept", "drawn_by")
    }
    for name, parameter in trained.items():
        parameter.copy_(of_model["trained"][name])
    ppo.policy.publish()
    sharded_checkpoints.load_moments(saved["optimiser"], trained, optimiser)
    return of_model["kept"], of_model["drawn_by"]


def _trained(ppo: PPO) -> Weights:
    return {name: parameter.detach() for name, parameter in ppo.policy.parameters().items()}


def _named(weights: dict[str, Any]) -> Weights:
    return {f"{part}/{name}": tensor for part, tensors in weights.items() for name, tensor in tensors.items()}


def _of_value(ppo: PPO) -> Weights:
    return _named({"value": dict(ppo.value.named_parameters())})
