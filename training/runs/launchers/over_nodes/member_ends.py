"""Say how an attempt ended by how its members did."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from training.runs.launchers.node_files import End
from training.runs.launchers.on_node import Outcome


def outcome(ends: Sequence[End], *, is_lost: bool) -> Outcome:
    """Return how an attempt ended whose members ended so: a kill or a lost node first, since the others fail for want
    of that one; then the first failure; a member that was only asked to end tells nothing."""
    starved = max((end.starved_bytes for end in ends), default=0)
    killed = [end.exit_code for end in ends if end.exit_code < 0 and end.exit_code != -signal.SIGTERM]
    failed = [end.exit_code for end in ends if end.exit_code > 0]
    if not any(end.exit_code for end in ends):
        return Outcome(0)
    if killed or is_lost or not failed:
        return Outcome((killed or [-signal.SIGKILL])[0], "one of its nodes was lost" if is_lost else "", starved)
    return Outcome(failed[0])
