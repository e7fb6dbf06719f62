"""PPO: `python -m training.recipes.ppo RUN_DIR`.

Improves a policy model against a score, by Proximal Policy Optimisation (Schulman 2017, 1707.06347) with the details
that language models need (Ziegler 2019, 1909.08593; Huang 2024, "The N+ implementation details", 2403.17031).

    0. calibrate  the parent's own completions set the scale of scores, the value function and the bounds
    1. sample     a batch of completions, adapters merged
    2. score      reference logprobs, hidden states, scores; old logprobs and values
    3. reward     score on the last token, minus kl_coef * KL on every token; advantages by GAE
    4. update     epochs x minibatches of the clipped losses
    5. guard      out of bounds (KL, length, sameness): end, and keep the last policy that was within

Every random draw comes from a seed made of the run's seed and the step, so that a run killed at any moment and resumed
ends with the same weights. Left out: several GPUs, tools in the loop, and PTX on other text than the parent's own.
"""

from __future__ import annotations

import resource
import time
from typing import Any

import torch

from training.configs import PPOConfig
from training.recipes import loading
from training.recipes.entry import config_of, run_recipe
from training.recipes.ppo_rollouts import PPO, Episodes
from training.recipes.ppo_state import Calibration, State, calibrate, load_checkpoint, save_checkpoint
from training.recipes.ppo_update import Measured, optimiser_for, update
from training.rl import advantages as adv
from training.rl import guards
from training.rl.kl import kl_per_token
from training.run_directory import RunDirectory, RunSpec


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: PPOConfig = config_of(spec)
    run.progress("loading the models", 0, config.steps)
    ppo = PPO(run, spec, config)
    optimiser = optimiser_for(ppo)
    state = load_checkpoint(ppo, optimiser) or calibrate(ppo, optimiser)
    stopped = None
    for step in range(state.step, config.steps + 1):
        run.progress("training", step, config.steps)
        ppo.seconds = {}
        started = time.perf_counter()
        episodes = ppo.collect(ppo.prompt_order(step), ppo.seeds("rollout", step, count=config.batch_size))
        measured = measure(ppo, state, episodes)
        drift = guards.drift(measured.behaviour, state.calibration.parent, _bounds(config))
        if drift.used > 1 and step > 0:  # at step 0 it is the parent itself, and a small batch of its answers varies
            stopped = {"code": drift.code, "step": step}
        else:
            state.keep(ppo, step, measured.figures)
        updated = {}
        if stopped is None and step < config.steps:
            with ppo.stage("updates"):
                updated = update(ppo, optimiser, state, episodes, measured, step)
        _log(ppo, step, measured.figures | updated | {"drift": drift.used}, started)
        if stopped is None and (step % config.samples_every == 0 or step == config.steps):
            show_samples(ppo, state.calibration, step)
        if stopped is not None or step == config.steps:
            break
        state.controller.update(measured.figures["kl"], config.batch_size)
        state.step = step + 1
        if state.step % config.checkpoint_every == 0 or state.step == config.steps:
            save_checkpoint(ppo, optimiser, state)
    finish(ppo, state, stopped, drift)


@torch.no_grad()
def measure(ppo: PPO, state: State, episodes: Episodes) -> Measured:
    """The old policy's logprobs by the forward that will be trained, and what the rollout was like."""
    rollout, mask = episodes.rollout, episodes.rollout.mask
    with ppo.stage("scoring"):
        logprobs, entropies = ppo.policy.logprobs(episodes.lower, rollout)
        values = ppo.value(episodes.features) * mask
    kl = kl_per_token(logprobs, episodes.ref_logprobs) * mask
    k3 = kl_per_token(logprobs, episodes.ref_logprobs, "k3") * mask
    scores = state.calibration.scaled(episodes.scores, rollout, ppo.config)
    lengths = rollout.lengths.float()
    # k1 is noisy enough on one batch to be negative; the guard reads the mean of two unbiased estimators.
    behaviour = guards.Behaviour(
        length=float(lengths.mean()), distinct=guards.distinct_share(episodes.texts),
        distinct_2=guards.distinct_pairs(episodes.texts), kl=float((kl + k3).sum(1).mean() / 2),
    )  # fmt: skip
    figures = {
        "score_mean": float(scores.mean()),
        "score_std": float(scores.std()),
        "raw_score_mean": float(episodes.scores.mean()),
        "reward": float((scores - state.controller.coefficient * kl.sum(1)).mean()),
        "kl": float(kl.sum(1).mean()),
        "kl_k3": float(k3.sum(1).mean()),
        "kl_coef": state.controller.coefficient,
        "entropy": float(adv.masked_mean(entropies, mask)),
        "eos_rate": float(rollout.finished.float().mean()),
        "length_mean": behaviour.length,
        "distinct": behaviour.distinct,
        "distinct_2": behaviour.distinct_2,
    }
    return Measured(scores, logprobs, kl, values, behaviour, figures)


def _bounds(config: PPOConfig) -> guards.Bounds:
    return guards.Bounds(
        config.stop_kl or None, config.min_length_ratio, config.max_length_ratio, config.min_distinct_ratio
    )


def _log(ppo: PPO, step: int, figures: dict[str, float], started: float) -> None:
    seconds = {f"seconds_{name}": value for name, value in ppo.seconds.items()}
    total = time.perf_counter() - started
    ppo.run.log_metrics(
        step, **figures, **seconds, seconds=total, episodes_per_second=ppo.config.batch_size / total,
        peak_memory_gb=_peak_memory_gb(ppo.device),
    )  # fmt: skip


def _peak_memory_gb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def show_samples(ppo: PPO, calibration: Calibration, step: int) -> None:
    """The same prompts with the same seeds each time, so that what changes is the policy."""
    count = min(ppo.config.sample_prompts, len(ppo.prompts))
    if count:
        indices = [i * len(ppo.prompts) // count for i in range(count)]
        shown = ppo.collect(indices, ppo.seeds("samples", count=count))
        scores = calibration.scaled(shown.scores, shown.rollout, ppo.config).tolist()
        for prompt, text, score in zip(shown.prompts, shown.texts, scores, strict=True):
            ppo.run.log_sample(step, prompt, text, score)


_SCALES = {
    "standardise": "scaled so that the parent's completions have mean 0 and deviation 1",
    "shift": "shifted so that the parent's completions have mean 0",
    "none": "as the reward gives them",
}


def finish(ppo: PPO, state: State, stopped: dict[str, Any] | None, drift: guards.Drift) -> None:
    """Save the last policy that was within bounds, and say how the run ended."""
    if stopped is not None:
        state.restore_kept(ppo)
        stopped["message"] = (
            f"Training ended at step {stopped['step']} of {ppo.config.steps}: {drift.message}. The model is that "
            f"of step {state.kept_step}, the last within bounds."
        )
        if state.kept_step == 0:
            stopped["message"] += " That is the parent itself: lower learning_rate, or look at what the score rewards."
    ppo.run.progress("saving the model", ppo.config.steps, ppo.config.steps)
    folder = ppo.run.begin_model()
    loading.save_policy(ppo.policy.merge(), ppo.tokenizer, folder)
    ppo.run.commit_model()
    ppo.run.finish(
        {
            "stopped": stopped,
            "step": state.kept_step,
            "parent": state.calibration.figures(),
            "final": state.kept_figures,
            "how_to_read": f"Scores are {_SCALES[ppo.config.score_scaling]}; kl is in "
            "nats per completion, length_mean in tokens, distinct the share of different answers in a batch. `final` "
            "was measured on a fresh batch from the saved model. The score is what was trained on: judge by votes.",
        }
    )


if __name__ == "__main__":
    run_recipe(main)
