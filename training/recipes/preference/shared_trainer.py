"""Let several processes carry out one of TRL's trainers, with the figures of one, the model whole in each or in shares.

    rows          dealt out by accelerate, in equal parts
    gradients     each loss is weighed by its rows, so that sums over the processes are what one process computes
    weights       with `sharding` full split by `sharding`, before training; accelerate neither wraps nor moves them
    checkpoints   those of our own loops (`steps`): any number of processes reads them

accelerate's own FSDP is set aside: it knows GPUs alone, and its checkpoints are pickles.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from training.core.run_directory import RunDirectory
from training.recipes.common import sharding, steps
from training.recipes.common.fp32_master_weights import trained_parameters
from training.recipes.common.processes import Processes

STATE = "trainer_state.json"  # where transformers looks for it


class SharedTrainer:
    """Replace what a trainer of TRL does with rows, gradients and checkpoints. It comes before that class."""

    def __init__(self, *arguments: Any, run: RunDirectory, together: Processes, **named: Any) -> None:
        self.run, self.together = run, together
        super().__init__(*arguments, **named)
        trainer: Any = self
        trainer.is_distributed_loading_by_transformers = True  # accelerate leaves the model as it is
        trainer.accelerator.gather = trainer.accelerator.gather_for_metrics = self.gathered
        if together.is_sharded:
            sharding.shard(trainer.model)
            if trainer.ref_model is not None:
                sharding.shard(trainer.ref_model)

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()  # type: ignore[misc]
        if self.together.is_sharded:  # no GPU may hold it before it is split
            self.accelerator.device_placement = False  # type: ignore[attr-defined]

    def _move_model_to_device(self, model: Any, device: Any) -> None:
        if not self.together.is_sharded:
            super()._move_model_to_device(model, device)  # type: ignore[misc]

    def _sync_replicated_trainable_parameters(self, model: Any) -> None:
        """Do nothing: gradients are added up as they are clipped."""

    def _defer_fsdp_gradient_reduction(self) -> AbstractContextManager[None]:
        """Defer nothing: no process has room for all gradients."""
        return nullcontext()

    def gathered(self, values: Tensor) -> Tensor:
        """Return the rows of all processes, for the figures."""
        rows = values.detach().reshape(1) if values.ndim == 0 else values.detach()
        parts = [rows]
        if self.together.count > 1:
            parts = [torch.empty(0)] * self.together.count
            dist.all_gather_object(parts, rows.cpu())
        return torch.cat(parts).to(values.device)

    def training_step(self, *arguments: Any, **named: Any) -> Tensor:
        """Return this process's part of the loss as often as there are processes, whose mean is logged."""
        loss: Tensor = super().training_step(*arguments, **named)  # type: ignore[misc]
        return loss * self.together.count

    def _clip_grad_norm(self, model: Any) -> float:
        trainer: Any = self
        learning = list(trained_parameters(model).values())
        for parameter in learning:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.together.add_gradients(p.grad for p in learning if p.grad is not None)
        return steps.clip_gradients(learning, trainer.args.max_grad_norm, loss=0.0, step=trainer.state.global_step + 1)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        trainer: Any = self
        steps.save_checkpoint(
            self.run, self.together, trainer.state.global_step, parameters=_learning(trainer.model),
            optimiser=_plain(trainer.optimizer), extra={"scheduler": trainer.lr_scheduler.state_dict()},
            texts={STATE: json.dumps(asdict(trainer.state), indent=2) + "\n"},
        )  # fmt: skip

    def _load_from_checkpoint(self, checkpoint: str, model: Any = None) -> None:
        """Do nothing: weights come with the optimiser's moments."""

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        trainer: Any = self
        if checkpoint is None:
            return
        optimiser = _plain(trainer.optimizer)
        extra = steps.load_state(Path(checkpoint), parameters=_learning(trainer.model), optimiser=optimiser)
        trainer.lr_scheduler.load_state_dict(extra["scheduler"])
        for group, rate in zip(optimiser.param_groups, trainer.lr_scheduler.get_last_lr(), strict=True):
            group["lr"] = rate

    def _load_rng_state(self, checkpoint: str) -> None:
        """Do nothing: generators come with the optimiser's moments."""


def _learning(model: Any) -> dict[str, Tensor]:
    return {**trained_parameters(model)}


def _plain(optimiser: Any) -> torch.optim.Optimizer:
    """Return what accelerate has wrapped."""
    plain: torch.optim.Optimizer = getattr(optimiser, "optimizer", optimiser)
    return plain
