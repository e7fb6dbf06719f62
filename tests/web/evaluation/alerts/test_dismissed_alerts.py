"""A dismissed alert is opened again where something else is wrong, and not for another number."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.utils import timezone

from annotate.models import Assignment, Hold, QueueEntry, VoteTrace
from evaluation.alerts import alert_kinds, alert_upkeep, causes
from evaluation.alerts.alert_upkeep import dismiss, look
from evaluation.core import notices
from evaluation.core.kept_figures import BeingComputed
from evaluation.models import Alert, KeptFigures
from tests.support.annotate.voting import cast, make_battle
from tests.support.evaluation.annotating import compare, make_items
from tests.support.factories import make_prompt, make_user
from tests.support.training.runs import make_run
from training.models import Drain

pytestmark = pytest.mark.django_db


def dismissed(kind, by) -> None:
    """An alert of this kind is open, and then dismissed."""
    look(kind)
    Alert.objects.update(created_at=timezone.now() - timedelta(days=1))
    look(kind)
    dismiss(Alert.objects.open().get(), by=by)
    look(kind)
    assert not Alert.objects.open().exists()


def held(project, pair, visitor: str, reason: str) -> None:
    cast(make_battle(project, pair, visitor=visitor * 64, hold_reason=reason), address=visitor)


def test_held_votes_are_told_again_for_another_reason_alone(project, pair, manager):
    held(project, pair, "1", "a model named itself")
    dismissed(alert_kinds.VOTES_HELD, manager)
    held(project, pair, "2", "a model named itself")
    look(alert_kinds.VOTES_HELD)
    assert not Alert.objects.open().exists() and Alert.objects.get().text.startswith("2 arena votes")
    VoteTrace.objects.filter(pk=VoteTrace.objects.latest("pk").pk).update(held_for=Hold.FLOOD)
    look(alert_kinds.VOTES_HELD)
    assert Alert.objects.open().count() == 1 and manager.notices.count() == 2


def test_an_idle_queue_is_not_told_again_as_it_grows(project, manager):
    assignment = compare(make_user(project), make_items(project, 1)[0], "better")
    Assignment.objects.filter(pk=assignment.pk).update(closed_at=timezone.now() - timedelta(days=3))
    for number in range(2):
        QueueEntry.objects.create(project=project, prompt=make_prompt(project), kind="rate", items=2, lot=0.5)
        if not number:
            dismissed(alert_kinds.QUEUE_IDLE, manager)
    look(alert_kinds.QUEUE_IDLE)
    assert not Alert.objects.open().exists() and Alert.objects.get().text.startswith("2 prompts wait")


def test_runs_that_wait_are_told_again_for_another_cause_alone(project, manager):
    make_run(project)
    dismissed(alert_kinds.RUN_WAITS, manager)
    make_run(project)
    look(alert_kinds.RUN_WAITS)
    assert not Alert.objects.open().exists() and Alert.objects.get().text.startswith("2 runs wait")
    Drain.objects.create(name="w")
    look(alert_kinds.RUN_WAITS)
    assert Alert.objects.open().count() == 1


def test_an_alert_that_an_earlier_version_dismissed_stays_so(project, manager):
    make_run(project)
    dismissed(alert_kinds.RUN_WAITS, manager)
    Alert.objects.update(signs=None)
    make_run(project)
    look(alert_kinds.RUN_WAITS)
    assert not Alert.objects.open().exists() and Alert.objects.get().signs == ["no worker"]


def test_an_alert_that_is_dismissed_while_somebody_looks_stays_so(project, manager, monkeypatch):
    make_run(project)
    look(alert_kinds.RUN_WAITS)
    Alert.objects.update(created_at=timezone.now() - timedelta(days=1))
    look(alert_kinds.RUN_WAITS)
    shortened = notices.shortened

    def dismiss_first(text: str) -> str:
        dismiss(Alert.objects.open().get(), by=manager)
        return shortened(text)

    make_run(project)
    monkeypatch.setattr(alert_upkeep.notices, "shortened", dismiss_first)
    look(alert_kinds.RUN_WAITS)
    assert not Alert.objects.open().exists() and Alert.objects.get().text.startswith("2 runs wait")


def test_figures_that_are_being_computed_say_nothing_of_what_an_earlier_version_dismissed(
    project, manager, monkeypatch
):
    zoe = make_user(project)
    compare(zoe, make_items(project, 1)[0], "better")
    flagged = causes.Cause(project, str(zoe.pk), "zoe is flagged: fast.", "/", signs=("fast",))
    monkeypatch.setattr(causes, "_of_annotator", lambda *_: flagged)

    def figures(*_: object) -> object:
        return SimpleNamespace(judges=[SimpleNamespace(is_flagged=True)])

    def not_yet(*_: object) -> object:
        raise BeingComputed(KeptFigures(project=project))

    monkeypatch.setattr(causes, "findings", figures)
    dismissed(alert_kinds.ANNOTATOR_FLAGGED, manager)
    Alert.objects.update(signs=None)
    for found in (not_yet, figures):
        monkeypatch.setattr(causes, "findings", found)
        look(alert_kinds.ANNOTATOR_FLAGGED)
    assert not Alert.objects.open().exists() and Alert.objects.get().signs == ["fast"]
