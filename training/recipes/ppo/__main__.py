"""PPO: `python -m training.recipes.ppo RUN_DIR`.

Improves a policy model against a score, by Proximal Policy Optimisation (Schulman 2017, 1707.06347) with the details
that language models need (Ziegler 2019, 1909.08593; Huang 2024, "The N+ implementation details", 2403.17031).

    0. calibrate  the parent's own completions set the scale of scores, the value function and the bounds
    1. sample     a batch of completions, by the very policy that is trained: its adapters unmerged in bfloat16; or by
                  processes beside this one, which may be a step behind
    2. score      reference logprobs, hidden states, scores; old logprobs and values
    3. reward     score on the last token, minus kl_coef * KL on every token; advantages by GAE
    4. update     epochs x minibatches of the clipped losses
    5. guard      out of bounds (KL, length, sameness, a second head that sees less): pause for a person, or end with
                  the last policy within
    6. review     now and then a few answers go to people; where they and the reward model part ways it pauses too

Every random draw comes from a seed made of the run's seed and the step, so that a run killed at any moment and resumed
ends with the same weights; one that paused and went on with a wider bound ends with those of a run that had it from the
start. Several processes share the rows of each batch, and with `sharding` full the weights, too; they end with what one
process would, within rounding. Left out: tools in the loop.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import torch

from training.configs import PPOConfig, current_names
from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.common import children, steps
from training.recipes.common.children import KeptSteps, child_writer
from training.recipes.common.entry import config_of, run_recipe
from training.recipes.common.processes import directory_of, join
from training.recipes.ppo import behaviour as ppo_behaviour
from training.recipes.ppo import drift as ppo_drift
from training.recipes.ppo import gold_score as ppo_gold
from training.recipes.ppo import guard_pauses as pauses
from training.recipes.ppo import held_out_score as ppo_held_out
from training.recipes.ppo import human_review, ptx
from training.recipes.ppo.checkpoints import load_checkpoint, save_checkpoint
from training.recipes.ppo.rollout_source import Source, source_of
from training.recipes.ppo.rollouts import PPO, Episodes, sequences_of
from training.recipes.ppo.state import Calibration, State, calibrate, follow_amendments
from training.recipes.ppo.update import Measured, optimiser_for, share_spent, update
from training.recipes.rewards.scoring import part_values, require_trust, trust_rows
from training.rl import guards, importance
from training.rl.decode import LlamaDecoder
from training.rl.kl import kl_per_token


def main(run: RunDirectory, spec: RunSpec) -> None:
    config = amended(config_of(spec), run.amendments())
    require_trust(spec, config)
    together = join(sharding=config.sharding, batch_size=config.batch_size)
    run = directory_of(run, together)
    run.progress("loading the models", 0, config.steps)
    ppo = PPO(run, spec, config, together)
    with source_of(ppo) as source:
        train(ppo, source)
    together.leave()


def train(ppo: PPO, source: Source) -> None:
    """Take the steps that are left, from the newest checkpoint or from the parent."""
    run, config = ppo.run, ppo.config
    mixture = ptx.mixture(ppo)
    optimiser = optimiser_for(ppo)
    state = load_checkpoint(ppo, optimiser)
    if state is None:
        state = calibrate(ppo)
        save_checkpoint(ppo, optimiser, state)
    held_out = ptx.held_out_batches(ppo, mixture, state.parent_rollouts)
    goes_back = any(amendment["action"] == "back" for amendment in run.amendments()[state.amended :])
    if ending := follow_amendments(ppo, optimiser, state):
        finish(ppo, state, _ended_by_hand(ending), ending["message"], ppo.sequences(children.SEQUENCES))
        return
    if goes_back:
        kept_of(ppo).go_back(state.kept_step, state.step, ppo.trained_model)
    stop, drift, parent = None, None, state.calibration.parent
    for step in range(state.step, config.steps + 1):
        run.progress("training", step, config.steps)
        if pause := human_review.agreed_pause(ppo, step):
            pause_run(ppo, optimiser, state, pause)
            return
        ppo.seconds = {}
        started = time.perf_counter()
        shows = step % config.samples_every == 0 or step == config.steps
        episodes, apart = source.episodes(state, step, looks=shows)
        measured = measure(ppo, state, episodes)
        held_out_answers = ppo_held_out.HeldOut()
        if held_out and shows:
            measured.figures["ptx_held_out_loss"] = ptx.held_out_loss(ppo, held_out)
        if shows:
            held_out_answers = ppo_held_out.measure(ppo, state, measured.figures, apart)
            measured.figures.update(held_out_answers.figures)
        drift = guards.drift(measured.behaviour, parent, ppo_behaviour.bounds(config, parent))
        if measured.gold is not None and config.max_gold_gap:
            drift = max(drift, measured.gold.drift(config.max_gold_gap), key=lambda d: d.used)
        if drift.used > 1 and step > 0:  # at step 0 it is the parent itself, and a small batch of its answers varies
            stop = {"code": drift.code, "step": step}
        else:
            state.keep(ppo, step, measured.figures)
        shown = None
        if shows if stop is None else config.at_bound == "pause":
            shown = samples(ppo, state, held_out_answers.episodes)
        updated = {}
        if stop is None and step < config.steps:
            human_review.ask(ppo, state.answers, step)
            source.prepare(state, step + 1)
            with ppo.stage("updates"):
                updated = update(ppo, optimiser, state, episodes, measured, step, mixture)
        baseline = ppo_behaviour.baseline_figures(config, parent) if step == 0 else {}
        _log(ppo, step, measured.figures | source.figures() | updated | {"drift": drift.used} | baseline, started)
        if shown is not None:
            log_samples(ppo, state.calibration, step, shown)
        if stop is not None and config.at_bound == "pause":
            pause_run(ppo, optimiser, state, pauses.at_bound(config, state, drift, step))
            return
        if stop is not None or step == config.steps:
            break
        state.controller.update(measured.behaviour.kl, config.batch_size, share_spent(config, step))
        state.step = step + 1
        kept_of(ppo).note(state.step, ppo.trained_model)
        if state.step % config.checkpoint_every == 0 or state.step == config.steps:
            save_checkpoint(ppo, optimiser, state)
    answered = sequences_of(episodes.rollout, children.SEQUENCES)
    finish(ppo, state, stop, drift.message if drift else "", answered)


def kept_of(ppo: PPO) -> KeptSteps:
    write = child_writer(ppo.spec.parent, ppo.tokenizer)
    return KeptSteps(ppo.run, ppo.together, write, ppo.config.kept_checkpoints, ppo.config.steps)


def amended(config: PPOConfig, amendments: list[dict[str, Any]]) -> PPOConfig:
    """Return the config with what people changed when the run had paused, first to last."""
    for amendment in amendments:
        config = dataclasses.replace(config, **current_names(config.kind, amendment["changes"]))
    return config


def pause_run(ppo: PPO, optimiser: torch.optim.Optimizer, state: State, pause: dict[str, Any]) -> None:
    """Write a checkpoint at the beginning of this very step, and why: the next attempt goes on from both."""
    state.step = pause["step"]
    save_checkpoint(ppo, optimiser, state)
    ppo.run.pause(pause)


def _ended_by_hand(amendment: dict[str, Any]) -> dict[str, Any]:
    return {"code": amendment["code"], "step": amendment["step"]}


@torch.no_grad()
def measure(ppo: PPO, state: State, episodes: Episodes) -> Measured:
    """Return the old policy's logprobs by the forward that will be trained, and what the rollout was like."""
    rollout, mask = episodes.rollout, episodes.rollout.mask
    keeps = keeps_forward(ppo, episodes)
    with ppo.stage("scoring"):
        if keeps:
            with torch.enable_grad():
                own_logprobs, own_entropies = ppo.policy.logprobs(episodes.lower, episodes.own_rollout, entropies=True)
        else:
            own_logprobs, own_entropies = ppo.policy_logprobs(episodes)
        logprobs, entropies = ppo.merged(own_logprobs.detach(), episodes), ppo.merged(own_entropies, episodes)
        values = ppo.merged(ppo.value(episodes.features), episodes) * mask
    # Figures and bounds are of the policy that drew; the reward's KL is of the one that learns.
    of_sampler = episodes.drawn_logprobs if state.drawn_by else logprobs
    kl = kl_per_token(logprobs, episodes.ref_logprobs) * mask
    kl_of_sampler = kl_per_token(of_sampler, episodes.ref_logprobs) * mask
    k3 = kl_per_token(of_sampler, episodes.ref_logprobs, "k3") * mask
    # Between what drew the tokens and what is trained: rounding, what top_p and top_k cut off, a step between them.
    cap = ppo.config.weights_cap
    apart = importance.mismatch(logprobs, episodes.drawn_logprobs, mask, cap)
    weights = importance.importance_weights(logprobs, episodes.drawn_logprobs, mask, cap) if cap else None
    scores = state.calibration.scaled(episodes.scores, rollout, ppo.config)
    parent = state.calibration.parent
    # k1 is noisy enough on one batch to be negative, and k3 may explode on one token: bounds read neither.
    answers = ppo_behaviour.Answers.of(episodes.texts, rollout, of_sampler, episodes.ref_logprobs, entropies)
    behaviour = ppo_behaviour.behaviour(answers, ppo_behaviour.group_size(ppo.config), state.calibration.scripts)
    fluency = ppo_behaviour.fluency_coefficient(ppo.config, behaviour, parent)
    gold = None
    if state.gold is not None and episodes.gold is not None:
        gold = ppo_gold.compare(state.gold, episodes.scores, episodes.gold, ppo.config.score_clip)
    figures = {
        "score_mean": float(scores.mean()),
        "score_std": float(scores.std()),
        "raw_score_mean": float(episodes.scores.mean()),
        "reward": float((scores - state.controller.coefficient * kl.sum(1)).mean()),
        "kl": float(kl_of_sampler.sum(1).mean()),
        "kl_k3": float(k3.sum(1).mean()),
        "kl_coef": state.controller.coefficient,
        "sampler_kl": apart.kl,
        "sampler_gap": apart.gap,
        **({"truncated_share": apart.truncated, "importance_mean": apart.weight} if cap else {}),
        "fluency_coef": fluency,
        **ppo_behaviour.figures(behaviour),
        **ppo_drift.figures(ppo.scorer, state.spread, episodes.inputs, episodes.scores, episodes.parts),
        **{name: float(values.mean()) for name, values in episodes.parts.items()},
        **(gold.figures() if gold is not None else {}),
    }
    # The surprise of each token beyond what its state made likely.
    surplus = fluency * (episodes.ref_logprobs + entropies) * mask
    fresh = own_logprobs if keeps else None
    return Measured(scores, logprobs, kl, values, surplus, behaviour, figures, fresh, gold, weights)


def keeps_forward(ppo: PPO, episodes: Episodes) -> bool:
    """Return whether the first update starts from the very forward that gives the old logprobs, and its ratio is
    exactly 1: one minibatch is the whole batch, and is computed at once."""
    return ppo.config.minibatches == 1 and ppo.together.count == 1 and len(ppo.groups(episodes.own_rollout)) == 1


def _log(ppo: PPO, step: int, figures: dict[str, float], started: float) -> None:
    seconds = {f"seconds_{name}": value for name, value in ppo.seconds.items()}
    total = time.perf_counter() - started
    ppo.run.log_metrics(
        step, **figures, **seconds, seconds=total, episodes_per_second=ppo.config.batch_size / total,
        peak_memory_gb=steps.peak_memory_gb(ppo.device),
    )  # fmt: skip


def samples(ppo: PPO, state: State, held_out: Episodes | None) -> Episodes | None:
    """Return answers of the policy that drew the step's batch to the same prompts with the same seeds each time, so
    that only the policy changes: those to the held-out prompts where these are enough, else answers drawn for it."""
    count = _shown(ppo)
    if not count:
        return None
    if held_out is not None and len(held_out.texts) >= count:
        return held_out
    indices = [i * len(ppo.prompts) // count for i in range(count)]
    with state.as_drawn(ppo):
        return ppo.collect(indices, ppo.seeds("samples", count=count))


def _shown(ppo: PPO) -> int:
    return min(ppo.config.sample_prompts, len(ppo.prompts))


def log_samples(ppo: PPO, calibration: Calibration, step: int, shown: Episodes) -> None:
    scores = calibration.scaled(shown.scores, shown.rollout, ppo.config).tolist()
    for row in range(_shown(ppo)):
        ppo.run.log_sample(step, shown.prompts[row], shown.texts[row], scores[row], part_values(shown.parts, row))


_SCALES = {
    "standardise": "scaled so that the parent's completions have mean 0 and deviation 1",
    "shift": "shifted so that the parent's completions have mean 0",
    "none": "the raw reward",
}


def finish(
    ppo: PPO, state: State, stop: dict[str, Any] | None, reason: str, sequences: list[list[int]]
) -> None:  # fmt: skip
    """Save the last policy that was within bounds, and say how the run ended. What is saved is compared with what was
    trained on `sequences` of token ids."""
    if stop is not None:
        state.restore_kept(ppo)
        if "held_out_score" not in state.kept_figures:  # kept at a step that was not evaluated
            state.kept_figures = state.kept_figures | ppo_held_out.measure(ppo, state, state.kept_figures).figures
        stop["message"] = (
            f"Training ended at step {stop['step']} of {ppo.config.steps}: {reason.rstrip('.')}. The model is that "
            f"of step {state.kept_step}, the last within the limits."
        )
        if state.kept_step == 0:
            stop["message"] += " That is the parent itself: lower learning_rate, or check what the score rewards."
    ppo.run.progress("saving the model", ppo.config.steps, ppo.config.steps)
    whole = ppo.trained_model()
    if not ppo.together.is_first:
        return
    folder = ppo.run.begin_model()
    saved = children.save_child(ppo.spec.parent, whole.model, ppo.tokenizer, folder, sequences, whole.weights or None)
    ppo.run.commit_model()
    ppo.run.finish(
        {
            "stopped": stop,
            "step": state.kept_step,
            "amendments": ppo.run.amendments(),
            # Whether the quick ways were taken: a model unlike Llama runs through its own forward, and is slower.
            "fast_decoder": isinstance(ppo.decoder, LlamaDecoder),
            "packed_layers": ppo.policy.packed,
            "parent": state.calibration.figures(),
            "final": state.kept_figures,
            **saved.facts(),
            **kept_of(ppo).facts(lambda step: step < state.kept_step),
            **trust_rows(ppo.spec, ppo.config, ppo.run),
            "how_to_read": f"Scores are {_SCALES[ppo.config.score_scaling]}. KL is in nats per answer, lengths are in "
            "tokens. The child's figures are of new answers after the last step that was kept. Fidelity is how close "
            "the saved model is to the trained one. The run trains on the score, so compare models by votes.",
        }
    )


if __name__ == "__main__":
    run_recipe(main)
