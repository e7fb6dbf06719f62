"""Coordinate the processes of one run that `accelerate launch` has started: who they are, what they do together.

Each computes its share of a step's rows and holds all weights (data parallelism), or its share of them (`sharding`);
gradients are added up once a step, so that a step is the same whatever their number. Process 0 alone writes the run
directory, but for the shares of a checkpoint. Where nodes share no folder, each has its own, and `collect_files` and
`spread_files` pass on what others need. A run of one process starts no group and pays nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from common import atomic_files
from training.core.run_directory import DISK_PER_NODE, RecipeFailure, RunDirectory

T = TypeVar("T")
Rows = list[int]
_BUCKET = 2**24  # numbers added up in one message
_BLOCK = 2**24  # bytes of a file in one message
_PATIENCE = timedelta(minutes=60)  # the others wait while the first one tokenises a corpus


@dataclass(frozen=True)
class OwnRows:
    """Name the rows of a batch that a process computes: one at least, so that each process takes part in every forward.

    The first `counting` of them are its own; where it has none, `rows` is another's row, which counts for nothing.
    """

    rows: Rows
    counting: int

    @property
    def places(self) -> Rows:
        """Return the rows that count."""
        return self.rows[: self.counting]


@dataclass(frozen=True)
class Processes:
    rank: int = 0
    count: int = 1
    is_sharded: bool = False  # each holds its share of the weights: every forward is one of all processes
    per_disk: int = 0  # processes, in the order of their ranks, that share a run directory; 0 for all of them

    @property
    def shares(self) -> int:
        """Return over how many processes the weights are split."""
        return self.count if self.is_sharded else 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def has_disks_apart(self) -> bool:
        return 0 < self.per_disk < self.count

    @property
    def leads_disk(self) -> bool:
        """Return whether this is the first of those that share its run directory."""
        return self.rank % (self.per_disk or self.count) == 0

    def share(self, items: Sequence[Any]) -> list[Any]:
        """Return this process's part of what all do together."""
        return list(items[self.rank :: self.count])

    def own_rows(self, count: int) -> OwnRows:
        """Return this process's part of a batch of so many rows."""
        own = self.share(range(count))
        return OwnRows(own or [0], len(own))

    @torch.no_grad()
    def merged(self, values: Tensor, own: OwnRows, count: int) -> Tensor:
        """Return (count, ...) with the rows of all processes; `values` are those of this one's rows, alike in shape."""
        if self.count == 1:
            return values
        dtype = torch.uint8 if values.dtype == torch.bool else values.dtype
        whole = torch.zeros(count, *values.shape[1:], dtype=dtype, device=device())
        whole[own.places] = values[: own.counting].to(whole.device, dtype)
        dist.all_reduce(whole)  # 0 from all processes but one
        return whole.to(values.device, values.dtype)

    @torch.no_grad()
    def follow_first(self, values: Iterable[Tensor]) -> None:
        """Give all processes what the first one holds, in place."""
        if self.count > 1:
            for value in values:
                whole = value.to(device())
                dist.broadcast(whole, 0)
                value.copy_(whole)

    def gathered(self, items: list[Any]) -> list[Any]:
        """Return the items of all processes, those of the first one first."""
        parts: list[Any] = [items]
        if self.count > 1:
            parts = [None] * self.count
            dist.all_gather_object(parts, items)
        return [item for part in parts for item in part]

    def largest(self, value: float) -> float:
        """Return the largest of the processes' values."""
        if self.count == 1:
            return value
        number = torch.tensor(value, dtype=torch.float64, device=device())
        dist.all_reduce(number, dist.ReduceOp.MAX)
        return float(number)

    def total(self, *values: float) -> list[float]:
        """Return each value summed over the processes."""
        if self.count == 1:
            return list(values)
        numbers = torch.tensor(values, dtype=torch.float64, device=device())
        dist.all_reduce(numbers)
        return numbers.tolist()

    @torch.no_grad()
    def add_gradients(self, gradients: Iterable[Tensor]) -> None:
        """Sum each gradient over the processes, in place. Those of split weights are summed already (`sharding`)."""
        if self.count == 1:
            return
        bucket: list[Tensor] = []
        for gradient in gradients:
            if isinstance(gradient, DTensor):
                continue
            bucket.append(gradient)
            if sum(g.numel() for g in bucket) >= _BUCKET:
                _add_up(bucket)
                bucket = []
        if bucket:
            _add_up(bucket)

    def in_step(self, parts: Sequence[T], spare: T) -> Iterator[tuple[T, bool]]:
        """Yield this process's parts with True. Where weights are sharded, also `spare` with False, until each process
        has had as many."""
        missing = self._most(len(parts)) - len(parts)
        for part in parts:
            yield part, True
        for _ in range(missing):
            yield spare, False

    def from_first(self, make: Callable[[], T]) -> T:
        """Return to all what `make` gives the first process, which alone calls it."""
        if self.count == 1:
            return make()
        values = [make() if self.is_first else None]
        dist.broadcast_object_list(values, 0)
        return cast(T, values[0])

    def from_leader(self, make: Callable[[], T]) -> T:
        """Return to all of a disk what `make` gives the first of them, which alone calls it."""
        if not self.has_disks_apart:
            return self.from_first(make)
        values = self.gathered([make() if self.leads_disk else None])
        return cast(T, values[self.rank - self.rank % self.per_disk])

    def _most(self, number: int) -> int:
        """Return the largest of the processes' numbers; this one's own where none waits for another."""
        if not self.is_sharded:
            return number
        most = torch.tensor(number, device=device())
        dist.all_reduce(most, dist.ReduceOp.MAX)
        return int(most)

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            dist.barrier()

    def first_then_all(self, make: Callable[[], T]) -> T:
        """Return what `make` gives, called by the first process of each disk before the others: they find what it has
        written."""
        if self.leads_disk:
            result = make()
            self.wait()
            return result
        self.wait()
        return make()

    def leave(self) -> None:
        if self.count > 1:
            dist.destroy_process_group()


ONE_PROCESS = Processes()


def join(*, sharding: str, batch_size: int, limit: str = "batch_size") -> Processes:
    """Return the group that the environment names; one process where it names none.

    `sharding` and `batch_size` are the config's, the latter by the option `limit`. Raises RecipeFailure where some
    process would have no row of a step: more may have been started than the config names.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Processes()
    if count > batch_size:
        raise RecipeFailure(
            "too_many_processes",
            f"{count} processes were started for steps with a {limit} of {batch_size}: some would have nothing.",
            f"Start it with at most {batch_size} processes, or queue it again with a larger {limit}.",
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=_PATIENCE)
    per_disk = int(os.environ["LOCAL_WORLD_SIZE"]) if os.environ.get(DISK_PER_NODE) else 0
    return Processes(dist.get_rank(), count, sharding == "full", per_disk)


class Onlooker(RunDirectory):
    """Offer the run directory to the other processes: they read, and write nothing."""

    def log_metrics(self, step: int, **values: float) -> None: ...

    def log_sample(
        self, step: int, prompt: list[Any], completion: str, score: float | None = None, parts: Any = None
    ) -> None: ...

    def progress(self, phase: str, step: int, total: int, eta_seconds: float | None = None) -> None: ...

    def truncate_logs(self, step: int) -> None: ...

    def ask_for_review(self, rows: list[Any]) -> None: ...

    def log_rollout(self, step: int, **about: Any) -> None: ...

    def pause(self, pause: dict[str, Any]) -> None: ...


def directory_of(run: RunDirectory, together: Processes) -> RunDirectory:
    return run if together.is_first else Onlooker(run.path)


def _add_up(bucket: list[Tensor]) -> None:
    flat = torch.cat([gradient.reshape(-1).to(device()) for gradient in bucket])
    dist.all_reduce(flat)
    at = 0
    for gradient in bucket:
        gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
        at += gradient.numel()


def device() -> torch.device:
    """Return where this process's messages to the others must lie."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def collect_files(together: Processes, folder: Path) -> None:
    """Bring what the other disks hold in their `folder` into that of the first process, and delete it there. All take
    part. Through the group, in blocks, so that no file is in memory as a whole."""
    if not together.has_disks_apart:
        return
    sends = together.leads_disk and not together.is_first
    for rank, name, size in together.gathered([(together.rank, *file) for file in _files(folder)] if sends else []):
        if together.rank == rank:
            with (folder / name).open("rb") as file:
                for length in _lengths(size):
                    dist.send(_read(file, length), 0)
        elif together.is_first:
            with (folder / name).open("wb") as file:
                for length in _lengths(size):
                    block = torch.empty(length, dtype=torch.uint8, device=device())
                    dist.recv(block, rank)
                    file.write(_bytes(block))
    together.wait()
    if sends:
        shutil.rmtree(folder)


def spread_files(together: Processes, path: Path) -> None:
    """Lay the first process's folder or file `path` on the other disks, in place of what is there. All take part."""
    if not together.has_disks_apart:
        return
    writes = together.leads_disk and not together.is_first
    is_folder, files = together.from_first(
        lambda: (path.is_dir(), _files(path) if path.is_dir() else [("", path.stat().st_size)])
    )
    if writes:
        path.parent.mkdir(parents=True, exist_ok=True)
    coming = atomic_files.begin_folder(path) if writes else path
    for name, size in files:
        target = coming / (name or path.name)
        if writes:
            target.parent.mkdir(parents=True, exist_ok=True)
        _spread_file(together, path / name, size, target if writes else None)
    if writes and is_folder:
        atomic_files.commit_folder(path)
    elif writes:
        (coming / path.name).replace(path)
        coming.rmdir()
    together.wait()


def _spread_file(together: Processes, source: Path, size: int, target: Path | None) -> None:
    reader = source.open("rb") if together.is_first else None
    writer = target.open("wb") if target else None
    try:
        for length in _lengths(size):
            block = _read(reader, length) if reader else torch.empty(length, dtype=torch.uint8, device=device())
            dist.broadcast(block, 0)
            if writer:
                writer.write(_bytes(block))
    finally:
        for file in (reader, writer):
            if file:
                file.close()


def _files(folder: Path) -> list[tuple[str, int]]:
    """List the files below a folder, and their sizes."""
    return [
        (path.relative_to(folder).as_posix(), path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def _lengths(size: int) -> list[int]:
    return [min(_BLOCK, size - at) for at in range(0, size, _BLOCK)]


def _read(file: BinaryIO, length: int) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(file.read(length), dtype=np.uint8).copy()).to(device())


def _bytes(block: torch.Tensor) -> bytes:
    return block.cpu().numpy().tobytes()
