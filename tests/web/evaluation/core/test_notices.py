"""People are told on the pages until they have seen it."""

from __future__ import annotations

import pytest
from django.urls import reverse

from annotate.models import Membership
from evaluation.core import notices
from evaluation.models import Notice
from tests.support.api_client import Program
from tests.support.factories import PASSWORD, make_project, make_user


@pytest.fixture
def manager(project):
    return make_user(project, role="manager", email="mira@example.org")


def told(project, text="It meets the rule.", **fields):
    return notices.tell(project=project, text=text, url="/p/x/decisions/", **fields)


def signed_in(client, user):
    assert client.login(username=user.username, password=PASSWORD)
    return client


def test_whoever_did_it_is_not_told(project, manager):
    other = make_user(project, role="researcher")
    assert [notice.user for notice in told(project, but=manager)] == [other]


@pytest.mark.parametrize("who", ["annotator", "reviewer", "inactive", "of another project"])
def test_nobody_else_is_told(project, who):
    user = make_user(project, role=who if who in ("annotator", "reviewer") else "manager")
    if who == "inactive":
        user.is_active = False
        user.save()
    elif who == "of another project":
        Membership.objects.filter(user=user).update(project=make_project())
    assert told(project) == []


def test_a_long_text_is_cut_and_says_so(project, manager):
    [notice] = told(project, "x" * 400)
    assert len(notice.text) == 300 and notice.text.endswith("…")


class TestOnThePages:
    def test_commands_are_set_as_code(self, client, project, manager):
        told(project, "Start `manage.py run_worker`.")
        signed_in(client, manager)
        assert "Start <code>manage.py run_worker</code>." in client.get(reverse("notices")).content.decode()

    def test_a_count_stands_beside_the_name_until_the_list_was_opened(self, client, project, manager):
        told(project)
        told(project)
        signed_in(client, manager)
        assert 'aria-label="2 new notices"' in client.get("/").content.decode()
        page = client.get(reverse("notices")).content.decode()
        assert page.count(">new</span>") == 2 and "It meets the rule." in page
        assert "new notice" not in client.get("/").content.decode()
        assert ">new</span>" not in client.get(reverse("notices")).content.decode()

    def test_looking_ahead_sees_nothing(self, client, project, manager):
        told(project)
        signed_in(client, manager).head(reverse("notices"))
        assert notices.unseen(manager).count() == 1

    def test_nobodys_but_ones_own(self, client, project, manager):
        other = make_user(project, role="manager")
        told(project, "For the manager.", but=other)
        assert "For the manager." not in signed_in(client, other).get(reverse("notices")).content.decode()

    def test_a_visitor_is_asked_to_sign_in(self, client, db):
        assert reverse("login") in client.get(reverse("notices")).url


class TestThroughTheAPI:
    def test_read_and_mark_as_seen(self, project, manager):
        [first], [second] = told(project, "one"), told(project, "two")
        client = Program(manager)
        assert [row["text"] for row in client.get("notices/").json()] == ["two", "one"]
        answer = client.post("notices/seen/", {"ids": [first.pk]})
        assert answer.json() == {"seen": 1}
        assert [row["id"] for row in client.get("notices/", unseen="1").json()] == [second.pk]
        assert client.post("notices/seen/", {}).json() == {"seen": 1}

    def test_others_notices_cannot_be_marked(self, project, manager):
        [notice] = told(project)
        other = make_user(project)
        answer = Program(other).post("notices/seen/", {"ids": [notice.pk]})
        assert answer.json() == {"seen": 0} and Notice.objects.get().seen_at is None
