"""A worker's name tells its process from all others, whatever is done to the clock."""

from __future__ import annotations

import psutil

from training.runs.queue import worker_names


def test_a_clock_that_was_set_makes_no_worker_that_lives_seem_gone(monkeypatch):
    """The kernel moves the moment of the boot with the clock, and by it the moment at which a process began."""
    me = worker_names.identity("me")
    boot_time = psutil._pslinux.boot_time()
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: boot_time + 60)
    assert not worker_names.is_gone(me)


def test_a_worker_of_the_version_before_is_not_gone_during_an_upgrade():
    place, pid, _ = worker_names.identity("me").rsplit(":", 2)
    assert not worker_names.is_gone(f"{place}:{pid}:{psutil.Process().create_time():.0f}")
