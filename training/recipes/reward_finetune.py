"""Reward finetuning: the trunk is trained too, from where the linear head begins, under the same joint likelihood.

All completions of a prompt are in one batch and each is forwarded once, however many judgements name it. Master copies
of what is trained are float32: in bfloat16, small Adam steps round away.
"""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from training.configs import RewardConfig
from training.recipes import features as seen
from training.recipes import feedback_likelihood as likelihood
from training.recipes.feedback_likelihood import Observations
from training.recipes.head_fit import Candidate, Head
from training.run_directory import RecipeFailure, RunDirectory

STATE = "finetune.pt"


@dataclass(frozen=True)
class Sequences:
    """Token ids of every completion (N of them) and of its prompt, and the prompt's number."""

    prompts: dict[int, list[int]]
    completions: list[list[int]]
    prompt_of: list[int]

    def batches(self, size: int, numbers: list[int] | None = None) -> list[list[int]]:
        """Rows in batches of about `size`, all completions of a prompt together. Longest first unless ordered: what
        does not fit into memory says so at once."""
        rows: dict[int, list[int]] = {}
        for row, prompt in enumerate(self.prompt_of):
            rows.setdefault(prompt, []).append(row)
        if numbers is None:
            longest = {p: max(len(self.completions[r]) for r in mine) for p, mine in rows.items()}
            numbers = sorted(rows, key=lambda p: (-longest[p], -len(self.prompts[p]), p))
        made: list[list[int]] = [[]]
        for number in numbers:
            if made[-1] and len(made[-1]) + len(rows[number]) > size:
                made.append([])
            made[-1] += rows[number]
        return made

    def tokens(self, rows: list[int]) -> int:
        """How many tokens a batch of these rows forwards, padding included."""
        prompts = {self.prompt_of[row] for row in rows}
        widest = max(len(self.prompts[p]) for p in prompts)
        return widest * len(prompts) + max(len(self.completions[row]) for row in rows) * len(rows)


@dataclass(frozen=True)
class Tuned:
    head: Head
    scores: Tensor  # (N,) float64, of every completion
    seconds: float


def pooled_batch(
    model: Any, sequences: Sequences, rows: list[int], features: tuple[seen.Feature, ...], pad: int
) -> Tensor:
    """(B, F) pooled features of these completions, whose prompts' rows stand together. Differentiable."""
    groups: dict[int, list[list[int]]] = {}
    for row in rows:
        groups.setdefault(sequences.prompt_of[row], []).append(sequences.completions[row])
    prompts = [sequences.prompts[p] for p in groups]
    layers = sorted({layer for layer, _ in features})
    hidden, mask = seen.completion_states(model, prompts, list(groups.values()), layers, pad)
    return seen.pool(hidden, mask, features)


class MasterWeights:
    """float32 copies of the trained parameters for the optimiser; those that are float32 already serve themselves."""

    def __init__(self, parameters: list[torch.nn.Parameter]) -> None:
        self.working = parameters
        self.masters = [p if p.dtype == torch.float32 else p.detach().float().requires_grad_() for p in parameters]

    def collect_gradients(self) -> None:
        for working, master in zip(self.working, self.masters, strict=True):
            if master is not working:
                master.grad = None if working.grad is None else working.grad.float()
                working.grad = None

    @torch.no_grad()
    def write_back(self) -> None:
        for working, master in zip(self.working, self.masters, strict=True):
            if master is not working:
                working.copy_(master)


def finetune(
    run: RunDirectory, trunk: Any, sequences: Sequences, observed: Observations, training: Tensor, start: Head,
    best: Candidate, config: RewardConfig, seed: int, pad: int, first_step: int,
) -> Tuned:  # fmt: skip
    """Train `trunk` in place (adapters merged at the end) on the rows of the boolean mask `training`.

    Steps are logged from `first_step` on. Resumes from the latest checkpoint that holds finetuning state.
    """
    begun = time.monotonic()
    trained = _trainable(trunk, config)
    # The trunk's device computes scores; the likelihood, a few hundred numbers, stays on the CPU with the judgements.
    weight, cuts = torch.nn.Parameter(start.weight.float().to(trunk.device)), torch.nn.Parameter(start.cuts.float())
    masters = MasterWeights([*trained, weight, cuts])
    optimizer = torch.optim.AdamW(
        masters.masters, lr=config.learning_rate, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0
    )
    mean, std = start.mean.float().to(trunk.device), start.std.float().to(trunk.device)
    _, bounds = likelihood.initial_cuts(observed)
    low, high = torch.tensor(bounds).T
    judged = observed.among(training)

    def scores_of(rows: list[int]) -> Tensor:
        pooled = pooled_batch(trunk, sequences, rows, best.features, pad)
        scores = torch.zeros(len(sequences.completions))
        return scores.index_put((torch.tensor(rows),), (((pooled - mean) / std) @ weight).cpu())

    steps = _schedule(sequences, training, config, seed)
    done = _resume(run, masters, optimizer)
    for step, rows in enumerate(steps[done:], start=done + 1):
        optimizer.param_groups[0]["lr"] = config.learning_rate * _rate(step, len(steps))
        inside = torch.zeros(len(sequences.completions), dtype=torch.bool)
        inside[rows] = True
        here = judged.among(inside)
        if len(here) == 0:
            continue
        nll = likelihood.joint_nll(scores_of(rows), here, likelihood.split_cuts(cuts, here)) / len(here)
        penalty = likelihood.prior(cuts, observed) + 0.5 * best.ridge * len(weight) * weight.square().sum().cpu()
        loss = nll + penalty / len(judged)
        if not torch.isfinite(loss):
            raise RecipeFailure("not_finite", f"The loss was {loss.item()} at step {step}.", "Lower learning_rate.")
        loss.backward()
        masters.collect_gradients()
        norm = torch.nn.utils.clip_grad_norm_(masters.masters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            cuts.clamp_(low, high)
        masters.write_back()
        run.log_metrics(first_step + step, finetune_nll=nll.item(), grad_norm=norm.item())
        run.progress("Finetuning the trunk", step, len(steps))
        if step % config.checkpoint_every == 0 and step < len(steps):
            _checkpoint(run, first_step + step, step, masters, optimizer)

    scores = torch.zeros(len(sequences.completions), dtype=torch.float64)
    with torch.no_grad():
        for rows in sequences.batches(config.batch_size):
            scores[rows] = scores_of(rows)[rows].double()
    head = Head(weight.detach().double().cpu(), cuts.detach().double().cpu(), start.mean, start.std)
    return Tuned(head, scores, time.monotonic() - begun)


def _trainable(trunk: Any, config: RewardConfig) -> list[torch.nn.Parameter]:
    if config.adapters == "lora":
        lora = LoraConfig(
            r=config.lora_rank, lora_alpha=2 * config.lora_rank, lora_dropout=0.0, target_modules="all-linear",
            task_type="CAUSAL_LM",
        )  # fmt: skip
        get_peft_model(trunk, lora)  # into `trunk` itself; the adapters are float32
    else:
        trunk.requires_grad_(True)
    return [p for p in trunk.parameters() if p.requires_grad]


def merge(trunk: Any) -> Any:
    """The trunk as a plain model again, its adapters, if any, added to its weights."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(trunk.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent = trunk.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], module.get_base_layer())
    return trunk


def _schedule(sequences: Sequences, training: Tensor, config: RewardConfig, seed: int) -> list[list[int]]:
    """The rows of every optimiser step: the training prompts in a new order each epoch."""
    numbers = sorted({sequences.prompt_of[row] for row in torch.nonzero(training)[:, 0].tolist()})
    steps: list[list[int]] = []
    for epoch in range(math.ceil(config.epochs)):
        order = np.random.default_rng([seed, epoch]).permutation(numbers).tolist()
        batches = sequences.batches(config.batch_size, order)
        share = min(config.epochs - epoch, 1.0)
        steps += batches[: max(math.ceil(share * len(batches)), 1)]
    return steps


def _rate(step: int, total: int) -> float:
    """Linear warm-up over a tenth of the steps, then linear decay to a tenth of the rate."""
    warm = max(total // 10, 1)
    return step / warm if step <= warm else 1 - 0.9 * (step - warm) / max(total - warm, 1)


def _checkpoint(run: RunDirectory, number: int, step: int, masters: MasterWeights, optimizer: Any) -> None:
    folder = run.begin_checkpoint(number)
    previous = run.latest_checkpoint()
    if previous is not None:  # the pooled features travel along, so that a resume does not forward again
        shutil.copy(previous / "pooled.safetensors", folder)
    state = {"step": step, "masters": [m.detach() for m in masters.masters], "optimizer": optimizer.state_dict()}
    torch.save(state, folder / STATE)
    run.commit_checkpoint(number, keep=1)


def _resume(run: RunDirectory, masters: MasterWeights, optimizer: Any) -> int:
    latest: Path | None = run.latest_checkpoint()
    if latest is None or not (latest / STATE).is_file():
        return 0
    state = torch.load(latest / STATE, weights_only=True)
    with torch.no_grad():
        for master, saved in zip(masters.masters, state["masters"], strict=True):
            master.copy_(saved)
    masters.write_back()
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
