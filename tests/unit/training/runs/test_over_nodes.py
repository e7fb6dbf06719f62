"""How an attempt ended that several nodes carried out: as its members' ends say together."""

from __future__ import annotations

import pytest

from training.runs.launchers.node_files import End
from training.runs.launchers.over_nodes.member_ends import outcome


@pytest.mark.parametrize(
    ("codes", "is_lost", "expected"),
    [
        ((0, 0), False, 0),
        ((1, 0), False, 1),
        ((1, 3), False, 1),
        ((1, -9), False, -9),  # one was killed, and the other fell over its absence
        ((1, -15), True, -9),  # asked to end because the other's node was lost
        ((-15, -15), False, -9),  # nobody failed, and it did not end well
        ((1, -15), False, 1),  # failed, and the other was asked to end
    ],
)
def test_a_kill_or_a_lost_node_counts_before_a_failure(codes, is_lost, expected):
    ends = [End(3, code, starved_bytes=7 if code == -9 else 0) for code in codes]
    found = outcome(ends, is_lost=is_lost)
    assert (found.exit_code, found.starved_bytes) == (expected, 7 if -9 in codes else 0)
