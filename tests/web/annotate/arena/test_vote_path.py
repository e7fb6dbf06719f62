"""The way of a vote, from the page that takes it to its row, stays short enough to be read in one go."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from django.db import connection
from django.db.models.signals import pre_save
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotate.arena.battles import votes
from annotate.models import Battle, Comparison, Project
from tests.support import factories

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("somebody_answers")]
ROOT = str(Path(__file__).resolve().parents[4]) + "/"
ROOMS = ("annotate/", "common/", "training/", "evaluation/", "config/")
GROUND = ("annotate/core/", "annotate/models/", "common/")  # what every subject stands on, as on Django
MOST_MODULES, MOST_RETURNS = 8, 4


@pytest.fixture
def battle(project: Project, client: Client) -> Battle:
    """A battle of the client's own session, whose answers stand."""
    prompt = factories.make_prompt(project, side="eval")
    for name in ("kestrel", "tide"):
        model = factories.make_model(name=name)
        factories.make_contestant(project, model)
        factories.make_completion(prompt, f"Answer of {model.pk}", model=model)
    client.post(reverse("arena", args=[project.slug]), {"draw": "1"})
    return Battle.objects.get()


def vote_of(battle: Battle) -> tuple[str, dict[str, str]]:
    """The address and what is sent to it."""
    sent = {"winner": "tie", "token": votes.issue_token(battle)}
    return reverse("arena-vote", args=[battle.project.slug, battle.token]), sent


@dataclass
class Way:
    """The files of ours whose functions are called, and how often one goes back to its caller in another."""

    entered: set[str] = field(default_factory=set)
    returns: int = 0
    _stack: list[tuple[FrameType, str]] = field(default_factory=list)

    def look(self, frame: FrameType, event: str, _: Any) -> None:
        name = frame.f_code.co_filename.removeprefix(ROOT)
        if event == "call" and name.startswith(ROOMS) and not name.startswith(GROUND):
            self.entered.add(name)
            self._stack.append((frame, name))
        elif event == "return" and self._stack and self._stack[-1][0] is frame:
            self._stack.pop()
            self.returns += bool(self._stack) and self._stack[-1][1] != name


def way_of(act: Callable[[], object]) -> Way:
    """Return what `act` does until a Comparison is about to be stored."""
    way = Way()

    def stop(**_: Any) -> None:
        sys.setprofile(None)

    pre_save.connect(stop, sender=Comparison)
    sys.setprofile(way.look)
    try:
        act()
    finally:
        sys.setprofile(None)
        pre_save.disconnect(stop, sender=Comparison)
    return way


def test_a_vote_crosses_few_modules(client, battle):
    vote = vote_of(battle)
    way = way_of(lambda: client.post(*vote))
    assert Comparison.objects.get().battle_id == battle.pk
    assert len(way.entered) <= MOST_MODULES, "\n".join(sorted(way.entered))
    assert way.returns <= MOST_RETURNS


def test_a_vote_reads_its_battle_again_only_where_it_may_have_changed(client, battle):
    """Once to find it, and once in the end: what was being written may have spoilt it."""
    vote = vote_of(battle)
    with CaptureQueriesContext(connection) as made:
        assert client.post(*vote).status_code == 302
    whole = [query["sql"] for query in made if query["sql"].startswith('SELECT "annotate_battle"."id", ')]
    assert len(whole) == 2, "\n".join(whole)
