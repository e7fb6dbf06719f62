"""Rollout processes of PPO as threads of the test: the same requests over the same sockets, without the seconds that a
new Python takes to import torch."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from training.core.run_directory import RunDirectory
from training.recipes.ppo import actor_pool, rollout_actor

Fault = Callable[[rollout_actor.Actor, Any], None]


class _Thread(threading.Thread):
    """As much of a Popen as the pool wants."""

    pid, returncode = 0, -9

    def send_signal(self, number: int) -> None: ...

    def wait(self, timeout: float) -> None:
        self.join(timeout)
        assert not self.is_alive()


class Threads:
    """Count the actors that were started; the first `len(faults)` draws fail as these say, one after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *faults: Fault) -> None:
        self.started, self.faults = 0, list(faults)
        monkeypatch.setattr(actor_pool, "start_actor", self.start)

    def start(self, run_path: Path, tether: int) -> actor_pool.ActorProcess:
        self.started += 1
        ours, theirs = socket.socketpair()
        # Loaded here and not in the thread: transformers sets the default dtype of the whole process meanwhile.
        actor = rollout_actor.Actor(RunDirectory(run_path).spec())
        thread: Any = _Thread(target=self._serve, args=(actor, Connection(theirs.detach())), daemon=True)
        thread.start()
        return actor_pool.ActorProcess(thread, Connection(ours.detach()))

    def _serve(self, actor: rollout_actor.Actor, connection: Connection) -> None:
        draw = actor.draw

        def draw_or_fail(request: Any) -> Any:
            if self.faults:
                self.faults.pop(0)(actor, request)
            return draw(request)

        actor.draw = draw_or_fail  # type: ignore[method-assign]
        with contextlib.suppress(EOFError, OSError, Death):
            rollout_actor.serve(actor, connection)
        connection.close()


class Death(BaseException):
    """No Exception, so that nobody makes a sentence of it: the socket closes as when a process is killed."""


def die(actor: rollout_actor.Actor, request: Any) -> None:
    raise Death


def lines(run: RunDirectory) -> list[dict[str, Any]]:
    """Return what rollouts.jsonl says, but for how long it took."""
    rows = map(json.loads, (run.path / "rollouts.jsonl").read_text().splitlines())
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]
