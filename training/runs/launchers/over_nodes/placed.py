"""Carry out one attempt on several nodes: `python -m training.runs.launchers.over_nodes.placed RUN_DIR ATTEMPT PLACE`,
the entrypoint of a job on a Ray cluster. PLACE is JSON: what each node gives, and with which Python in which folder.
Where nodes share no folder, `--storage ADDRESS --box BOX` stands in place of RUN_DIR (`relays`).

1. Ray finds the nodes: one bundle on each, all of them or none (a placement group, spread strictly).
2. A member is started in each bundle. They meet at a free port of the first node, whose rank 0 alone writes.
3. When a member ends badly or its node is lost, all end. How the attempt ended is written when the last one has said
   so; where one cannot, nothing is written: the worker then waits until that one's heartbeat has surely run out.

To the worker this process is what `on_node` is for a run on one node. Imports ray, which must be the cluster's release.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from training.core.parent_watchdog import GRACE_SECONDS
from training.runs.launchers import Usage
from training.runs.launchers.node_files import PLACING, RUNNING, WAITING, End, NodeFiles, Order
from training.runs.launchers.on_node import NodeAttempt, Outcome, carry_out_by_storage, carry_out_in, leave
from training.runs.launchers.over_nodes.member_ends import outcome
from training.runs.launchers.over_nodes.relays import PlacedRelay, member_folder

_TICK = 0.3
_LAST_SECONDS = 30.0  # after one has failed, until the others are asked to end: who is lost may be found out meanwhile
_WORDS_SECONDS = 5.0  # beyond the grace, until no more words of an end are expected
_LATE_SECONDS = 10.0  # that a part's words may come after its process is gone: by a storage they take their time
NO_WORDS = 70  # the exit status of one that does not know whether all is over: an internal error, as sysexits.h has it


class Unsure(Exception):
    """Raised when a member may still work somewhere."""


class PlacedAttempt(NodeAttempt):
    """`where` are the words that say where the run directory is."""

    def __init__(
        self, directory: Path, order: Order, place: dict[str, Any], where: Sequence[str], relay: PlacedRelay | None
    ) -> None:
        super().__init__(directory, order, relay)
        self._place, self._where, self.host = place, where, ""
        self._members = [NodeFiles(member_folder(directory, rank), order.attempt) for rank in range(place["nodes"])]

    def run(self, lock: IO[str]) -> Outcome:
        self.state = PLACING
        ray.init(log_to_driver=False)
        bundle = {"CPU": self._place["cpus"], "GPU": self._place["gpus"], "memory": self._place["memory"]}
        bundle = {name: count for name, count in (bundle | self._place["resources"]).items() if count}
        group = placement_group([bundle] * len(self._members), strategy="STRICT_SPREAD")
        ready = group.ready()
        self.wait_for(lambda: ray.wait([ready], timeout=0)[0])
        self.state = WAITING
        strategies = [
            PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
            for rank in range(len(self._members))
        ]
        look = ray.remote(num_cpus=0, max_retries=0)(_look_around)
        found = [look.options(scheduling_strategy=strategy).remote() for strategy in strategies]
        self.wait_for(lambda: len(ray.wait(found, num_returns=len(found), timeout=0)[0]) == len(found))
        nodes = ray.get(found)
        self.host = _named(nodes)
        addresses, port = [node[0] for node in nodes], nodes[0][1]
        print(f"{len(nodes)} nodes meet at {addresses[0]}:{port}: {self.host}.", flush=True)
        work = ray.remote(max_retries=0)(_work)
        tasks = [
            work.options(
                num_cpus=self._place["cpus"], num_gpus=self._place["gpus"], memory=self._place["memory"] or None,
                resources=self._place["resources"], scheduling_strategy=strategy,
            ).remote(self._line(rank, addresses, port), self._place["folder"])
            for rank, strategy in enumerate(strategies)
        ]  # fmt: skip
        self.state = RUNNING
        return self._follow(tasks)

    def usage(self) -> Usage:
        """Return the cost of all members together."""
        reports = [report for files in self._members if (report := files.report())]
        return Usage(sum(r.cpu_seconds for r in reports), sum(r.memory_bytes for r in reports))

    def _line(self, rank: int, addresses: list[str], port: int) -> list[str]:
        words = (*self._where, self.order.attempt, rank, len(addresses), addresses[rank], addresses[0], port)
        module = "training.runs.launchers.over_nodes.member"
        return [self._place["python"] or sys.executable, "-m", module, *map(str, words)]

    def _follow(self, tasks: list[Any]) -> Outcome:
        """Return how the attempt ended, when nothing of it is left. Raises Unsure."""
        failed_at: float | None = None
        gone_at: dict[int, float] = {}
        while True:
            gone = ray.wait(tasks, num_returns=len(tasks), timeout=_TICK)[0]
            if first := self._members[0].report():
                self._resumed_step = first.resumed_step
            ends = [files.end() for files in self._members]
            for rank, task in enumerate(tasks):
                if task in gone and ends[rank] is None:
                    gone_at.setdefault(rank, time.monotonic())
            silent = (at for rank, at in gone_at.items() if ends[rank] is None)
            is_lost = any(time.monotonic() - at > _LATE_SECONDS for at in silent)
            if all(ends):
                return outcome([end for end in ends if end], is_lost=False)
            if failed_at is None and any(end and end.exit_code for end in ends):
                failed_at = time.monotonic()
            if verdict := self.watch.verdict():
                self._end_members(verdict.grace_seconds)
                return Outcome(-signal.SIGTERM, verdict.reason)
            if is_lost or (failed_at is not None and time.monotonic() - failed_at > _LAST_SECONDS):
                return outcome(self._end_members(GRACE_SECONDS), is_lost=is_lost)

    def _end_members(self, grace_seconds: float) -> list[End]:
        """Have all members end, and return how each did."""
        for files in self._members:
            files.beat(0, grace_seconds)
        until, heard = time.monotonic() + grace_seconds + _WORDS_SECONDS, self._counters()
        while True:
            ends = [end for files in self._members if (end := files.end())]
            if len(ends) == len(self._members):
                return ends
            if (counters := self._counters()) != heard:  # one stores what is left, which takes as long as it takes
                heard, until = counters, max(until, time.monotonic() + _WORDS_SECONDS)
            if time.monotonic() > until:
                raise Unsure
            time.sleep(_TICK)

    def _counters(self) -> list[int]:
        """Return the counters of the reports of those that have not said how they ended."""
        pending = (files.report() for files in self._members if files.end() is None)
        return [report.counter for report in pending if report]


def _look_around() -> tuple[str, int, str, str]:
    """Return a node's address, a port that is free there, its host and Ray's name of it."""
    import socket

    with socket.socket() as listener:
        listener.bind(("", 0))
        port = listener.getsockname()[1]
    return ray.util.get_node_ip_address(), port, os.uname().nodename, ray.get_runtime_context().get_node_id()


def _work(line: list[str], folder: str) -> int:
    """Run a member; killed, this process leaves it without a standard input, by which it ends."""
    import subprocess

    return subprocess.Popen(line, cwd=folder or None, stdin=subprocess.PIPE).wait()


def _named(nodes: Sequence[tuple[str, int, str, str]]) -> str:
    hosts = ", ".join(dict.fromkeys(host for _, _, host, _ in nodes))
    return f"{hosts} (Ray nodes {', '.join(node[:8] for *_, node in nodes)})"[:120]


def main(arguments: list[str]) -> int:
    *where, attempt, about = arguments
    place = json.loads(about)
    try:
        if where[0] != "--storage":
            return carry_out_in(
                Path(where[0]), int(attempt), lambda path, order: PlacedAttempt(path, order, place, where, None)
            )
        _, storage, _, box = where
        return carry_out_by_storage(
            lambda root: PlacedRelay(storage, box, root, int(attempt), place["nodes"]),
            lambda path, order, relay: PlacedAttempt(path, order, place, where, relay),
        )
    except Unsure:
        print("One of its nodes is lost: whether its part has ended is not known.", flush=True)
        return NO_WORDS


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
