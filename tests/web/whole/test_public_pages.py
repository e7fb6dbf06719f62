"""Pages that anybody may open: looking at them writes nothing, however often it is done."""

from __future__ import annotations

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotate.projects import invitations
from tests.support import factories

WRITES = ("INSERT", "UPDATE", "DELETE")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "page", ["home", "account_login", "login", "account_signup", "account_reset_password", "mfa_authenticate"]
)
def test_a_page_of_accounts_writes_no_session_row(page, settings):
    settings.SIGN_UP_IS_OPEN = True
    look(reverse(page))


@pytest.mark.django_db
@pytest.mark.parametrize("page", ["arena", "arena-history", "leaderboard"])
def test_a_page_of_a_public_project_writes_no_session_row(page):
    project = factories.make_project(is_public=True)
    for _ in range(2):
        factories.make_contestant(project)
    look(reverse(page, args=[project.slug]))


@pytest.mark.django_db
def test_the_page_of_an_invitation_writes_no_session_row():
    project = factories.make_project()
    manager = factories.make_user(project, role="manager")
    _, token = invitations.invite(project=project, role="annotator", by=manager)
    look(reverse("invitation", args=[token]))


def look(address: str) -> None:
    for _ in range(2):
        with CaptureQueriesContext(connection) as seen:
            reply = Client().get(address)
        assert reply.status_code in (200, 302), address
        assert "sessionid" not in reply.cookies
        assert not Session.objects.exists()
    assert not [query["sql"][:80] for query in seen if query["sql"].startswith(WRITES)]


@pytest.mark.django_db
@pytest.mark.parametrize(("role", "leads"), [("annotator", True), (None, False)])
def test_only_who_may_annotate_is_led_there_by_a_list_without_runs(client, role, leads):
    project = factories.make_project(is_public=True)
    client.force_login(factories.make_user(project, role=role) if role else factories.make_user())
    html = client.get(reverse("runs", args=[project.slug])).content.decode().partition("<main")[2]
    assert (f'href="{reverse("annotate", args=[project.slug])}"' in html) is leads
