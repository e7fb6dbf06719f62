"""What a run asks of a cluster, what the nodes have, and whether the two can ever meet: Ray itself waits in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from training.runs.launchers.ray.jobs_api import ClusterNode

_GB = 1e9


@dataclass(frozen=True)
class Wanted:
    """CPUs, GPUs, memory and the operator's own resources that a run asks for, of one node."""

    cpus: float
    gpus: float = 0
    memory_bytes: int = 0
    resources: Mapping[str, float] = field(default_factory=dict)

    @property
    def text(self) -> str:
        own = [f"{_number(count)} {name}" for name, count in self.resources.items()]
        return ", ".join([*_texts(self.cpus, self.gpus, self.memory_bytes), *own])

    @property
    def request(self) -> dict[str, Any]:
        """Return these as fields of a job."""
        row: dict[str, Any] = {"entrypoint_num_cpus": self.cpus}
        if self.gpus:
            row["entrypoint_num_gpus"] = self.gpus
        if self.memory_bytes:
            row["entrypoint_memory"] = self.memory_bytes
        if self.resources:
            row["entrypoint_resources"] = dict(self.resources)
        return row

    def fits(self, node: ClusterNode) -> bool:
        """Return whether that node could hold the run if nothing else were there."""
        return all(self._enough(node))

    def nearest(self, nodes: Sequence[ClusterNode]) -> ClusterNode | None:
        """Return the node that has enough of most things, of such the one with most GPUs, CPUs and memory."""
        return max(nodes, key=lambda n: (sum(self._enough(n)), n.gpus, n.cpus, n.memory_bytes), default=None)

    def _enough(self, node: ClusterNode) -> list[bool]:
        own = [node.resources.get(name, 0) >= count for name, count in self.resources.items()]
        return [*own, node.memory_bytes >= self.memory_bytes, node.cpus >= self.cpus, node.gpus >= self.gpus]


def has_gpus(nodes: Sequence[ClusterNode]) -> bool:
    return any(node.gpus >= 1 for node in nodes)


def misfit(wanted: Wanted, nodes: Sequence[ClusterNode]) -> str:
    """Say in words what is asked for and what the largest node has."""
    node = wanted.nearest(nodes)
    if node is None:
        return f"It asks for {wanted.text}, and the cluster has no node."
    own = [f"{_number(node.resources.get(name, 0))} {name}" for name in wanted.resources]
    has = ", ".join([*_texts(node.cpus, node.gpus, node.memory_bytes if wanted.memory_bytes else 0), *own])
    return f"It asks for {wanted.text} on one node; the largest of {len(nodes)} nodes has {has}."


def _texts(cpus: float, gpus: float, memory_bytes: float) -> list[str]:
    memory = [f"{memory_bytes / _GB:.3g} GB of memory"] if memory_bytes else []
    return (
        [f"{_number(gpus)} GPU{'s' * (gpus != 1)}"] * bool(gpus) + [f"{_number(cpus)} CPU{'s' * (cpus != 1)}"] + memory
    )


def _number(value: float) -> str:
    return f"{value:g}"
