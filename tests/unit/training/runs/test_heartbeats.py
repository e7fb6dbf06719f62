"""A recipe on a node goes on only while a worker looks after its attempt, by the node's own clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.runs.launchers import node_files
from training.runs.launchers.heartbeat_watch import HeartbeatWatch
from training.runs.launchers.node_files import Heartbeat, NodeFiles, Order, Report

PATIENCE, GRACE = 60.0, 4.5


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(clock: Clock) -> HeartbeatWatch:
    return HeartbeatWatch(3, PATIENCE, GRACE, clock)


def test_a_counter_that_grows_keeps_it_and_one_that_stands_ends_it(watch: HeartbeatWatch, clock: Clock) -> None:
    for counter in range(5):
        watch.note(Heartbeat(3, counter))
        clock.now += PATIENCE - 1
        assert watch.verdict() is None
    watch.note(Heartbeat(3, 4))
    clock.now += 2
    verdict = watch.verdict()
    assert verdict is not None and "no worker has looked after it for 60 s" in verdict.reason
    assert verdict.grace_seconds == GRACE


def test_any_other_count_is_news_for_a_worker_that_adopts_it_counts_anew(watch: HeartbeatWatch, clock: Clock) -> None:
    watch.note(Heartbeat(3, 900))
    clock.now += PATIENCE - 1
    watch.note(Heartbeat(3, 2))
    clock.now += PATIENCE - 1
    assert watch.verdict() is None


def test_another_attempt_ends_it_at_once_and_for_good(watch: HeartbeatWatch) -> None:
    watch.note(Heartbeat(3, 1))
    watch.note(Heartbeat(4, 0))
    watch.note(Heartbeat(3, 2))  # of the old worker, which was late
    verdict = watch.verdict()
    assert verdict is not None and "another attempt" in verdict.reason


def test_nothing_that_can_be_read_is_no_news(watch: HeartbeatWatch, clock: Clock) -> None:
    watch.note(Heartbeat(2, 7))
    watch.note(None)
    assert not watch.is_seen
    clock.now += PATIENCE + 1
    assert watch.verdict() is not None, "nor does it wait for ever"


def test_a_worker_asks_for_the_end_with_a_grace(watch: HeartbeatWatch) -> None:
    watch.note(Heartbeat(3, 1, grace_seconds=10))
    verdict = watch.verdict()
    assert verdict is not None and verdict.grace_seconds == 10
    watch.note(Heartbeat(4, 1))
    assert watch.verdict() == verdict, "the first word stays"


def test_who_was_overtaken_beats_no_more(tmp_path: Path) -> None:
    old, new = NodeFiles(tmp_path, 1), NodeFiles(tmp_path, 2)
    assert old.beat(1) and new.beat(0) and not old.beat(2)
    assert new.heartbeat() == old.heartbeat() == Heartbeat(2, 0)


def test_an_attempt_of_any_launcher_is_told_to_one_on_a_cluster_and_to_nobody_else(tmp_path: Path) -> None:
    assert not node_files.begin(tmp_path, 2) and not (tmp_path / node_files.FOLDER).exists()
    NodeFiles(tmp_path, 1).write_order(Order(1, "module", 60, 4.5))
    assert node_files.begin(tmp_path, 2) and NodeFiles(tmp_path, 2).heartbeat() == Heartbeat(2, 0)
    NodeFiles(tmp_path, 10).write_order(Order(10, "module", 60, 4.5))
    assert node_files.attempts_sent(tmp_path) == [1, 10]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"attempt": 1}', "null", "\x00\x00"])
def test_a_file_that_cannot_be_read_is_as_if_it_were_not_there(tmp_path: Path, text: str) -> None:
    files = NodeFiles(tmp_path, 1)
    files.folder.mkdir()
    (files.folder / "report-1.json").write_text(text)
    assert files.report() is None


def test_what_a_later_version_adds_is_passed_over(tmp_path: Path) -> None:
    files = NodeFiles(tmp_path, 1)
    files.folder.mkdir()
    (files.folder / "report-1.json").write_text('{"attempt": 1, "counter": 2, "of_tomorrow": true}')
    assert files.report() == Report(1, 2)


def test_a_later_attempt_and_a_request_stop_what_follows_the_recipe_and_silence_does_not(
    watch: HeartbeatWatch, clock: Clock
) -> None:
    """Files that are being stored: another attempt must not be overwritten, a storage that was gone may come back."""
    watch.note(Heartbeat(3, 0))
    clock.now += PATIENCE + 1
    assert watch.verdict() is not None and not watch.is_to_stop and not watch.is_superseded
    watch.note(Heartbeat(4, 0))
    assert watch.is_superseded
    other = HeartbeatWatch(3, PATIENCE, GRACE, clock)
    other.note(Heartbeat(3, 1, 5.0))
    assert other.is_to_stop and not other.is_superseded


def test_a_heartbeat_from_elsewhere_does_not_overwrite_a_later_attempts(tmp_path: Path) -> None:
    files = NodeFiles(tmp_path, 3)
    files.note(Heartbeat(3, 7))
    assert files.heartbeat() == Heartbeat(3, 7)
    files.note(Heartbeat(4, 0))
    files.note(Heartbeat(3, 8))
    assert files.heartbeat() == Heartbeat(4, 0)
