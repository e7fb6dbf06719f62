"""Start the processes that draw for a PPO run, share a step's answers among them, and replace those that die.

Each draws a part of the rows, always the same one, with the seeds that these rows have. A part whose process died is
asked again of its successor: the same weights, prompts and seeds give the same answers, and none comes twice, since a
part is taken only for the ticket and the version that was asked last.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from training.core import parent_watchdog
from training.core.run_directory import RecipeFailure, Row
from training.recipes.ppo.rollout_actor import MODULE, read_answer, request_of
from training.recipes.ppo.weights_handover import Handover
from training.rl.sampler import Completions, Sampling

MOST_DEATHS = 3  # in a row, over one part
_STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Draw:
    """What a step asks for: the weights that draw, prompts as token ids, a seed for each."""

    step: int
    weights: Handover
    prompts: Sequence[Sequence[int]]
    seeds: Sequence[int]


@dataclass(frozen=True)
class Part:
    """What one process drew: which rows, by which version, in how many seconds, after how many deaths."""

    actor: int
    rows: slice
    version: str
    seconds: float
    deaths: int
    completions: Completions


@dataclass
class ActorProcess:
    """A process that draws, and our end of its socket. `deaths`: of its forerunners, over the part that it draws."""

    process: subprocess.Popen[bytes]
    connection: Connection
    deaths: int = 0
    asked_at: float = 0.0

    def end(self) -> None:
        """End it, whatever it does."""
        self.connection.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class ActorPool:
    """Hold a run's processes that draw, from start to `close`."""

    def __init__(self, run_path: Path, count: int, sampling: Sampling, end_ids: Sequence[int], seconds: float) -> None:
        self.path, self.count, self.sampling, self.end_ids = run_path, count, sampling, list(end_ids)
        self.seconds = seconds  # in which a process must draw its part, or else it hangs
        # Nobody else holds the write end: the kernel closes it when this process ends, by whatever death.
        self._tether, self._tether_end = os.pipe()
        self._draw: Draw | None = None
        self._actors = [start_actor(run_path, self._tether) for _ in range(count)]

    @property
    def pids(self) -> list[int]:
        return [actor.process.pid for actor in self._actors]

    @property
    def asked_step(self) -> int | None:
        """Return the step whose answers are being drawn."""
        return self._draw.step if self._draw else None

    def ask(self, draw: Draw) -> None:
        """Have the answers of a step drawn; `collect` waits for them."""
        self._draw = draw
        for index, actor in enumerate(self._actors):
            actor.deaths = 0
            self._send(index)

    def collect(self) -> list[Part]:
        """Return the parts of the step that was asked, in the order of its rows."""
        assert self._draw is not None
        parts: dict[int, Part] = {}
        while len(parts) < self.count:
            open_parts = {actor.connection: i for i, actor in enumerate(self._actors) if i not in parts}
            for connection in wait(list(open_parts), self._seconds_left(open_parts.values())):
                index = open_parts[connection]  # type: ignore[index]
                if part := self._receive(index):
                    parts[index] = part
            self._replace_hanging(index for index in open_parts.values() if index not in parts)
        self._draw = None
        return [parts[index] for index in range(self.count)]

    def close(self) -> None:
        """End all processes, whatever they do."""
        for actor in self._actors:
            actor.end()
        self._actors = []
        for descriptor in (self._tether, self._tether_end):
            os.close(descriptor)

    def rows_of(self, index: int) -> slice:
        """Return which rows of a step one of the processes draws."""
        assert self._draw is not None
        bounds = [i * len(self._draw.prompts) // self.count for i in range(self.count + 1)]
        return slice(bounds[index], bounds[index + 1])

    def _seconds_left(self, indices: Iterable[int]) -> float:
        """Return how long none of these processes hangs."""
        first = min(self._actors[index].asked_at for index in indices)
        return max(first + self.seconds - time.monotonic(), 0.0)

    def _replace_hanging(self, indices: Iterable[int]) -> None:
        for index in indices:
            if time.monotonic() - self._actors[index].asked_at >= self.seconds:
                self._replace(index, f"it gave no answer in {self.seconds:g} s")

    def _ticket(self, index: int) -> Row:
        assert self._draw is not None
        rows = self.rows_of(index)
        return {"step": self._draw.step, "rows": [rows.start, rows.stop], "version": self._draw.weights.version}

    def _send(self, index: int) -> None:
        assert self._draw is not None
        draw, rows = self._draw, self.rows_of(index)
        prompts = [list(prompt) for prompt in draw.prompts[rows]]
        request = request_of(
            self._ticket(index), draw.weights, prompts, list(draw.seeds[rows]), self.sampling, self.end_ids
        )
        self._actors[index].asked_at = time.monotonic()
        try:
            self._actors[index].connection.send_bytes(request)
        except OSError as error:
            self._replace(index, f"it was gone before it was asked ({error})")

    def _receive(self, index: int) -> Part | None:
        """Return the part of a process; None where it has none, and a successor was asked."""
        try:
            about, completions = read_answer(self._actors[index].connection)
        except (EOFError, OSError):
            self._replace(index, "it died")
            return None
        if completions is None:
            raise RecipeFailure(**about["failure"])
        if about["ticket"] != self._ticket(index) or about["version"] != about["ticket"]["version"]:
            self._replace(index, f"its answer is by version {about['version'][:12]} and for {about['ticket']}")
            return None
        rows, deaths = self.rows_of(index), self._actors[index].deaths
        return Part(index, rows, about["version"], about["seconds"], deaths, completions)

    def _replace(self, index: int, why: str) -> None:
        """Start a successor and ask it for the same part. Raises RecipeFailure when that has not helped."""
        actor = self._actors[index]
        actor.end()
        code = actor.process.returncode
        print(f"Rollout process {index} is started again: {why}; exit status {code}.", file=sys.stderr, flush=True)
        if actor.deaths + 1 >= MOST_DEATHS:
            raise RecipeFailure(
                "actor_lost",
                f"A rollout process ended {MOST_DEATHS} times over the same answers, with exit status {code}; the last "
                f"time {why}.",
                "Read the log. Exit status -9 often means that memory was short: lower actors or batch_size, or set "
                "actors to 0, and start again. Where answers only take long, raise rollout_timeout.",
            )
        self._actors[index] = start_actor(self.path, self._tether)
        self._actors[index].deaths = actor.deaths + 1
        self._send(index)


def start_actor(run_path: Path, tether: int) -> ActorProcess:
    """Start a process that draws for the run, and that ends when the write end of the tether is closed."""
    ours, theirs = socket.socketpair()
    with theirs:
        arguments = [str(run_path), str(theirs.fileno()), str(torch.get_num_threads())]
        process = subprocess.Popen(
            [sys.executable, "-m", MODULE, *arguments],
            env={**os.environ, parent_watchdog.ENVIRONMENT_NAME: str(tether)},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno(), tether],
            process_group=0,  # its watchdog ends its own group, and must not end the learner's
        )
    return ActorProcess(process, Connection(ours.detach()))


def join(parts: Sequence[Part], device: torch.device) -> Completions:
    """Return the parts as one batch on a device, in their order."""
    fields: dict[str, Any] = {
        name: torch.cat([getattr(part.completions, name) for part in parts]).to(device)
        for name in ("tokens", "lengths", "finished", "logprobs")
    }
    return Completions(**fields)
