"""Limits of one person hold when requests come at the same moment: of projects, and of mails to those invited."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import pytest
from django.db import connections

from annotate.core.errors import Refused, TooMany
from annotate.models import Invitation, Membership, Project
from annotate.projects import actions as projects
from annotate.projects.actions import create_project
from annotate.projects.bulk_invitations import actions, address_lists
from tests.support.factories import make_project, make_user

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*calls: Callable[[], object]) -> list[Exception]:
    """Return what was raised by these calls, each in a thread of its own, all begun at one moment."""
    gate, raised = threading.Barrier(len(calls)), []

    def run(call: Callable[[], object]) -> None:
        try:
            gate.wait()
            call()
        except Exception as error:  # shown by the caller's assertion, in the main thread
            raised.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_nobody_starts_more_projects_than_they_may(settings):
    settings.PROJECTS_PER_PERSON = 1
    ada = make_user()
    calls = [lambda n=n: create_project(slug=f"p-{n}", name="P", by=ada) for n in range(4)]
    raised = at_once(*calls)
    assert [type(error) for error in raised] == [Refused] * 3
    assert Project.objects.filter(created_by=ada).count() == 1


def test_nobody_invites_more_people_in_a_day_than_they_may(monkeypatch):
    monkeypatch.setattr(actions, "MAILS_A_DAY", 3)
    ada, projects = make_user(), [make_project() for _ in range(4)]
    for project in projects:
        Membership.objects.create(project=project, user=ada, role="manager")
    lines = address_lists.read("a@example.org\nb@example.org", address_lists.Defaults(), members=set(), invited=set())
    raised = at_once(*(lambda p=p: actions.send(project=p, by=ada, right=lines) for p in projects))
    assert [type(error) for error in raised] == [TooMany] * 3
    assert Invitation.objects.filter(invited_by=ada).count() == 2


def test_two_managers_who_remove_each_other_leave_one(monkeypatch):
    project, check = make_project(), projects._keep_a_manager
    ada, ben = (make_user(project, role="manager") for _ in range(2))
    both_checked = threading.Barrier(2)

    def check_and_wait(*args: object) -> None:
        check(*args)
        with suppress(threading.BrokenBarrierError):  # nobody else comes so far
            both_checked.wait(0.5)

    monkeypatch.setattr(projects, "_keep_a_manager", check_and_wait)
    raised = at_once(
        lambda: projects.remove_member(project=project, user=ben, by=ada),
        lambda: projects.add_member(project=project, user=ada, role="annotator", by=ben),
    )
    assert [type(error) for error in raised] == [Refused]
    assert project.memberships.filter(role="manager").count() == 1


def test_guidelines_that_are_published_twice_at_once_are_two_versions():
    project = make_project()
    texts = [f"Prefer the {word} one." for word in ("true", "short", "kind")]
    raised = at_once(*(lambda t=t: projects.revise_guidelines(project=project, text=t, by=None) for t in texts))
    assert not raised and sorted(project.guidelines.values_list("version", flat=True)) == [1, 2, 3]
