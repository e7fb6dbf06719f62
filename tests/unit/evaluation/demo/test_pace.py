"""The end that a turn of the demo tells, on machines that are slower or quicker than the one it was planned on."""

from __future__ import annotations

import re
from datetime import datetime

import pytest
from django.utils import timezone
from rich.console import Console

from evaluation.demo import screen as screens
from evaluation.demo.pace import Taken, pace, seconds_left
from evaluation.demo.plan import Stage

PLANNED = [30, 5, 90, 240, 60, 120, 300, 200, 80]


@pytest.mark.parametrize("slower", [0.5, 1.0, 2.0, 4.0])
def test_after_a_few_stages_the_end_is_right_within_a_tenth(slower: float) -> None:
    for at in range(3, len(PLANNED)):
        done = [Taken(planned, slower * planned) for planned in PLANNED[:at]]
        left = seconds_left(done, PLANNED[at], 0.0, None, PLANNED[at + 1 :])
        assert left == pytest.approx(slower * sum(PLANNED[at:]), rel=0.1, abs=5)


def test_what_stood_already_tells_no_pace() -> None:
    assert pace([Taken(300, 0.2), Taken(240, 1.0)]) == pace([]) == 1.0


def test_the_stage_under_way_tells_the_pace_by_its_own_progress() -> None:
    """Half done after 240 s where 120 were planned: a machine of four times the time."""
    left = seconds_left([], 120, 240, 240, [600])
    assert left == pytest.approx(240 + 600 * 4, rel=0.25)


def test_a_stage_that_lasts_longer_than_any_before_moves_the_end() -> None:
    known = [Taken(100, 100)]
    ends = [spent + seconds_left(known, 60, spent, None, [600]) for spent in (0, 60, 120, 240)]
    assert ends == sorted(ends) and ends[-1] > ends[0] + 300


def test_what_the_screen_says_follows_a_slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first stage took five times as long: the hour that was planned for the rest becomes nearly five."""
    now = 1000.0
    monkeypatch.setattr(screens.time, "monotonic", lambda: now)
    stages = (Stage("first", lambda *_: "", 600), Stage("second", lambda *_: "", 3600))
    screen = screens.Screen(Console(quiet=True), stages)
    texts: list[str] = []
    monkeypatch.setattr(screen._progress, "update", lambda *_, note="", **__: texts.append(note))
    with screen.stage(stages[0]):
        now += 3000
    with screen.stage(stages[1]):
        pass
    match = re.search(r"ends about (\d\d):(\d\d)", texts[-1])
    assert match
    ends = (int(match[1]) * 60 + int(match[2]) - datetime.now().hour * 60 - datetime.now().minute) % (24 * 60)
    assert 270 <= ends <= 300


def test_a_phase_counted_in_other_units_is_timed_from_its_own_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four minutes of measuring, then 450 of 50,242 texts are looked up at once: that is no rate of two a second."""
    now = 1000.0
    monkeypatch.setattr(screens.time, "monotonic", lambda: now)
    stages = (Stage("measured", lambda *_: "", 300),)
    ends: list[datetime] = []
    screen = screens.Screen(Console(quiet=True), stages, lambda _title, _place, _count, end: ends.append(end))
    with screen.stage(stages[0]) as report:
        report(0, 12, "scoring texts", None)
        now += 240
        report(450, 50_242, "looking for items", None)
        assert (ends[-1] - timezone.now()).total_seconds() < 300
        now += 1
        report(2_450, 50_242, "looking for items", None)
    assert (ends[-1] - timezone.now()).total_seconds() == pytest.approx((50_242 - 2_450) / 2_000, abs=2)
