"""Finetune the trunk, too, from where the linear head begins, under the same joint likelihood.

What makes it quick: a prompt is forwarded once for all its completions (`branches`), layers above the highest feature
do not exist for it, and there are no logits. What keeps it small: a batch is taken in parts of a thousand tokens, whose
gradients add up. Master copies of what is trained are float32: in bfloat16, small Adam steps round away. Several
processes share the prompts of a step, and the trunk with `sharding` full; each holds the head.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.configs import RewardConfig
from training.core.run_directory import Row, RunDirectory, RunSpec
from training.recipes.common import adapters, children, loading, sharded_checkpoints, sharding
from training.recipes.common import features as text_features
from training.recipes.common.fp32_master_weights import Masters, trained_parameters
from training.recipes.common.processes import ONE_PROCESS, Processes
from training.recipes.common.steps import Pace, clip_gradients, peak_memory_gb, set_learning_rate
from training.recipes.reward import feedback_likelihood as likelihood
from training.recipes.reward import pooled_parts
from training.recipes.reward.answers.sequences import Batches, Sequences
from training.recipes.reward.designs.stored_features import Features, read_few
from training.recipes.reward.feedback_likelihood import Observations, Priors
from training.recipes.reward.head_fit import Candidate, Head
from training.recipes.reward.pooled_forwards import pooled_batch, store_features, tokens_at_once
from training.rl.lora import add_adapters

STATE = "finetune.pt"
SHARES = "shares"  # of a checkpoint of several processes, apart from the pooled features beside it


@dataclass(frozen=True)
class Tuned:
    head: Head
    pooled: Features  # (N, F) of every completion, by the finetuned trunk as it was saved
    seconds: float
    facts: Row  # the saved trunk's fidelity


def finetune(
    run: RunDirectory, trunk: Any, sequences: Sequences, observed: Observations, training: Tensor, start: Head,
    best: Candidate, priors: Priors, config: RewardConfig, spec: RunSpec, tokenizer: Any, folder: Path, first_step: int,
    together: Processes = ONE_PROCESS,
) -> Tuned:  # fmt: skip
    """Train a `learning_trunk` in place on the rows of the boolean mask `training`, and save it as a child of its
    parent.

    What is pooled at the end is pooled by the trunk that `folder` gives back.

    Steps are logged from `first_step` on. Resumes from the latest checkpoint that holds finetuning state.
    """
    started, pad = time.monotonic(), tokenizer.pad_token_id
    trained = trained_parameters(trunk)
    # The trunk's device computes scores; the likelihood, a few hundred numbers, stays on the CPU with the annotations.
    weight, cuts = torch.nn.Parameter(start.weight.float().to(trunk.device)), torch.nn.Parameter(start.cuts.float())
    masters = Masters({**trained, "head.weight": weight, "head.cuts": cuts})
    optimizer = torch.optim.AdamW(
        masters.masters.values(), lr=config.learning_rate, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0
    )
    mean, std = start.mean.float().to(trunk.device), start.std.float().to(trunk.device)
    low, high = torch.tensor(likelihood.initial_cuts(observed, priors)[1]).T
    annotations, total = observed.among(training), len(sequences)
    at_once = tokens_at_once(trunk.device, trains=True)

    def scores_of(rows: list[int]) -> Tensor:
        pooled = sharding.call(pooled_batch, trunk, sequences, rows, best.features, pad)
        return torch.zeros(total).index_put((torch.tensor(rows),), (((pooled - mean) / std) @ weight).cpu())

    def judged_in(rows: list[int]) -> Observations:
        return annotations_of(annotations, rows, total)

    steps = _schedule(sequences, annotations, config, spec.seed)
    done = _resume(run, masters, optimizer)
    pace = Pace()
    for step, rows in enumerate(steps[done:], start=done + 1):
        set_learning_rate(optimizer, config.learning_rate * _rate(step, len(steps)))
        judged_count = len(judged_in(rows))
        nll = 0.0
        # No annotation reaches beyond its prompt: the loss of a batch is a sum over parts, its memory that of one.
        groups = list(sequences.by_prompt(rows).values())
        own = [row for group in together.share(groups) for row in group]
        for part, counts in together.in_step(sequences.batches(config.batch_size, at_once, own), groups[0]):
            inside = judged_in(part)
            loss = likelihood.joint_nll(scores_of(part), inside, likelihood.split_cuts(cuts, inside)) / judged_count
            (loss * counts).backward()
            masters.collect()
            nll += loss.item() * counts
        nll = together.total(nll)[0]
        together.add_gradients(masters.all_gradients())
        penalty = (
            likelihood.prior(cuts, observed, priors) + 0.5 * best.ridge * len(weight) * weight.square().sum().cpu()
        )
        (penalty / len(annotations)).backward()
        norm = clip_gradients(masters.masters.values(), 1.0, loss=nll, step=step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            cuts.clamp_(low, high)
        masters.publish()
        run.log_metrics(
            first_step + step, finetune_nll=nll, grad_norm=norm, learning_rate=optimizer.param_groups[0]["lr"],
            tokens_per_second=pace.tokens_per_second(sequences.tokens(rows)),
            peak_memory_gb=peak_memory_gb(trunk.device),
        )  # fmt: skip
        run.progress("Finetuning the trunk", step, len(steps))
        if step % config.checkpoint_every == 0 and step < len(steps):
            _checkpoint(run, first_step + step, step, masters, optimizer, together)

    run.progress("Measuring what was saved", 0, 1)
    learnt = {name: masters.masters[name] for name in trained}
    child, facts = _save(trunk, learnt, best.features, config, spec, tokenizer, folder, sequences, together)
    place = folder.parent / "pooled"
    pooled = read_few(store_features(place, child, sequences, best.features, config.batch_size, pad, together))
    head = Head(weight.detach().double().cpu(), cuts.detach().double().cpu(), start.mean, start.std)
    return Tuned(head, pooled, time.monotonic() - started, facts)


def learning_trunk(
    trunk: Any, features: tuple[text_features.Feature, ...], config: RewardConfig, spec: RunSpec, together: Processes
) -> Any:
    """Return the trunk with what learns: itself, or split anew, since it was split for its forwards alone."""
    if not together.is_sharded:
        _give_gradients(trunk, features, config, spec.seed)
        return trunk
    anew = _load_to_split(features, config, spec)
    sharding.shard(anew, trunk.dtype if config.adapters == "full" else None)
    return anew


def _load_to_split(features: tuple[text_features.Feature, ...], config: RewardConfig, spec: RunSpec) -> Any:
    """Return the whole trunk as it begins: float32 where every weight learns, since split weights are masters."""
    trunk = loading.load_policy(spec.parent, torch.float32 if config.adapters == "full" else None, to_split=True)[0]
    _give_gradients(trunk, features, config, spec.seed)
    return trunk


def _save(
    trunk: Any, learnt: dict[str, Tensor], features: tuple[text_features.Feature, ...], config: RewardConfig,
    spec: RunSpec, tokenizer: Any, folder: Path, sequences: Sequences, together: Processes,
) -> tuple[Any, Row]:  # fmt: skip
    """Save what has learnt, by the first process: (it as every process loads it back, facts for result.json)."""
    dtype = trunk_dtype(spec, config) or loading.compute_dtype()
    rounded = dtype if config.adapters == "full" else None  # adapters stay float32
    whole = sharding.trained(
        trunk, learnt, lambda: _load_to_split(features, config, spec), is_first=together.is_first, dtype=rounded
    )
    saved = None
    if together.is_first:
        weights = {} if config.adapters == "lora" else whole.weights
        texts = sequences.some(children.SEQUENCES)
        saved = children.save_child(spec.parent, whole.model, tokenizer, folder, texts, weights)
    together.wait()
    child = saved.model if saved else loading.load_policy(folder, dtype, to_split=together.is_sharded)[0]
    if together.is_sharded:
        sharding.shard(child)
    return child, saved.facts() if saved else {}


def trunk_dtype(spec: RunSpec, config: RewardConfig) -> torch.dtype | None:
    """Return float32 where every weight of a trunk learns that is an adapter: there alone it is one with its base."""
    learns_whole = config.method != "head" and config.adapters == "full"
    return torch.float32 if learns_whole and adapters.is_adapter(spec.parent) else None


def _give_gradients(trunk: Any, features: tuple[text_features.Feature, ...], config: RewardConfig, seed: int) -> None:
    """Let learn what the highest feature depends on, or adapters on it: layers above it never run."""
    top = max(layer for layer, _ in features)
    layers = text_features.decoder_layers(trunk)[:top]
    trunk.requires_grad_(False)
    if config.adapters == "lora":
        add_adapters(layers, config.lora_rank, 2.0 * config.lora_rank, seed)
        return
    trunk.get_input_embeddings().requires_grad_(True)
    layers.requires_grad_(True)


def annotations_of(annotations: Observations, rows: list[int], total: int) -> Observations:
    """Return those of the annotations that are of these rows of `total` completions, as a part of all: likelihoods of
    parts add up."""
    inside = torch.zeros(total, dtype=torch.bool)
    inside[rows] = True
    return replace(annotations.among(inside), uses_both_bad=bool(annotations.both_bad.any()))


def _schedule(sequences: Sequences, annotations: Observations, config: RewardConfig, seed: int) -> Batches:
    """Return the rows of every optimiser step: the prompts with annotations in a new order each epoch."""
    ends = torch.cat([annotations.completions, annotations.rejected, annotations.tie_b])
    groups = sequences.groups(torch.unique(ends).numpy())  # what nobody judged teaches nothing
    epochs = []
    for epoch in range(math.ceil(config.epochs)):
        shuffled = groups.in_order(np.random.default_rng([seed, epoch]).permutation(len(groups)))
        bounds, filled = [0], 0
        for number, count in enumerate(shuffled.lengths.tolist()):
            if filled and filled + count > config.batch_size:
                bounds.append(number)
                filled = 0
            filled += count
        bounds.append(len(groups))
        steps = math.ceil(min(config.epochs - epoch, 1.0) * (len(bounds) - 1))
        epochs.append(shuffled.joined(bounds[: max(steps, 1) + 1]))
    return Batches.chained(epochs)


def _rate(step: int, total: int) -> float:
    """Return the rate: linear warm-up over a tenth of the steps, then linear decay to a tenth of the rate."""
    warm = max(total // 10, 1)
    return step / warm if step <= warm else 1 - 0.9 * (step - warm) / max(total - warm, 1)


def _checkpoint(
    run: RunDirectory, number: int, step: int, masters: Masters, optimizer: Any, together: Processes
) -> None:
    if together.is_sharded:
        folder = together.from_first(lambda: run.begin_checkpoint(number))
        sharded_checkpoints.save(folder / SHARES, masters.masters, optimizer)
        together.wait()
    elif together.is_first:
        folder = run.begin_checkpoint(number)
    if not together.is_first:
        return
    previous = run.latest_checkpoint()
    if previous is not None:  # the pooled features travel along, so that a resume does not forward again
        pooled_parts.link_features(previous, folder)
    state: Row = {"step": step}
    if not together.is_sharded:
        state["masters"] = [m.detach() for m in masters.masters.values()]
        state["optimizer"] = optimizer.state_dict()
    torch.save(state, folder / STATE)
    run.commit_checkpoint(number, keep=1)


def _resume(run: RunDirectory, masters: Masters, optimizer: Any) -> int:
    latest: Path | None = run.latest_checkpoint()
    if latest is None or not (latest / STATE).is_file():
        return 0
    state = torch.load(latest / STATE, map_location="cpu", weights_only=True)
    if sharded_checkpoints.holds_shares(latest / SHARES):
        sharded_checkpoints.load(latest / SHARES, masters.masters, optimizer)
    else:
        with torch.no_grad():
            for master, saved in zip(masters.masters.values(), state["masters"], strict=True):
                master.copy_(sharded_checkpoints.spread(saved, master))
        sharded_checkpoints.load_moments(state["optimizer"], masters.masters, optimizer)
    masters.publish()
    return int(state["step"])
