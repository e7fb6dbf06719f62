"""How a node and its worker reach the same run directory: by a shared folder, where there is nothing to do, or by the
storage (`storage_relay.node_relay`)."""

from __future__ import annotations

from typing import Protocol

from training.runs.launchers.heartbeat_watch import HeartbeatWatch
from training.runs.launchers.node_files import End


class NodeTransport(Protocol):
    def start(self, period: float) -> None:
        """Begin to pass on messages, every `period` seconds."""

    def bring(self, watch: HeartbeatWatch) -> None:
        """Lay the run directory, once nothing of an earlier attempt works in it. Raises RecipeFailure."""

    def resumed_step(self) -> int | None:
        """Return the step that the recipe goes on from, where the worker cannot see that itself."""

    def keep(self, watch: HeartbeatWatch, *, is_needed: bool) -> str:
        """Pass on what the recipe left; return the hash of its model where the worker cannot take it itself. Raises
        RecipeFailure."""

    def close(self, end: End) -> None:
        """Pass on how it ended, as the last of all."""


class SharedFolder:
    """A run directory that the worker reaches, too."""

    def start(self, period: float) -> None: ...

    def bring(self, watch: HeartbeatWatch) -> None: ...

    def resumed_step(self) -> int | None:
        return None

    def keep(self, watch: HeartbeatWatch, *, is_needed: bool) -> str:
        return ""

    def close(self, end: End) -> None: ...
