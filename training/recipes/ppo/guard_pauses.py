"""Offer choices when PPO has run into a bound: go on with a wider one, go back, or finish.

A choice is a name, a label, what it means, what to do (`resume`, `back`, `finish`), and options to change; whoever
supervises the run shows them, and writes the one that was taken into amendments.json.
"""

from __future__ import annotations

from typing import Any

from training.configs import PPOConfig
from training.recipes.ppo.state import State
from training.rl.guards import Drift

_WIDER = 1.5
_BOUNDS = {
    "kl_limit": "stop_kl",
    "length_collapse": "min_length_ratio",
    "length_runaway": "max_length_ratio",
    "answers_alike": "min_distinct_ratio",
    "answers_cut_off": "min_eos_ratio",
    "surprise_limit": "max_surprise_rise",
    "entropy_runaway": "max_entropy_rise",
    "entropy_collapse": "min_entropy_ratio",
    "foreign_scripts": "max_foreign_share",
    "reward_hacking": "max_gold_gap",
}
_FLUENCY = ("surprise_limit", "entropy_runaway", "foreign_scripts")


def at_bound(config: PPOConfig, state: State, drift: Drift, step: int) -> dict[str, Any]:
    """Return why the run waits, and the choices. Nothing is lost: the checkpoint is of the beginning of this step."""
    kept_step = state.kept_step
    kept_model = "the parent itself" if kept_step == 0 else f"that of step {kept_step}"
    return {
        "code": drift.code,
        "step": step,
        "kept_step": kept_step,
        "message": f"At step {step} {drift.message}: this is beyond the limit. The last model within the limits is "
        f"{kept_model}.",
        "remedy": "Read the answers below. If they are still good, continue with a wider limit; if they are getting "
        "worse, go back and raise the KL penalty; or finish with the last good model.",
        "choices": [_back(config, state, kept_step, drift), _further(config, state, drift), _finish(kept_step)],
    }


def _back(config: PPOConfig, state: State, kept_step: int, drift: Drift) -> dict[str, Any]:
    kl_coef = _rounded(max(2 * state.controller.coefficient, 0.02))
    changes = {"kl_coef": kl_coef, "learning_rate": _rounded(config.rate / 2)}
    if drift.code in _FLUENCY:
        changes["fluency_coef"] = _rounded(max(2 * config.fluency_coef, 0.1))
    return {
        "name": "back",
        "label": "Go back to the parent" if kept_step == 0 else f"Go back to step {kept_step}",
        "help": "The last weights within the limits, with a new optimiser. The KL penalty doubles from "
        "here, and the learning rate halves.",
        "action": "back",
        "changes": changes,
    }


def _further(config: PPOConfig, state: State, drift: Drift) -> dict[str, Any]:
    option = _BOUNDS[drift.code]
    length = state.calibration.parent.length
    bound = config.stop_kl_of(length) if option == "stop_kl" else float(getattr(config, option))
    wider = _wider(option, bound, drift.used)
    return {
        "name": "on",
        "label": "Continue with a wider limit",
        "help": "The result is the same as with this limit from the start.",
        "action": "resume",
        "changes": {option: wider},
    }


def _finish(kept_step: int) -> dict[str, Any]:
    description = (
        "Only the parent can be kept."
        if kept_step == 0
        else f"Keep the model of step {kept_step}, the last within the limits."
    )
    return {"name": "finish", "label": "Finish", "help": description, "action": "finish", "changes": {}}


def _wider(option: str, bound: float, used: float) -> float:
    """Return a bound half as wide again as what was used, so that the run does not stop at the very next step."""
    room = _WIDER * used
    if option in ("stop_kl", "max_surprise_rise", "max_entropy_rise", "max_gold_gap"):
        return _rounded(bound * room)
    if option == "max_foreign_share":
        return _rounded(min(1.0, bound * room))
    if option == "max_length_ratio":
        return _rounded(1 + (bound - 1) * room)
    return _rounded(max(0.0, 1 - (1 - bound) * room))


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")
