"""Finetuning of a classifier: every weight, or adapters. The weights of the last step are kept."""

from __future__ import annotations

import math

import torch
from peft import get_peft_model
from torch import Tensor

from training.configs import ClassifyConfig
from training.core.run_directory import Row, RunDirectory, RunSpec
from training.recipes.classify.text_classifier import Classifier
from training.recipes.common import loading, steps
from training.recipes.common.features import decoder_layers
from training.recipes.common.peft_adapters import lora_config

FEATURE_BATCH = 32
SORTED_TOGETHER = 32  # batches
STANDARDISED_ON = 256  # texts that set the features' mean and deviation
GLANCED_AT = 400  # held-out texts, at most, while it trains


def finetune(
    run: RunDirectory,
    spec: RunSpec,
    config: ClassifyConfig,
    classifier: Classifier,
    train: tuple[list[list[int]], Tensor],
    held_out: tuple[list[list[int]], Tensor],
    weights: Tensor,
) -> Row:
    ids, labels = train
    if config.adapters == "lora":
        described = lora_config(classifier.trunk, decoder_layers(classifier.trunk), config.lora_rank)
        classifier.trunk = get_peft_model(classifier.trunk, described)
    parameters = trained(classifier)
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in parameters.values() if p.dim() > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters.values() if p.dim() < 2], "weight_decay": 0.0},
        ],
        lr=config.peak_rate,
    )
    per_epoch = math.ceil(len(ids) / config.batch_size)
    total = max(round(per_epoch * config.epochs), 1)
    warmup, done = math.ceil(config.warmup_ratio * total), 0
    state = parameters | {name: buffer for name, buffer in classifier.head.named_buffers()}
    if checkpoint := run.latest_checkpoint():
        done = int(steps.load_state(checkpoint, parameters=state, optimiser=optimiser)["step"])
    else:
        classifier.head.standardise_by(classifier.features(ids[:STANDARDISED_ON], FEATURE_BATCH))
    run.truncate_logs(done)

    weights = weights.to(loading.device())
    pace, loss = steps.Pace(), float("nan")
    batches: list[list[int]] = []
    for step in range(done + 1, total + 1):
        epoch, step_in_epoch = divmod(step - 1, per_epoch)
        if not batches or step_in_epoch == 0:
            batches = epoch_batches(list(map(len, ids)), config.batch_size, epoch, spec.seed)
        rows = batches[step_in_epoch]
        rate = config.peak_rate * steps.schedule_factor(step - 1, total, kind=config.schedule, warmup=warmup)
        steps.set_learning_rate(optimiser, rate)
        loss = train_step(classifier, [ids[i] for i in rows], labels[rows], weights, optimiser)
        norm = steps.clip_gradients(parameters.values(), config.max_grad_norm, loss=loss, step=step)
        optimiser.step()
        figures = {"loss": loss, "grad_norm": norm, "learning_rate": rate}
        figures["tokens_per_second"] = pace.tokens_per_second(sum(len(ids[i]) for i in rows))
        figures["peak_memory_gb"] = steps.peak_memory_gb(loading.device())
        if step % config.evaluate_every == 0 or step == total:
            figures |= glance(classifier, held_out)
        run.log_metrics(step, **figures)
        run.progress("Finetuning", step, total)
        if step % config.checkpoint_every == 0 and step < total:
            folder = run.begin_checkpoint(step)
            steps.save_state(folder, parameters=state, optimiser=optimiser, extra={"step": step})
            run.commit_checkpoint(step)
    return {"steps": total, "last_loss": loss, "adapters": config.adapters}


def train_step(
    classifier: Classifier, ids: list[list[int]], labels: Tensor, weights: Tensor, optimiser: torch.optim.Optimizer
) -> float:
    """Compute the gradients of one batch; return its loss."""
    device, dtype = loading.device(), loading.compute_dtype()
    optimiser.zero_grad(set_to_none=True)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        pooled = classifier.pooled(ids)
    logits = classifier.head(pooled)
    loss = torch.nn.functional.cross_entropy(logits, labels.to(device), weight=weights)
    loss.backward()
    return float(loss.detach())


def epoch_batches(lengths: list[int], batch_size: int, epoch: int, seed: int) -> list[list[int]]:
    """Return the rows of each step of an epoch, in an order that the epoch's number and the seed decide.

    Texts of about one length stand together, so that little is padded: drawn at random, sorted within a few dozen
    batches, and the batches drawn at random again.
    """
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    shuffled = torch.randperm(len(lengths), generator=generator).tolist()
    batches = []
    for start in range(0, len(shuffled), SORTED_TOGETHER * batch_size):
        part = sorted(shuffled[start : start + SORTED_TOGETHER * batch_size], key=lambda i: lengths[i])
        batches += [part[at : at + batch_size] for at in range(0, len(part), batch_size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def trained(classifier: Classifier) -> dict[str, Tensor]:
    """Return the parameters that the optimiser moves, by name: adapters or the trunk's weights, and the head's."""
    trunk = {f"trunk.{name}": p for name, p in classifier.trunk.named_parameters() if p.requires_grad}
    return trunk | {name: p for name, p in classifier.head.named_parameters()}


def glance(classifier: Classifier, held_out: tuple[list[list[int]], Tensor]) -> dict[str, float]:
    """Return loss and accuracy on some of the held-out texts. They are looked at, and decide nothing."""
    ids, labels = held_out[0][:GLANCED_AT], held_out[1][:GLANCED_AT]
    probabilities = classifier.probabilities(ids, FEATURE_BATCH)
    loss = torch.nn.functional.nll_loss(probabilities.clamp(min=1e-12).log(), labels)
    return {
        "validation_loss": float(loss),
        "validation_accuracy": float((probabilities.argmax(dim=1) == labels).float().mean()),
    }
