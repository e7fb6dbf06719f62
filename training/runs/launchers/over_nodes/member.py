"""Carry out one node's part of an attempt: `python -m training.runs.launchers.over_nodes.member RUN_DIR ATTEMPT RANK
NODES OWN_ADDRESS ADDRESS PORT`, and where nodes share no folder `--storage ADDRESS --box BOX` in place of RUN_DIR.

As `on_node` does on one, but for this: lock, reports and end lie in a folder of the part's own, and so does the log,
but for the first one's, which is the run's. It ends when the run's heartbeat says so, when the one who placed it asks,
and when its standard input ends: then its place is gone.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import psutil

from training.core.parent_watchdog import GRACE_SECONDS
from training.core.run_directory import DISK_PER_NODE
from training.runs.launchers import multi_process
from training.runs.launchers.multi_process import Member
from training.runs.launchers.node_files import FOLDER, NodeFiles, Order
from training.runs.launchers.on_node import NodeAttempt, carry_out_by_storage, carry_out_in, leave
from training.runs.launchers.over_nodes.relays import MemberRelay, member_folder


class MemberAttempt(NodeAttempt):
    def __init__(self, directory: Path, order: Order, member: Member, relay: MemberRelay | None = None) -> None:
        folder = member_folder(directory, member.rank)
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        super().__init__(folder, order, relay)
        self.run_directory, self._member, self._has_own_disk = directory, member, relay is not None
        self._of_run = NodeFiles(directory, order.attempt)
        self.log_folder = self.directory if member.rank else directory
        threading.Thread(target=self._watch_place, daemon=True).start()

    def command(self) -> list[str]:
        order = self.order
        return multi_process.command(
            self.run_directory, order.module, order.processes, self._member, folder=self.directory
        )

    def environment(self) -> dict[str, str]:
        """Return the recipe's variables. Without that of gloo it would offer the address of the host's name, which is
        this host's own loopback on many systems."""
        interface = interface_of(self._member.own_address)
        own = {"GLOO_SOCKET_IFNAME": interface} if interface else {}
        return super().environment() | own | ({DISK_PER_NODE: "1"} if self._has_own_disk else {})

    def note_heartbeats(self) -> None:
        for files in (self._of_run, self.files):
            self.watch.note(files.heartbeat())

    def _watch_place(self) -> None:
        sys.stdin.buffer.read()
        self.watch.end("its place on the cluster is gone", GRACE_SECONDS)


def interface_of(address: str) -> str:
    """Return the name of the network interface with this address; empty where there is none."""
    found = (name for name, of in psutil.net_if_addrs().items() if any(one.address == address for one in of))
    return next(found, "")


def main(arguments: list[str]) -> int:
    *place, attempt, rank, nodes, own_address, address, port = arguments
    member = Member(int(rank), int(nodes), own_address, address, int(port))
    if place[0] != "--storage":
        return carry_out_in(Path(place[0]), int(attempt), lambda path, order: MemberAttempt(path, order, member))
    _, storage, _, box = place
    return carry_out_by_storage(
        lambda root: MemberRelay(storage, box, root, int(attempt), member.rank),
        lambda path, order, relay: MemberAttempt(path, order, member, relay),
    )


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
