"""What a run asks of a cluster, what the nodes have, and whether the two can ever meet: Ray itself waits in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from training.runs.launchers.ray.jobs_api import ClusterNode

_GB = 1e9
_NEXT_TO_NOTHING = 0.001  # CPUs: where there are none, at the head, a run's own process is not started


@dataclass(frozen=True)
class Wanted:
    """CPUs, GPUs, memory and the operator's own resources that a run asks for, of one node; and of how many nodes."""

    cpus: float
    gpus: float = 0
    memory_bytes: int = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    nodes: int = 1

    @property
    def text(self) -> str:
        own = [f"{_number(count)} {name}" for name, count in self.resources.items()]
        whole = ", ".join([*_texts(self.cpus, self.gpus, self.memory_bytes), *own])
        return f"{whole} on each of {self.nodes} nodes" if self.nodes > 1 else whole

    @property
    def request(self) -> dict[str, Any]:
        """Return these as fields of a job; one over several nodes asks for them itself, and is placed beside them."""
        if self.nodes > 1:
            return {"entrypoint_num_cpus": _NEXT_TO_NOTHING}
        row: dict[str, Any] = {"entrypoint_num_cpus": self.cpus}
        if self.gpus:
            row["entrypoint_num_gpus"] = self.gpus
        if self.memory_bytes:
            row["entrypoint_memory"] = self.memory_bytes
        if self.resources:
            row["entrypoint_resources"] = dict(self.resources)
        return row

    @property
    def place(self) -> dict[str, Any]:
        """Return what each of several nodes gives, less what the run's own process holds on one of them."""
        asked = {"cpus": max(0.0, self.cpus - _NEXT_TO_NOTHING), "gpus": self.gpus, "memory": self.memory_bytes}
        if not any(asked.values()) and not any(self.resources.values()):
            asked["cpus"] = _NEXT_TO_NOTHING  # Ray refuses a place that gives nothing
        return {"nodes": self.nodes, **asked, "resources": dict(self.resources)}

    def fits(self, node: ClusterNode) -> bool:
        """Return whether that node could hold the run if nothing else were there."""
        return all(self._enough(node))

    def fits_in(self, nodes: Sequence[ClusterNode]) -> bool:
        """Return whether these nodes could hold the run if nothing else were there."""
        return sum(self.fits(node) for node in nodes) >= self.nodes

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
    place = "" if wanted.nodes > 1 else " on one node"
    return f"It asks for {wanted.text}{place}; the largest of {len(nodes)} nodes has {has}."


def _texts(cpus: float, gpus: float, memory_bytes: float) -> list[str]:
    memory = [f"{memory_bytes / _GB:.3g} GB of memory"] if memory_bytes else []
    return (
        [f"{_number(gpus)} GPU{'s' * (gpus != 1)}"] * bool(gpus) + [f"{_number(cpus)} CPU{'s' * (cpus != 1)}"] + memory
    )


def _number(value: float) -> str:
    return f"{value:g}"
