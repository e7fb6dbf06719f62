"""Finetune the trunk, too, from where the linear head begins, under the same joint likelihood.

What makes it quick: a prompt is forwarded once for all its completions (`branches`), layers above the highest feature
do not exist for it, and there are no logits. What keeps it small: a batch is taken in parts of a thousand tokens, whose
gradients add up. Master copies of what is trained are float32: in bfloat16, small Adam steps round away.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.configs import RewardConfig
from training.core.run_directory import Row, RunDirectory, RunSpec
from training.recipes.common import children
from training.recipes.common import features as text_features
from training.recipes.common.fp32_master_weights import Masters, trained_parameters
from training.recipes.common.steps import Pace, clip_gradients, peak_memory_gb, set_learning_rate
from training.recipes.reward import feedback_likelihood as likelihood
from training.recipes.reward import pooled_parts
from training.recipes.reward.designs.stored_features import Features, read_few
from training.recipes.reward.feedback_likelihood import Observations, Priors
from training.recipes.reward.feedback_rows import Sequences
from training.recipes.reward.head_fit import Candidate, Head
from training.recipes.reward.pooled_forwards import pooled_batch, store_features, tokens_at_once
from training.rl.lora import adapter_parameters, add_adapters

STATE = "finetune.pt"


@dataclass(frozen=True)
class Tuned:
    head: Head
    pooled: Features  # (N, F) of every completion, by the finetuned trunk as it was saved
    seconds: float
    facts: Row  # the saved trunk's fidelity


def finetune(
    run: RunDirectory, trunk: Any, sequences: Sequences, observed: Observations, training: Tensor, start: Head,
    best: Candidate, priors: Priors, config: RewardConfig, spec: RunSpec, tokenizer: Any, folder: Path, first_step: int,
) -> Tuned:  # fmt: skip
    """Train `trunk` in place on the rows of the boolean mask `training`, and save it as a child of its parent.

    What is pooled at the end is pooled by the trunk that `folder` gives back.

    Steps are logged from `first_step` on. Resumes from the latest checkpoint that holds finetuning state.
    """
    started, seed, pad = time.monotonic(), spec.seed, tokenizer.pad_token_id
    trained = _trainable(trunk, best.features, config, seed)
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
        pooled = pooled_batch(trunk, sequences, rows, best.features, pad)
        return torch.zeros(total).index_put((torch.tensor(rows),), (((pooled - mean) / std) @ weight).cpu())

    def judged_in(rows: list[int]) -> Observations:
        inside = torch.zeros(total, dtype=torch.bool)
        inside[rows] = True
        return annotations.among(inside)

    steps = _schedule(sequences, annotations, config, seed)
    done = _resume(run, masters, optimizer)
    pace = Pace()
    for step, rows in enumerate(steps[done:], start=done + 1):
        set_learning_rate(optimizer, config.learning_rate * _rate(step, len(steps)))
        judged_count = len(judged_in(rows))
        nll = 0.0
        # No annotation reaches beyond its prompt: the loss of a batch is a sum over parts, its memory that of one.
        for part in sequences.batches(config.batch_size, at_once, rows):
            inside = judged_in(part)
            loss = likelihood.joint_nll(scores_of(part), inside, likelihood.split_cuts(cuts, inside)) / judged_count
            loss.backward()
            masters.collect()
            nll += loss.item()
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
            _checkpoint(run, first_step + step, step, masters, optimizer)

    run.progress("Measuring what was saved", 0, 1)
    texts = sequences.some(children.SEQUENCES)
    weights = {} if config.adapters == "lora" else {name: masters.masters[name] for name in trained}
    saved = children.save_child(spec.parent, trunk, tokenizer, folder, texts, weights)
    pooled = read_few(
        store_features(folder.parent / "pooled", saved.model, sequences, best.features, config.batch_size, pad)
    )
    head = Head(weight.detach().double().cpu(), cuts.detach().double().cpu(), start.mean, start.std)
    return Tuned(head, pooled, time.monotonic() - started, saved.facts())


def _trainable(
    trunk: Any, features: tuple[text_features.Feature, ...], config: RewardConfig, seed: int
) -> dict[str, torch.nn.Parameter]:
    """Return what the highest feature depends on: layers above it never run."""
    top = max(layer for layer, _ in features)
    layers = text_features.decoder_layers(trunk)[:top]
    trunk.requires_grad_(False)
    if config.adapters == "lora":
        add_adapters(layers, config.lora_rank, 2.0 * config.lora_rank, seed)
        return adapter_parameters(trunk)
    trunk.get_input_embeddings().requires_grad_(True)
    layers.requires_grad_(True)
    return trained_parameters(trunk)


def _schedule(sequences: Sequences, annotations: Observations, config: RewardConfig, seed: int) -> list[list[int]]:
    """Return the rows of every optimiser step: the prompts with annotations in a new order each epoch."""
    ends = torch.cat([annotations.completions, annotations.rejected, annotations.tie_b])
    groups = sequences.by_prompt(torch.unique(ends).tolist())  # what nobody judged teaches nothing
    steps: list[list[int]] = []
    for epoch in range(math.ceil(config.epochs)):
        order = np.random.default_rng([seed, epoch]).permutation(sorted(groups)).tolist()
        batches: list[list[int]] = [[]]
        for number in order:
            if batches[-1] and len(batches[-1]) + len(groups[number]) > config.batch_size:
                batches.append([])
            batches[-1] += groups[number]
        share = min(config.epochs - epoch, 1.0)
        steps += batches[: max(math.ceil(share * len(batches)), 1)]
    return steps


def _rate(step: int, total: int) -> float:
    """Return the rate: linear warm-up over a tenth of the steps, then linear decay to a tenth of the rate."""
    warm = max(total // 10, 1)
    return step / warm if step <= warm else 1 - 0.9 * (step - warm) / max(total - warm, 1)


def _checkpoint(run: RunDirectory, number: int, step: int, masters: Masters, optimizer: Any) -> None:
    folder = run.begin_checkpoint(number)
    previous = run.latest_checkpoint()
    if previous is not None:  # the pooled features travel along, so that a resume does not forward again
        pooled_parts.link_features(previous, folder)
    state = {
        "step": step,
        "masters": [m.detach() for m in masters.masters.values()],
        "optimizer": optimizer.state_dict(),
    }
    torch.save(state, folder / STATE)
    run.commit_checkpoint(number, keep=1)


def _resume(run: RunDirectory, masters: Masters, optimizer: Any) -> int:
    latest: Path | None = run.latest_checkpoint()
    if latest is None or not (latest / STATE).is_file():
        return 0
    state = torch.load(latest / STATE, map_location="cpu", weights_only=True)
    with torch.no_grad():
        for master, saved in zip(masters.masters.values(), state["masters"], strict=True):
            master.copy_(saved)
    masters.publish()
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
