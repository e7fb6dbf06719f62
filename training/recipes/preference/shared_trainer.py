"""Let several processes carry out one of TRL's trainers, with the figures of one, the model whole in each or in shares.

    rows          each forward's rows are divided among the processes, in the order in which one process takes them; a
                  process without a row takes one that counts 0 times
    gradients     each loss is weighed by its rows, so that sums over the processes are what one process computes
    weights       with `sharding` full split by `sharding`, before training; accelerate neither wraps nor moves them
    checkpoints   those of our own loops (`steps`): any number of processes reads them

accelerate's own FSDP is set aside: it knows GPUs alone, and its checkpoints are pickles.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate.data_loader import SeedableRandomSampler
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from training.core.run_directory import RunDirectory
from training.recipes.common import sharding, steps
from training.recipes.common.fp32_master_weights import trained_parameters
from training.recipes.common.processes import Processes

STATE = "trainer_state.json"  # where transformers looks for it
_SHARE = "share"  # of a forward's rows, beside them


@dataclass(frozen=True)
class Share:
    """Say how many of a forward's rows a process has, and how many processes have some."""

    own: int
    rows: int
    owners: int

    @property
    def part(self) -> float:
        return self.own / self.rows

    @property
    def evened(self) -> float:
        """Return what a mean over own rows is times, so that the mean of the processes' means is that of all rows."""
        return self.part * self.owners


Place = tuple[int, Share]  # of a row in the data, and what its process has of that forward's rows


class Shares(BatchSampler):
    """Yield this process's part of each forward's rows."""

    def __init__(self, order: Any, rows: int, together: Processes) -> None:
        self.order, self.rows, self.together = order, rows, together
        self.batch_sampler = self  # where transformers looks for `set_epoch`

    def set_epoch(self, epoch: int) -> None:
        if isinstance(self.order, SeedableRandomSampler):
            self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return -(-len(self.order) // self.rows)

    def __iter__(self) -> Iterator[list[Place]]:  # type: ignore[override]
        for batch in BatchSampler(self.order, self.rows, drop_last=False):
            own = self.together.share(batch)
            share = Share(len(own), len(batch), min(len(batch), self.together.count))
            yield [(row, share) for row in own or batch[:1]]


class PlacedRows(Dataset[Any]):
    """Read rows by their places."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Place) -> Any:
        row, share = place
        return self.rows[row] | {_SHARE: share}


def shared(trainer_class: type) -> type:
    """Return a trainer as several processes carry it out; it takes `run` and `together`, too."""
    return type(trainer_class.__name__, (SharedTrainer, trainer_class), {})


class SharedTrainer:
    """Replace what a trainer of TRL does with rows, gradients and checkpoints. It comes before that class."""

    def __init__(self, *arguments: Any, run: RunDirectory, together: Processes, **named: Any) -> None:
        self.run, self.together, self.share = run, together, Share(1, 1, 1)
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

    def get_train_dataloader(self) -> DataLoader[Any]:
        trainer: Any = self
        rows = trainer._remove_unused_columns(trainer.train_dataset, description="training")
        order = trainer._get_train_sampler(rows)  # DPO draws its rows, KTO takes them in turn
        if isinstance(order, RandomSampler):  # as accelerate does for one process
            order = SeedableRandomSampler(rows, generator=torch.Generator(), data_seed=trainer.args.data_seed)

        def collate(placed: list[Any]) -> Any:
            share = placed[0][_SHARE]
            return {**trainer.data_collator([{n: v for n, v in row.items() if n != _SHARE} for row in placed])} | {
                _SHARE: share
            }

        batches = Shares(order, trainer.args.per_device_train_batch_size, self.together)
        return DataLoader(PlacedRows(rows), batch_sampler=batches, collate_fn=collate)

    def compute_loss(self, model: Any, inputs: Any, *rest: Any, **named: Any) -> Tensor:
        self.share = inputs.pop(_SHARE)
        loss: Tensor = super().compute_loss(model, inputs, *rest, **named)  # type: ignore[misc]
        return loss * self.share.part

    def _compute_kl_logps(self, model: Any, batch: Any) -> Tensor:
        """Return KTO's, of which it takes the mean of the processes' means."""
        logprobs: Tensor = super()._compute_kl_logps(model, batch)  # type: ignore[misc]
        return logprobs * self.share.evened

    def gathered(self, values: Tensor) -> Tensor:
        """Return the rows of all processes, for the figures: one may have more than another, or none that counts."""
        rows = values.detach().reshape(1) if values.ndim == 0 else values.detach()
        parts = [rows]
        if self.together.count > 1:
            parts = [torch.empty(0)] * self.together.count
            dist.all_gather_object(parts, (rows if self.share.own else rows[:0]).cpu())
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
