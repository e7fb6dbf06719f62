"""What the worker looks after between runs: called now and then, and never the end of it."""

from __future__ import annotations

import sys

import pytest
from django.db import OperationalError

from training.queue import sweeps


@pytest.fixture
def called(monkeypatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(sweeps, "SWEEPS", [lambda: found.append("first"), lambda: found.append("second")])
    monkeypatch.setattr(sweeps, "_last", float("-inf"))
    return found


def test_each_is_called_and_not_again_at_once(called):
    sweeps.sweep()
    sweeps.sweep()
    assert called == ["first", "second"]


def test_again_after_the_pause(called, monkeypatch):
    sweeps.sweep()
    monkeypatch.setattr(sweeps, "_last", sweeps._last - sweeps.PAUSE_SECONDS - 1)
    sweeps.sweep()
    assert called == ["first", "second"] * 2


def test_a_fault_of_one_stops_neither_the_others_nor_the_worker(called, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr(sweeps.log, "exception", lambda message, *given: told.append(str(sys.exception())))

    def broken() -> None:
        raise ValueError("something is wrong")

    sweeps.SWEEPS.insert(0, broken)
    sweeps.sweep()
    assert called == ["first", "second"] and told == ["something is wrong"]


def test_a_database_that_is_away_is_the_workers_to_wait_for(called):
    def away() -> None:
        raise OperationalError("the database is locked")

    sweeps.SWEEPS.insert(0, away)
    with pytest.raises(OperationalError):
        sweeps.sweep()
